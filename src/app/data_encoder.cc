#include "app/data_encoder.h"

#include <fmt/format.h>

#include <memory>

#include "base/error.h"
#include "curate/row_parser.h"
#include "data/jsonl.h"
#include "data/packing.h"

namespace attune {
namespace {

constexpr size_t kNamedRows = 10;

void NameRow(std::vector<std::string>& rows, std::string row) {
  if (rows.size() < kNamedRows) rows.push_back(std::move(row));
}

void CountExample(const Example& example, const Truncation& truncation, const std::string& where, DataTokens& counts) {
  const int64_t length = std::ssize(example.input_ids), trained = TrainedTokens(example);
  counts.tokens += length;
  counts.trained_tokens += trained;
  counts.lengths.push_back(length);
  const auto [begin, end] = truncation.Kept(example.input_ids.size());
  const int64_t kept = TrainedTokens(std::span(example.labels).subspan(begin, end - begin));
  if (end - begin < example.input_ids.size()) {
    ++counts.cut_rows;
    counts.cut_tokens += length - static_cast<int64_t>(end - begin);
    counts.cut_trained += trained - kept;
  }
  if (kept == 0) {
    ++counts.nothing;
    NameRow(counts.nothing_rows, where);
  }
}

TrainingArguments ArgumentsWith(int64_t max_length) {
  TrainingArguments training;
  training.max_length = max_length;
  return training;
}

void AddCounts(const DataTokens& part, DataTokens& all) {
  all.rows += part.rows;
  all.tokens += part.tokens;
  all.trained_tokens += part.trained_tokens;
  all.lengths.insert(all.lengths.end(), part.lengths.begin(), part.lengths.end());
  all.cut_rows += part.cut_rows;
  all.cut_tokens += part.cut_tokens;
  all.cut_trained += part.cut_trained;
  all.refused += part.refused;
  all.nothing += part.nothing;
  for (const std::string& row : part.refused_rows) NameRow(all.refused_rows, row);
  for (const std::string& row : part.nothing_rows) NameRow(all.nothing_rows, row);
}

}  // namespace

EncodeOptions EncodeOptionsOf(const TrainingArguments& training, const ModelSpec& spec) {
  EncodeOptions options;
  options.completion_only_loss = training.completion_only_loss;
  options.assistant_only_loss = training.assistant_only_loss;
  options.max_length = training.max_length;
  options.truncation_mode =
      training.truncation_mode == "keep_end" ? TruncationMode::kKeepEnd : TruncationMode::kKeepStart;
  options.vocab_size = spec.vocab_size;
  return options;
}

Truncation TruncationOf(const TrainingArguments& training) {
  if (!training.packing) return EncodeOptionsOf(training, {}).truncation();
  const bool cuts = ParsePackingStrategy(training.packing_strategy) == PackingStrategy::kBfd;
  return {cuts ? training.max_length : 0, TruncationMode::kKeepStart};
}

DataEncoder::DataEncoder(const ModelPaths& model, const TrainingArguments& training)
    : bundle_(OpenModel(model)),
      encoder_(bundle_.RequireTokenizer(), bundle_.chat_format(), bundle_.eos_token(),
               EncodeOptionsOf(training, bundle_.files.spec())) {}

DataEncoder::DataEncoder(const std::string& model, int64_t max_length)
    : DataEncoder({model, "", "", ""}, ArgumentsWith(max_length)) {}

Example DataEncoder::Encode(const std::string& row, const std::string& where) const {
  return encoder_.Encode(ParseRow(ParseJsonlLine({1, row}, where), encoder_.has_chat_template(), where));
}

DataTokens CountTokens(const StageInput& stage, const DataEncoder& encoder, const Truncation& truncation) {
  RowSource source(stage.input, stage.columns);
  struct Room {
    std::unique_ptr<RowParser> parser;
  };
  DataTokens all;
  ForEachBlock<DataTokens, Room>(
      source, stage.threads,
      [&](const RecordBlock& block, Room& room) {
        if (!room.parser) room.parser = std::make_unique<RowParser>(stage.columns);
        DataTokens counts;
        std::string line;
        for (const Record& record : block.records) {
          ++counts.rows;
          const DataFile& file = source.files()[block.file];
          const std::string where = fmt::format("{}:{}", file.path, record.line);
          const Row& row = room.parser->Parse(file, block, record);
          try {
            if (!row.readable()) BadInput("{}: {}", where, WhyUnreadable(row));
            line.clear();
            room.parser->Write(&line);
            CountExample(encoder.Encode(line, where), truncation, where, counts);
          } catch (const Error& error) {
            ++counts.refused;
            NameRow(counts.refused_rows, error.what());
          }
        }
        return counts;
      },
      [&](const RecordBlock&, const DataTokens& counts) {
        if (stage.strict && counts.refused > 0) BadInput("{}", counts.refused_rows[0]);
        AddCounts(counts, all);
      });
  return all;
}

}  // namespace attune
