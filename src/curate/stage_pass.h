// One pass of a stage over all rows: parsed by several threads, counted, and written in the order of the
// input.
#pragma once

#include <fmt/format.h>

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/error.h"
#include "curate/row_parser.h"
#include "curate/stage_files.h"

namespace attune {

// What a block of rows came to.
struct StageOutput {
  int64_t rows = 0;
  std::vector<std::string> lines;               // of each file of rows
  std::vector<int64_t> kept;                    // rows of each
  std::string removed;                          // lines of NAME.removed.jsonl
  std::map<std::string, int64_t> removed_rows;  // by rule
  std::map<std::string, int64_t> changed_rows;
  std::map<std::string, int64_t> counts;  // whatever else a stage counts
  std::vector<nlohmann::ordered_json> examples;
  int64_t unreadable = 0;
  std::optional<std::string> broken;  // the first row that could not be read

  explicit StageOutput(size_t files = 1) : lines(files), kept(files) {}

  void Keep(size_t file, std::string_view json) {
    ++kept[file];
    lines[file] += json;
    lines[file] += '\n';
  }
  // The row parsed last, as RowParser::Write has it.
  void Keep(size_t file, const RowParser& parser, std::span<const std::optional<std::string>> texts = {}) {
    ++kept[file];
    parser.Write(texts, &lines[file]);
    lines[file] += '\n';
  }
  void Remove(const std::string& rule, std::string_view reason, const DataFile& file, int64_t line,
              std::string_view row, bool is_raw, std::string_view more = {}) {
    ++removed_rows[rule];
    removed += RemovedLine(rule, reason, file.path, line, row, is_raw, more);
  }
  // Takes out a row that cannot be read, and notes it for strict runs.
  void RemoveUnreadable(const Row& row, const DataFile& file, const RecordBlock& block, const Record& record) {
    const RuleInfo& info = InfoOf(row.structure[0].rule);
    const std::string& detail = row.structure[0].detail;
    const std::string reason = detail.empty() ? info.what : detail;
    ++unreadable;
    if (!broken) broken = fmt::format("{}:{}: {}", file.path, record.line, reason);
    Remove(info.id, reason, file, record.line, block.text(record), true);
  }
};

inline constexpr size_t kStageExamples = 20;

// The sums over all blocks, which are written as they come.
class StageTotals {
 public:
  explicit StageTotals(size_t files) : kept_(files) {}

  void Take(const StageInput& stage, const StageOutput& part, StageFiles& files) {
    if (stage.strict && part.broken) BadInput("{}", *part.broken);
    rows_ += part.rows;
    unreadable_ += part.unreadable;
    if (!broken_) broken_ = part.broken;
    for (size_t i = 0; i < kept_.size(); ++i) {
      kept_[i] += part.kept[i];
      files.Write(i, part.lines[i]);
    }
    files.WriteRemoved(part.removed);
    for (const auto& [rule, rows] : part.removed_rows) removed_[rule] += rows;
    for (const auto& [rule, rows] : part.changed_rows) changed_[rule] += rows;
    for (const auto& [name, rows] : part.counts) counts_[name] += rows;
    for (const auto& example : part.examples) {
      if (examples_.size() < kStageExamples) examples_.push_back(example);
    }
  }

  int64_t rows() const { return rows_; }
  int64_t kept(size_t file) const { return kept_[file]; }
  const std::map<std::string, int64_t>& counts() const { return counts_; }
  // For the manifest. Errors: Error{kBadInput} where no row of all could be read: then it is not the rows that are
  // wrong.
  nlohmann::ordered_json Json(const StageInput& stage) const {
    if (rows_ > 0 && unreadable_ == rows_ && !stage.shard.is_part())
      BadInput("none of {} rows can be read: {}", rows_, *broken_);
    int64_t out = 0;
    for (const int64_t rows : kept_) out += rows;
    nlohmann::ordered_json json = {{"rows_in", rows_}, {"rows_out", out}, {"removed", removed_}};
    if (!changed_.empty()) json["changed"] = changed_;
    if (!examples_.empty()) json["examples"] = examples_;
    return json;
  }

 private:
  int64_t rows_ = 0, unreadable_ = 0;
  std::optional<std::string> broken_;
  std::vector<int64_t> kept_;
  std::map<std::string, int64_t> removed_, changed_, counts_;
  std::vector<nlohmann::ordered_json> examples_;
};

// Calls work(block, record, parser, output) for each record of `source` in several threads, and take(output)
// for each block in order. `work` deals with rows that cannot be read too.
template <class Work, class Take>
void ForEachRecord(RowSource& source, const StageInput& stage, size_t files, const Work& work, const Take& take) {
  struct Room {
    std::unique_ptr<RowParser> parser;
  };
  ForEachBlock<StageOutput, Room>(
      source, stage.threads,
      [&](const RecordBlock& block, Room& room) {
        if (!room.parser) room.parser = std::make_unique<RowParser>(stage.columns);
        StageOutput output(files);
        output.lines[0].reserve(block.bytes.size());
        for (const Record& record : block.records) {
          ++output.rows;
          work(block, record, *room.parser, output);
        }
        return output;
      },
      [&](const RecordBlock&, StageOutput& output) { take(output); });
}

// The same with each record parsed: work(block, record, row, parser, output).
template <class Work, class Take>
void ForEachRow(RowSource& source, const StageInput& stage, size_t files, const Work& work, const Take& take) {
  ForEachRecord(
      source, stage, files,
      [&](const RecordBlock& block, const Record& record, RowParser& parser, StageOutput& output) {
        work(block, record, parser.Parse(source.files()[block.file], block, record), parser, output);
      },
      take);
}

// Whether rows of the file are written as they stand in it, so that who knows that a row can be read need not parse it.
inline bool IsWrittenAsItStands(const DataFile& file, const StageInput& stage) {
  return file.container == Container::kJsonl && stage.columns.empty();
}

// The record's number among all, `rows` of which an earlier pass has seen. Errors: Error{kBadInput} where it saw no
// such row.
inline uint32_t NumberOf(const RecordBlock& block, const Record& record, const DataFile& file, size_t rows) {
  const auto number = static_cast<size_t>(block.first + (&record - block.records.data()));
  if (number >= rows) BadInput("{}: has more rows than it had before: it was changed while it was read", file.path);
  return static_cast<uint32_t>(number);
}

// The settings that every stage records.
inline nlohmann::ordered_json StageSettingsJson(const StageInput& stage) {
  nlohmann::ordered_json columns = nlohmann::ordered_json::object();
  for (const auto& [name, column] : stage.columns) columns[name] = column;
  nlohmann::ordered_json json = {{"columns", columns}, {"strict", stage.strict}};
  if (stage.shard.is_part()) json["shard"] = fmt::format("{}/{}", stage.shard.index, stage.shard.of);
  return json;
}

}  // namespace attune
