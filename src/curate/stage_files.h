// What a stage that writes leaves: NAME.jsonl (or several such files), NAME.removed.jsonl with every row that
// was taken out, and NAME.manifest.json, which says from what and how they were made. They appear together at
// the end, the rows last; the input is only read.
//
//   NAME.removed.jsonl   {"rule": "empty-answer", "reason": "...", "file": "train.jsonl", "line": 3, "row":
//   {...}}
//                        "raw" holds the text of a row that could not be read, "raw_base64" one that is not
//                        UTF-8
//   NAME.manifest.json   {"stage": "clean", "inputs": [{"path", "bytes", "xxh3_128"}], "settings": {...},
//   "rows_in": 9,
//                         "rows_out": 8, "removed": {"empty-answer": 1}, ..., "outputs": [{"path", "bytes",
//                         "xxh3_128"}]}
#pragma once

#include <cstdint>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/file.h"
#include "base/hash.h"
#include "curate/row_source.h"

namespace attune {

// What every stage is given.
struct StageInput {
  std::vector<std::string> input;
  ColumnMap columns;
  Shard shard;
  bool strict = false;  // the first row that cannot be read is an error
  std::string output;   // NAME or NAME.jsonl
  int64_t threads = 1;
};

class StageFiles {
 public:
  // `suffixes`: of the files of rows, {".jsonl"} for most. Errors: Error{kBadInput} where one of the files is
  // there already or the folder cannot be made.
  StageFiles(const std::string& output, const std::vector<std::string>& suffixes);

  // NAME of --output. Errors: Error{kBadInput} where it names none.
  static std::string NameOf(const std::string& output);

  void Write(size_t file, std::string_view lines) { rows_[file]->Write(lines); }
  void WriteRemoved(std::string_view lines) { removed_->Write(lines); }

  // Puts the files in place, the manifest among them: `stage` and the hashes of `inputs`, then what `record`
  // says, then the hashes of the outputs. Returns it. Errors: Error{kFailed} naming the file.
  nlohmann::ordered_json Commit(const char* stage, const std::vector<DataFile>& inputs,
                                const nlohmann::ordered_json& record);

 private:
  // Hashed while it is written: reading it again would take as long as writing it.
  class Output {
   public:
    explicit Output(const std::string& path) : path_(path), file_(path) {}
    void Write(std::string_view lines);
    void Sync() { file_.Sync(); }
    void Commit() { file_.Commit(); }
    nlohmann::ordered_json Described() const { return {{"path", path_}, {"bytes", bytes_}, {"xxh3_128", hash_.Hex()}}; }

   private:
    std::string path_;
    AtomicFile file_;
    Xxh3 hash_;
    int64_t bytes_ = 0;
  };

  std::string name_;
  std::optional<Output> removed_;
  std::vector<std::unique_ptr<Output>> rows_;
};

// A file as a manifest names it. Errors: Error{kBadInput} when it cannot be read.
nlohmann::ordered_json DescribedFile(const std::string& path);

// One line of NAME.removed.jsonl. `row`: its JSON on one line, or, where `is_raw`, the text that could not be
// read. `more`: further members, as `, "key": value`.
std::string RemovedLine(std::string_view rule, std::string_view reason, const std::string& file, int64_t line,
                        std::string_view row, bool is_raw, std::string_view more = {});

}  // namespace attune
