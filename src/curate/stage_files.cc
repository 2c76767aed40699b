#include "curate/stage_files.h"

#include <fmt/format.h>
#include <sodium.h>

#include <span>

#include "base/error.h"
#include "base/threads.h"
#include "curate/json_string.h"
#include "text/unicode.h"

namespace attune {
namespace {

using Json = nlohmann::ordered_json;

std::string Base64(std::string_view bytes) {
  std::string text(sodium_base64_ENCODED_LEN(bytes.size(), sodium_base64_VARIANT_ORIGINAL), '\0');
  sodium_bin2base64(text.data(), text.size(), reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size(),
                    sodium_base64_VARIANT_ORIGINAL);
  text.pop_back();  // the zero at its end
  return text;
}

}  // namespace

Json DescribedFile(const std::string& path) {
  return {{"path", path}, {"bytes", FileSize(path)}, {"xxh3_128", Xxh3OfFile(path)}};
}

std::string StageFiles::NameOf(const std::string& output) {
  const std::string name = output.ends_with(".jsonl") ? output.substr(0, output.size() - 6) : output;
  const std::string last = name.substr(name.rfind('/') + 1);  // npos + 1 is 0
  if (last.find_first_not_of('.') == last.npos) BadInput("--output {}: must name the files to write", output);
  return name;
}

void StageFiles::Output::Write(std::string_view lines) {
  file_.Write(lines);
  hash_.Add(std::as_bytes(std::span(lines)));
  bytes_ += std::ssize(lines);
}

StageFiles::StageFiles(const std::string& output, const std::vector<std::string>& suffixes) : name_(NameOf(output)) {
  std::vector<std::string> paths;
  for (const std::string& suffix : suffixes) paths.push_back(name_ + suffix);
  for (const char* suffix : {".removed.jsonl", ".manifest.json"}) paths.push_back(name_ + suffix);
  for (const std::string& path : paths) {
    if (PathExists(path)) BadInput("{}: exists already; name another output or remove it", path);
  }
  MakeDirectories(ParentOf(name_));
  for (size_t i = 0; i < suffixes.size(); ++i) rows_.push_back(std::make_unique<Output>(paths[i]));
  removed_.emplace(name_ + ".removed.jsonl");
}

Json StageFiles::Commit(const char* stage, const std::vector<DataFile>& inputs, const Json& record) {
  // The disk writes while the processor hashes.
  struct NoStageRoom {};
  std::vector<Json> described(inputs.size());
  InThreads<NoStageRoom>(2, inputs.size() + 1, [&](size_t i, NoStageRoom&) {
    if (i > 0) {
      described[i - 1] = DescribedFile(inputs[i - 1].path);
      return;
    }
    removed_->Sync();
    for (const auto& file : rows_) file->Sync();
  });
  Json manifest = {{"stage", stage}, {"inputs", described}};
  manifest.update(record);
  manifest["outputs"] = Json::array();
  manifest["outputs"].push_back(removed_->Described());
  for (const auto& file : rows_) manifest["outputs"].push_back(file->Described());
  // The rows come last: where they are, the rest is too.
  removed_->Commit();
  WriteFileAtomic(name_ + ".manifest.json", manifest.dump(2, ' ', false, Json::error_handler_t::replace) + "\n");
  for (const auto& file : rows_) file->Commit();
  return manifest;
}

std::string RemovedLine(std::string_view rule, std::string_view reason, const std::string& file, int64_t line,
                        std::string_view row, bool is_raw, std::string_view more) {
  std::string text = fmt::format("{{\"rule\": \"{}\", \"reason\": ", rule);
  AppendJsonString(reason, &text);
  text += ", \"file\": ";
  AppendJsonString(ReplaceInvalidUtf8(file), &text);
  text += fmt::format(", \"line\": {}{}, ", line, more);
  if (!is_raw) {
    text += "\"row\": ";
    text += row;
  } else if (IsValidUtf8(row)) {
    text += "\"raw\": ";
    AppendJsonString(row, &text);
  } else {
    text += "\"raw_base64\": \"" + Base64(row) + "\"";
  }
  text += "}\n";
  return text;
}

}  // namespace attune
