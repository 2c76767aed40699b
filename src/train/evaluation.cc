#include "train/evaluation.h"

#include <algorithm>
#include <span>

#include "base/clock.h"

namespace attune {
namespace {

constexpr size_t kLongestPrompt = 256;
constexpr size_t kLongestReference = 256;

std::string Decoded(const Tokenizer& tokenizer, std::span<const int32_t> ids) { return tokenizer.Decode(ids, true); }

}  // namespace

EvalMetrics Evaluate(Decoder& decoder, const std::vector<Example>& examples, int64_t tokens_in_flight,
                     std::vector<RowLoss>* of_each, const OnEvaluated& on_evaluated) {
  const double begin = Now();
  EvalMetrics metrics;
  double sum = 0;
  int64_t correct = 0, done = 0;
  if (of_each != nullptr) of_each->assign(examples.size(), {});
  for (const Chunk& chunk : CutAllIntoChunks(ShapesOf(examples), tokens_in_flight)) {
    PackedBatch batch;
    std::vector<size_t> ends;  // of the scored rows of each example
    for (const int64_t row : chunk) {
      AppendExample(examples[static_cast<size_t>(row)], &batch);
      ends.push_back(batch.rows.size());
    }
    std::vector<float> losses;
    const BatchLoss loss = decoder.EvaluateBatch(batch, of_each == nullptr ? nullptr : &losses);
    for (size_t i = 0; of_each != nullptr && i < chunk.size(); ++i) {
      RowLoss& row = (*of_each)[static_cast<size_t>(chunk[i])];
      for (size_t r = i == 0 ? 0 : ends[i - 1]; r < ends[i]; ++r) row.sum += losses[r];
      row.tokens = static_cast<int64_t>(ends[i] - (i == 0 ? 0 : ends[i - 1]));
    }
    sum += loss.sum;
    correct += loss.correct;
    metrics.tokens += loss.rows;
    done += std::ssize(chunk);
    if (on_evaluated) on_evaluated(done);
  }
  const auto tokens = static_cast<double>(std::max<int64_t>(1, metrics.tokens));
  metrics.loss = sum / tokens;
  metrics.token_accuracy = static_cast<double>(correct) / tokens;
  metrics.seconds = Now() - begin;
  return metrics;
}

std::vector<SamplePrompt> ChoosePrompts(const std::vector<Example>& examples, int64_t count) {
  std::vector<SamplePrompt> prompts;
  for (const Example& example : examples) {
    if (static_cast<int64_t>(prompts.size()) >= count) break;
    const auto& ids = example.input_ids;
    const auto is_trained = [](int32_t label) { return label != kIgnoredLabel; };
    auto begin = static_cast<size_t>(std::find_if(example.labels.begin(), example.labels.end(), is_trained) -
                                     example.labels.begin());
    auto end = static_cast<size_t>(std::find_if_not(example.labels.begin() + static_cast<std::ptrdiff_t>(begin),
                                                    example.labels.end(), is_trained) -
                                   example.labels.begin());
    if (begin == 0) begin = std::min(ids.size() / 2, kLongestPrompt);
    if (begin == 0 || begin >= ids.size()) continue;
    end = std::clamp(end, begin, begin + kLongestReference);
    const size_t first = begin > kLongestPrompt ? begin - kLongestPrompt : 0;
    const auto at = [&](size_t i) { return ids.begin() + static_cast<std::ptrdiff_t>(i); };
    prompts.push_back({{at(first), at(begin)}, {at(begin), at(end)}});
  }
  return prompts;
}

ChunkLimits SampleLimits(const std::vector<SamplePrompt>& prompts, int64_t max_new_tokens) {
  ChunkLimits limits;
  limits.tokens = 0;
  for (const SamplePrompt& p : prompts) {
    const int64_t length = static_cast<int64_t>(p.prompt.size()) + max_new_tokens;
    limits.tokens += length;
    limits.length = std::max(limits.length, length);
  }
  limits.sequences = limits.labelled = static_cast<int64_t>(prompts.size());
  return limits;
}

std::vector<SampleAnswer> AnswerPrompts(Decoder& decoder, const Tokenizer& tokenizer, std::span<const int32_t> eos_ids,
                                        const std::vector<SamplePrompt>& prompts, int64_t max_new_tokens) {
  std::vector<std::vector<int32_t>> sequences;
  std::vector<bool> done(prompts.size(), false);
  for (const SamplePrompt& p : prompts) sequences.push_back(p.prompt);
  for (int64_t n = 0; n < max_new_tokens; ++n) {
    PackedBatch batch;
    std::vector<size_t> asked;
    for (size_t i = 0; i < sequences.size(); ++i) {
      if (done[i]) continue;
      batch.Append(sequences[i], std::vector<int32_t>(sequences[i].size(), kIgnoredLabel));
      batch.rows.push_back(batch.starts.back() - 1);
      batch.targets.push_back(0);
      asked.push_back(i);
    }
    if (asked.empty()) break;
    decoder.Logits(batch, [&](int64_t first, std::span<const float> logits) {
      const size_t vocabulary = decoder.vocab_size(), rows = logits.size() / vocabulary;
      for (size_t r = 0; r < rows; ++r) {
        const auto row = logits.subspan(r * vocabulary, vocabulary);
        const auto id = static_cast<int32_t>(std::max_element(row.begin(), row.end()) - row.begin());
        const size_t i = asked[static_cast<size_t>(first) + r];
        done[i] = std::find(eos_ids.begin(), eos_ids.end(), id) != eos_ids.end();
        if (!done[i]) sequences[i].push_back(id);
      }
    });
  }
  std::vector<SampleAnswer> answers;
  for (size_t i = 0; i < prompts.size(); ++i) {
    const std::span<const int32_t> whole(sequences[i]);
    answers.push_back({Decoded(tokenizer, prompts[i].prompt), Decoded(tokenizer, prompts[i].reference),
                       Decoded(tokenizer, whole.subspan(prompts[i].prompt.size()))});
  }
  return answers;
}

}  // namespace attune
