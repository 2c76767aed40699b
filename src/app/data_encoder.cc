#include "app/data_encoder.h"

#include <fmt/format.h>

#include <memory>

#include "base/error.h"
#include "curate/row_parser.h"
#include "data/jsonl.h"

namespace attune {
namespace {

constexpr size_t kNamedRows = 10;

void NameRow(std::vector<std::string>& rows, std::string row) {
  if (rows.size() < kNamedRows) rows.push_back(std::move(row));
}

void CountExample(const Example& example, int64_t max_length, const std::string& where, DataTokens& counts) {
  const int64_t length = std::ssize(example.input_ids), trained = TrainedTokens(example);
  counts.tokens += length;
  counts.trained_tokens += trained;
  counts.lengths.push_back(length);
  int64_t kept = trained;
  if (max_length > 0 && length > max_length) {
    kept = 0;
    for (int64_t i = 0; i < max_length; ++i) kept += example.labels[static_cast<size_t>(i)] != kIgnoredLabel;
    ++counts.cut_rows;
    counts.cut_tokens += length - max_length;
    counts.cut_trained += trained - kept;
  }
  if (kept == 0) {
    ++counts.nothing;
    NameRow(counts.nothing_rows, where);
  }
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

DataEncoder::DataEncoder(const std::string& model, int64_t max_length)
    : bundle_(OpenModel(model)),
      encoder_(bundle_.RequireTokenizer(), bundle_.chat_format(), bundle_.eos_token(),
               EncodeOptions{.max_length = max_length, .vocab_size = bundle_.files.spec().vocab_size}) {}

Example DataEncoder::Encode(const std::string& row, const std::string& where) const {
  return encoder_.Encode(ParseRow(ParseJsonlLine({1, row}, where), encoder_.has_chat_template(), where));
}

DataTokens CountTokens(const StageInput& stage, const DataEncoder& encoder, int64_t max_length) {
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
            if (!row.readable())
              BadInput("{}: {}", where, WhyUnreadable(row));
            line.clear();
            room.parser->Write(&line);
            CountExample(encoder.Encode(line, where), max_length, where, counts);
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
