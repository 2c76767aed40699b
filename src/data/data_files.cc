#include "data/data_files.h"

#include <algorithm>
#include <filesystem>

#include "base/error.h"
#include "base/file.h"
#include "base/hash.h"
#include "text/unicode.h"

namespace attune {
namespace {

bool IsLink(const std::string& path) {
  std::error_code error;
  return std::filesystem::is_symlink(path, error);
}

std::string Joined(const std::string& folder, const std::string& name) {
  return folder.ends_with('/') ? folder + name : folder + "/" + name;
}

}  // namespace

std::vector<std::string> DataFiles(const std::string& path) {
  for (const std::string_view packed : {".parquet", ".gz", ".zst"}) {
    if (path.ends_with(packed))
      BadInput("{}: training reads .jsonl and .txt; attune data clean {} --output NAME makes NAME.jsonl of it", path,
               path);
  }
  const auto accepts = [](std::string_view name) { return name.ends_with(".jsonl") || IsPlainText(name); };
  return FilesIn(path, accepts, ".jsonl or .txt");
}

std::vector<std::string> FilesIn(const std::string& path, bool (*accepts)(std::string_view name), const char* kinds) {
  if (!DirectoryExists(path)) return {path};
  std::vector<std::string> folders = {path}, files;
  while (!folders.empty()) {
    const std::string folder = std::move(folders.back());
    folders.pop_back();
    for (const std::string& name : ListDirectory(folder)) {
      const std::string entry = Joined(folder, name);
      if (name.starts_with('.') || name.ends_with(".removed.jsonl")) continue;
      if (DirectoryExists(entry)) {
        if (!IsLink(entry)) folders.push_back(entry);
      } else if (accepts(name)) {
        files.push_back(entry);
      }
    }
  }
  if (files.empty()) BadInput("{}: the folder holds no {} file", path, kinds);
  std::sort(files.begin(), files.end());
  return files;
}

std::string HashOfDataFiles(const std::string& path) {
  const std::vector<std::string> files = DataFiles(path);
  if (files.size() == 1) return Sha256OfFile(files[0]);
  std::string hashes;
  for (const std::string& file : files) hashes += Sha256OfFile(file) + "\n";
  return Sha256OfText(hashes);
}

bool IsPlainText(std::string_view path) { return path.ends_with(".txt"); }

DataRow ReadDataRow(const JsonlLine& line, const std::string& path, bool has_chat_template) {
  const std::string where = fmt::format("{}:{}", path, line.number);
  if (!IsPlainText(path)) return ParseRow(ParseJsonlLine(line, path), has_chat_template, where);
  if (!IsValidUtf8(line.text)) BadInput("{}: the line is not valid UTF-8; convert the file to UTF-8", where);
  DataRow row;
  row.where = where;
  row.text = line.text;
  return row;
}

}  // namespace attune
