#include "app/row_scores.h"

#include <fmt/format.h>
#include <xxhash.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <set>

#include "app/data_encoder.h"
#include "app/forward_model.h"
#include "app/model_hash.h"
#include "app/score_file.h"
#include "app/text_embedder.h"
#include "base/error.h"
#include "curate/row_parser.h"
#include "models/damaged_weights.h"

namespace attune {
namespace {

using Json = nlohmann::ordered_json;

constexpr int64_t kScoredTokensInFlight = 1024;

struct RowToScore {
  uint64_t hash = 0;    // of its tokens and of which are trained on, so another template makes another row of it
  std::string refused;  // why there is no example
  std::string file;
  int64_t line = 0;
  Example example;
};

uint64_t TokensHash(const Example& example) {
  const uint64_t ids = XXH3_64bits(example.input_ids.data(), example.input_ids.size() * sizeof(int32_t));
  return XXH3_64bits_withSeed(example.labels.data(), example.labels.size() * sizeof(int32_t), ids);
}

// All rows; without an example where the score is known or training would stop.
std::vector<RowToScore> RowsToScore(const RowScoreJob& job, const DataEncoder& encoder, const ScoreFile& known) {
  RowSource source(job.stage.input, job.stage.columns);
  struct Room {
    std::unique_ptr<RowParser> parser;
  };
  std::vector<RowToScore> rows;
  ForEachBlock<std::vector<RowToScore>, Room>(
      source, job.stage.threads,
      [&](const RecordBlock& block, Room& room) {
        if (!room.parser) room.parser = std::make_unique<RowParser>(job.stage.columns);
        std::vector<RowToScore> found;
        for (const Record& record : block.records) {
          const DataFile& file = source.files()[block.file];
          RowToScore& read = found.emplace_back();
          read.file = file.path;
          read.line = record.line;
          const std::string where = fmt::format("{}:{}", file.path, record.line);
          const Row& row = room.parser->Parse(file, block, record);
          if (!row.readable()) {
            read.refused = fmt::format("{}: {}", where, WhyUnreadable(row));
            continue;
          }
          std::string line;
          room.parser->Write(&line);
          try {
            read.example = encoder.Encode(line, where);
            read.hash = TokensHash(read.example);
            if (known.Find(read.hash) != nullptr) read.example = {};
          } catch (const Error& error) {
            read.refused = error.what();
          }
        }
        return found;
      },
      [&](const RecordBlock&, std::vector<RowToScore>& found) {
        for (const RowToScore& row : found) {
          if (job.stage.strict && !row.refused.empty()) BadInput("{}", row.refused);
        }
        std::move(found.begin(), found.end(), std::back_inserter(rows));
      });
  return rows;
}

// The tokens with which the chat template opens an answer.
std::vector<int32_t> AnswerMark(const ModelBundle& bundle) {
  const ChatFormat chat = bundle.chat_format();
  if (!chat) return {};
  const Json question = {{{"role", "user"}, {"content", "?"}}};
  const std::string text = chat.render(question, DataRow{}, false).text,
                    open = chat.render(question, DataRow{}, true).text;
  return open.starts_with(text) ? bundle.RequireTokenizer().Encode(open.substr(text.size()), false)
                                : std::vector<int32_t>();
}

// Answers without what was asked.
class AnswersAlone {
 public:
  explicit AnswersAlone(const ModelBundle& bundle) : mark_(AnswerMark(bundle)) {
    for (const char* name : {"bos_token", "eos_token"}) {
      const auto found = bundle.special_tokens.find(name);
      if (start_ || found == bundle.special_tokens.end()) continue;
      start_ = bundle.RequireTokenizer().TokenToId(found->second);
    }
  }

  // Each run of trained tokens as a sequence of its own.
  Example Of(const Example& row) const {
    Example alone;
    const std::vector<int32_t>& ids = row.input_ids;
    for (size_t begin = 1, end; begin < ids.size(); begin = end) {
      end = begin + 1;
      if (row.labels[begin] == kIgnoredLabel) continue;
      while (end < ids.size() && row.labels[end] != kIgnoredLabel) ++end;
      alone.starts.push_back(static_cast<int32_t>(alone.input_ids.size()));
      const auto at = [&](size_t i) { return ids.begin() + static_cast<std::ptrdiff_t>(i); };
      if (!mark_.empty() && IsMarked(row, begin)) {
        alone.input_ids.insert(alone.input_ids.end(), mark_.begin(), mark_.end());
      } else {
        alone.input_ids.push_back(start_.value_or(ids[0]));
      }
      alone.labels.resize(alone.input_ids.size(), kIgnoredLabel);
      alone.input_ids.insert(alone.input_ids.end(), at(begin), at(end));
      alone.labels.insert(alone.labels.end(), row.labels.begin() + static_cast<std::ptrdiff_t>(begin),
                          row.labels.begin() + static_cast<std::ptrdiff_t>(end));
    }
    return alone;
  }

 private:
  // Whether the mark stands in front of the answer, none of it trained on.
  bool IsMarked(const Example& row, size_t begin) const {
    if (begin < mark_.size()) return false;
    for (size_t i = 0, from = begin - mark_.size(); i < mark_.size(); ++i) {
      if (row.input_ids[from + i] != mark_[i] || row.labels[from + i] != kIgnoredLabel) return false;
    }
    return true;
  }

  std::vector<int32_t> mark_;
  std::optional<int32_t> start_;
};

// Mean loss of each example by its trained tokens, a chunk of them.
std::vector<double> MeanLosses(Decoder& decoder, std::span<const Example> examples) {
  if (examples.empty()) return {};
  PackedBatch batch;
  for (const Example& example : examples) AppendExample(example, &batch);
  std::vector<float> losses;
  decoder.EvaluateBatch(batch, &losses);
  std::vector<double> means;
  size_t at = 0;
  for (const Example& example : examples) {
    const auto count = static_cast<size_t>(ShapeOf(example).labelled);
    double sum = 0;
    for (size_t i = 0; i < count; ++i) sum += losses[at + i];
    at += count;
    means.push_back(sum / static_cast<double>(count));
  }
  return means;
}

// Examples that run as one batch.
std::vector<RowScore> ScoreChunk(Decoder& decoder, std::span<const Example> examples, const AnswersAlone& alone) {
  const auto has_prompt = [](const Example& example) { return example.labels[0] == kIgnoredLabel; };
  std::vector<Example> bare;
  for (const Example& example : examples) {
    if (has_prompt(example)) bare.push_back(alone.Of(example));
  }
  const std::vector<double> losses = MeanLosses(decoder, examples), alone_losses = MeanLosses(decoder, bare);
  std::vector<RowScore> scores;
  size_t next = 0;
  for (size_t i = 0; i < examples.size(); ++i)
    scores.push_back({ShapeOf(examples[i]).labelled, losses[i], has_prompt(examples[i]) ? alone_losses[next++] : 0});
  return scores;
}

// Scores rows that have something to score, each text once, in the order of the input.
void ScoreNewRows(std::vector<RowToScore>& rows, const DataEncoder& encoder, int64_t max_length, ScoreFile* file,
                  const OnProgress& on_progress) {
  std::set<uint64_t> seen;
  std::vector<const RowToScore*> from;
  std::vector<Example> examples;
  int64_t tokens = 0, done = 0;
  for (RowToScore& row : rows) {
    if (ShapeOf(row.example).labelled == 0 || !seen.insert(row.hash).second) continue;
    tokens += std::ssize(row.example.input_ids);
    from.push_back(&row);
    examples.push_back(std::move(row.example));
  }
  if (examples.empty()) return;
  const AnswersAlone alone(encoder.bundle());
  const int64_t most = std::max(kScoredTokensInFlight, max_length);  // an answer alone is no longer than its row
  const auto model = MakeForwardModel(encoder.bundle().files, {}, {most, most, max_length, most});
  for (const Chunk& chunk : CutAllIntoChunks(ShapesOf(examples), most)) {
    const auto first = static_cast<size_t>(chunk.front());
    const std::span<const Example> part = std::span(examples).subspan(first, chunk.size());
    const std::vector<RowScore> scores = ScoreChunk(*model->decoder, part, alone);
    for (size_t i = 0; i < part.size(); ++i) {
      if (!std::isfinite(scores[i].loss) || !std::isfinite(scores[i].loss_alone))
        RefuseNonFinite(model->path, fmt::format("the loss of {}:{}", from[first + i]->file, from[first + i]->line));
      file->Add(from[first + i]->hash, from[first + i]->file, from[first + i]->line, scores[i]);
      done += std::ssize(part[i].input_ids);
    }
    if (on_progress) on_progress("scoring rows, tokens", done, tokens);
  }
}

}  // namespace

Json ModelIdentity(const std::string& model) {
  Json identity = {{"model", model}};
  identity.update(QuickModelHash(model));
  return identity;
}

RowScores ScoreRows(const RowScoreJob& job, const OnProgress& on_progress) {
  const DataEncoder encoder(job.model, job.max_length);
  Json header = {{"attune_scores", 1}};
  header.update(ModelIdentity(job.model));
  header["max_length"] = job.max_length;
  ScoreFile file(job.scores, header);
  std::vector<RowToScore> rows = RowsToScore(job, encoder, file);
  ScoreNewRows(rows, encoder, job.max_length, &file, on_progress);
  RowScores scores;
  for (const RowToScore& row : rows) {
    scores.refused += !row.refused.empty();
    const RowScore* found = row.refused.empty() ? file.Find(row.hash) : nullptr;
    scores.rows.push_back(found == nullptr ? RowScore{} : *found);
  }
  return scores;
}

Embeddings EmbedRows(const StageInput& stage, CompareBy by, const std::string& model, const OnProgress& on_progress) {
  RowSource source(stage.input, stage.columns);
  RowParser parser(stage.columns);
  PromptAnswerScratch scratch;
  std::vector<std::string> texts;
  for (RecordBlock block; source.Next(&block);) {
    for (const Record& record : block.records) {
      const Row& row = parser.Parse(source.files()[block.file], block, record);
      if (stage.strict && !row.readable())
        BadInput("{}:{}: {}", source.files()[block.file].path, record.line, WhyUnreadable(row));
      texts.emplace_back(row.readable() ? ComparedText(row, by, &scratch) : std::string_view());
    }
  }
  const ModelBundle bundle = OpenModel(model);
  Embeddings found = TextEmbedder(bundle).Embed(texts, on_progress);
  CenterEmbeddings(&found);
  return found;
}

}  // namespace attune
