#include "app/prompt_job.h"

#include <algorithm>
#include <limits>
#include <numeric>

#include "app/output_dir.h"
#include "app/use_job.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/file.h"
#include "base/torch_random.h"
#include "data/evenly.h"
#include "store/run_data.h"

namespace attune {
namespace {

constexpr int64_t kSearchRows =
    16;  // training rows that random sets are compared on: held-out rows are for the result alone

constexpr const char* kByWords = "bm25";
constexpr const char* kByMeaning = "embedding";

std::string VectorsPath(const PromptJob& job) {
  return AbsolutePath(job.output.empty() ? "prompt.json" : job.output) + ".vectors.safetensors";
}

// The beginning of a text, for a line.
std::string Shortened(const std::string& text) {
  size_t length = std::min<size_t>(text.size(), 24);
  while (length < text.size() && (static_cast<unsigned char>(text[length]) & 0xC0) == 0x80)
    ++length;  // no half characters
  return length < text.size() ? text.substr(0, length) + " ..." : text;
}

double MeanTokens(const std::vector<Example>& examples) {
  double tokens = 0;
  for (const Example& e : examples) tokens += static_cast<double>(e.input_ids.size());
  return tokens / std::max<double>(1, static_cast<double>(examples.size()));
}

class PromptSearch {
 public:
  PromptSearch(const PromptJob& job, const OnPrompt& on_prompt, const OnProgress& on_progress)
      : job_(job),
        on_prompt_(on_prompt),
        on_progress_(on_progress),
        bundle_(OpenModel(job.model)),
        train_(ReadConversations(job.data)),
        held_out_(EvenlyFrom(ReadConversations(job.eval_data), job.max_rows)) {}

  PromptResult Run() {
    plain_tokens_ = MeanTokens(EncodePrompted(bundle_, Prompter({}, train_, nullptr), held_out_));
    Add({"no prompt", {}, ""}, held_out_);
    for (const std::string& system : job_.systems)
      Add({"system: " + Shortened(system), {.system = system}, ""}, held_out_);
    const std::string system = Best().prompt.system;  // examples come behind the best of them
    const std::string behind = system.empty() ? "" : ", system: " + Shortened(system);
    for (const std::string& by : job_.similarity) {
      for (const int64_t shots : job_.shots) {
        if (shots < 1) continue;
        PromptFile prompt{.system = system, .similar_data = AbsolutePath(job_.data), .similar_shots = shots};
        if (by == kByMeaning) prompt.similar_vectors = VectorsPath(job_);
        Add({fmt::format("{} examples like the question{}{}", shots, by == kByMeaning ? " in meaning" : "", behind),
             std::move(prompt), ""},
            held_out_);
      }
    }
    for (const int64_t shots : job_.shots) {
      if (shots >= 1 && job_.search > 0)
        Add({fmt::format("{} examples, the best of {} sets{}", shots, job_.search, behind), BestSet(system, shots), ""},
            held_out_);
    }
    for (const std::string& adapter : job_.adapters) Add({"adapter " + adapter, {}, adapter}, held_out_);
    PromptResult result{std::move(found_), std::ssize(held_out_), 0};
    std::stable_sort(result.candidates.begin(), result.candidates.end(),
                     [](const PromptCandidate& a, const PromptCandidate& b) { return LossOf(a) < LossOf(b); });
    while (!result.candidates[result.best_prompt].adapter.empty()) ++result.best_prompt;
    return result;
  }

  // What the best prompt needs beside prompt.json.
  void WriteVectors(const PromptFile& prompt) const {
    if (!prompt.similar_vectors.empty()) by_meaning_->Write(prompt.similar_vectors);
  }

 private:
  static double LossOf(const PromptCandidate& c) {
    return c.skipped.empty() ? c.metrics.loss : std::numeric_limits<double>::infinity();
  }
  const PromptCandidate& Best() const {
    return *std::min_element(found_.begin(), found_.end(),
                             [](const auto& a, const auto& b) { return LossOf(a) < LossOf(b); });
  }

  void Score(PromptCandidate& c, const std::vector<DataRow>& rows) {
    const std::vector<Example> examples =
        EncodePrompted(bundle_, Prompter(c.prompt, train_, NearestFor(c.prompt)), rows);
    if (examples.empty()) BadInput("{}: holds no answer to score", job_.eval_data);
    const int64_t positions = bundle_.files.spec().max_position_embeddings;
    for (const Example& e : examples) {
      if (std::ssize(e.input_ids) <= positions) continue;
      c.skipped = fmt::format("{} tokens are more than the model's {} positions", e.input_ids.size(), positions);
      return;
    }
    const double tokens = MeanTokens(examples) * static_cast<double>(examples.size());
    if (job_.seconds > 0 && tokens_a_second_ > 0 && Now() - began_ + tokens / tokens_a_second_ > job_.seconds) {
      c.skipped = fmt::format("no time was left for it: it takes about {:.0f} s", tokens / tokens_a_second_);
      return;
    }
    c.prompt_tokens = MeanTokens(examples) - plain_tokens_;
    c.metrics = EvaluateExamples(bundle_, {c.adapter, 1024, job_.bf16}, examples, &c.losses, [&](int64_t done) {
      if (on_progress_) on_progress_(c.name.c_str(), done, std::ssize(examples));
    });
    tokens_a_second_ = tokens / std::max(1e-9, c.metrics.seconds);
  }

  std::shared_ptr<const NearestQuestions> NearestFor(const PromptFile& prompt) {
    if (prompt.similar_shots == 0) return nullptr;
    if (prompt.similar_vectors.empty()) {
      if (by_words_ == nullptr) by_words_ = std::make_shared<NearestByWords>(QuestionsOf(train_));
      return by_words_;
    }
    if (by_meaning_ == nullptr)
      by_meaning_ = std::make_shared<NearestByMeaning>(bundle_, QuestionsOf(train_), on_progress_);
    return by_meaning_;
  }

  void Add(PromptCandidate c, const std::vector<DataRow>& rows) {
    Score(c, rows);
    on_prompt_(c);
    found_.push_back(std::move(c));
  }

  // Random sets of examples, each scored on rows that are in none of them.
  PromptFile BestSet(const std::string& system, int64_t shots) {
    const int64_t count = std::ssize(train_), apart = std::min(kSearchRows, count / 2);
    if (count - apart < shots) BadInput("{}: has {} rows, too few to try sets of {} examples", job_.data, count, shots);
    TorchGenerator random(job_.seed);
    std::vector<int64_t> order(static_cast<size_t>(count));
    std::iota(order.begin(), order.end(), int64_t{0});
    const auto shuffle = [&](int64_t first) {
      for (int64_t i = first; i + 1 < count; ++i)
        std::swap(order[static_cast<size_t>(i)], order[static_cast<size_t>(random.Integer(i, count))]);
    };
    shuffle(0);
    std::vector<DataRow> rows;
    for (int64_t i = 0; i < apart; ++i) rows.push_back(train_[static_cast<size_t>(order[static_cast<size_t>(i)])]);
    PromptCandidate best;
    for (int64_t trial = 0; trial < job_.search; ++trial) {
      shuffle(apart);
      PromptCandidate c{fmt::format("set {} of {}", trial + 1, job_.search), {}, ""};
      c.prompt.system = system;
      for (int64_t i = 0; i < shots; ++i)
        c.prompt.examples.push_back(train_[static_cast<size_t>(order[static_cast<size_t>(apart + i)])].messages);
      Score(c, rows);
      if (trial == 0 || LossOf(c) < LossOf(best)) best = std::move(c);
    }
    return best.prompt;
  }

  const PromptJob& job_;
  const OnPrompt& on_prompt_;
  const OnProgress& on_progress_;
  ModelBundle bundle_;
  std::vector<DataRow> train_, held_out_;
  std::shared_ptr<const NearestByWords> by_words_;
  std::shared_ptr<const NearestByMeaning> by_meaning_;
  std::vector<PromptCandidate> found_;
  double plain_tokens_ = 0;
  double began_ = Now(), tokens_a_second_ = 0;  // as the last candidate was scored
};

}  // namespace

PromptResult RunPrompt(const PromptJob& job, const OnPrompt& on_prompt, const OnProgress& on_progress) {
  if (!job.output.empty()) RequireNewFile(job.output);
  for (const std::string& by : job.similarity) {
    if (by != kByWords && by != kByMeaning)
      BadInput("--similarity: \"{}\" is none; use {}, {} or both", by, kByWords, kByMeaning);
    if (by == kByMeaning && !job.output.empty() && PathExists(VectorsPath(job)))
      BadInput("{}: exists; name another output or remove it", VectorsPath(job));
  }
  PromptSearch search(job, on_prompt, on_progress);
  PromptResult result = search.Run();
  if (job.output.empty()) return result;
  search.WriteVectors(result.candidates[result.best_prompt].prompt);
  const PromptCandidate& best = result.candidates[result.best_prompt];
  nlohmann::ordered_json json = ToJson(best.prompt);
  json["made_by"] = {{"command", "attune prompt"},
                     {"model", job.model},
                     {"eval_data", job.eval_data},
                     {"eval_loss", best.metrics.loss},
                     {"rows", result.rows}};
  WriteFileAtomic(job.output, json.dump(2) + "\n");
  result.is_written = true;
  return result;
}

nlohmann::ordered_json ToJson(const PromptResult& result) {
  nlohmann::ordered_json candidates = nlohmann::ordered_json::array();
  for (const PromptCandidate& c : result.candidates) {
    nlohmann::ordered_json json = {{"name", c.name}, {"adapter", c.adapter}, {"prompt", ToJson(c.prompt)}};
    if (c.prompt.similar_shots > 0) json["similarity"] = c.prompt.similar_vectors.empty() ? kByWords : kByMeaning;
    const bool has_file = result.is_written && &c == &result.candidates[result.best_prompt];
    if (!has_file && !c.prompt.similar_vectors.empty()) json["prompt"]["similar"].erase("vectors");
    if (c.skipped.empty()) {
      json["eval_loss"] = c.metrics.loss;
      json["eval_token_accuracy"] = c.metrics.token_accuracy;
      json["eval_tokens"] = c.metrics.tokens;
      json["prompt_tokens"] = c.prompt_tokens;
    } else {
      json["skipped"] = c.skipped;
    }
    candidates.push_back(json);
  }
  return {{"rows", result.rows}, {"best_prompt", result.best_prompt}, {"candidates", candidates}};
}

}  // namespace attune
