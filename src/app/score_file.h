// Scores of rows kept from run to run, a line a row:
//
//   {"attune_scores": 1, "model": "M.gguf", "bytes": 98314208, "head_sha256": "...", "max_length": 1024}
//   {"row": "9f86d081884c7d65", "file": "train.jsonl", "line": 3, "answer_tokens": 21, "loss": 2.81,
//   "loss_alone": 3.9, "ifd": 0.72}
//
// A row is known by its tokens and by which of them are trained on ("row", an XXH3 of them), wherever it stands.
#pragma once

#include <cstdint>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <unordered_map>

#include "base/file.h"
#include "curate/row_score.h"

namespace attune {

class ScoreFile {
 public:
  // Reads what is there; a last line that a crash cut short is dropped. `header`: the model and settings that
  // the scores depend on. An empty path: nothing is kept. Errors: Error{kBadInput}: scores by another model
  // or setting, another file.
  ScoreFile(const std::string& path, const nlohmann::ordered_json& header);

  const RowScore* Find(uint64_t row) const;
  // Is in the file at once, so that nothing is scored twice even after an interruption.
  void Add(uint64_t row, const std::string& file, int64_t line, const RowScore& score);

 private:
  void Read(const std::string& path, const nlohmann::ordered_json& header);

  std::unordered_map<uint64_t, RowScore> scores_;
  std::unique_ptr<AppendFile> file_;
};

}  // namespace attune
