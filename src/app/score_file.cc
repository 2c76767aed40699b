#include "app/score_file.h"

#include <fmt/format.h>

#include <cstdlib>
#include <limits>

#include "app/output_dir.h"
#include "base/error.h"
#include "data/jsonl.h"
#include "text/unicode.h"

namespace attune {
namespace {

using Json = nlohmann::ordered_json;

std::pair<uint64_t, RowScore> ScoreOf(const Json& json, const std::string& where) {
  const auto number = [&](const char* key) {
    if (!json.contains(key) || !json[key].is_number() || json[key].get<double>() < 0)
      BadInput("{}: \"{}\" must be a number that is not negative; remove the line", where, key);
    return json[key].get<double>();
  };
  const std::string row = json.contains("row") && json["row"].is_string() ? json["row"].get<std::string>() : "";
  char* end = nullptr;
  const uint64_t hash = std::strtoull(row.c_str(), &end, 16);
  if (row.size() != 16 || *end != '\0') BadInput("{}: \"row\" must be 16 hexadecimal digits; remove the line", where);
  const double tokens = number("answer_tokens");
  if (!json["answer_tokens"].is_number_integer() || tokens > std::numeric_limits<int32_t>::max())
    BadInput("{}: \"answer_tokens\" must be a number of tokens; remove the line", where);
  return {hash, {static_cast<int64_t>(tokens), number("loss"), number("loss_alone")}};
}

}  // namespace

ScoreFile::ScoreFile(const std::string& path, const Json& header) {
  if (path.empty()) return;
  const bool there = PathExists(path);
  if (there) {
    Read(path, header);
  } else {
    RequireFolderOf(path);
  }
  file_ = std::make_unique<AppendFile>(path);
  if (!there) file_->WriteLine(header.dump());
}

void ScoreFile::Read(const std::string& path, const Json& header) {
  std::string text = ReadFile(path);
  const size_t whole = text.rfind('\n') + 1;  // 0 without any
  const bool cut = whole < text.size();
  text.resize(whole);
  const std::vector<JsonlLine> lines = SplitJsonl(text);
  if (lines.empty()) BadInput("--scores {}: holds no scores; name another file", path);
  const Json found = ParseJsonlLine(lines[0], path);
  if (!found.contains("attune_scores")) BadInput("--scores {}: is no file of scores; name another one", path);
  for (const auto& [key, value] : header.items()) {
    // The same file may go by another path.
    if (key != "model" && (!found.contains(key) || found[key] != value))
      BadInput("--scores {}: its scores are of {} {}, not {}: name another file", path, key,
               found.value(key, Json()).dump(), value.dump());
  }
  for (size_t i = 1; i < lines.size(); ++i)
    scores_.insert(ScoreOf(ParseJsonlLine(lines[i], path), fmt::format("{}:{}", path, lines[i].number)));
  if (cut) WriteFileAtomic(path, text);
}

const RowScore* ScoreFile::Find(uint64_t row) const {
  const auto found = scores_.find(row);
  return found == scores_.end() ? nullptr : &found->second;
}

void ScoreFile::Add(uint64_t row, const std::string& file, int64_t line, const RowScore& score) {
  scores_[row] = score;
  if (!file_) return;
  Json json = {{"row", fmt::format("{:016x}", row)},
               {"file", ReplaceInvalidUtf8(file)},
               {"line", line},
               {"answer_tokens", score.tokens},
               {"loss", score.loss},
               {"loss_alone", score.loss_alone}};
  if (const auto ifd = score.Ifd()) json["ifd"] = *ifd;
  file_->WriteLine(json.dump());
}

}  // namespace attune
