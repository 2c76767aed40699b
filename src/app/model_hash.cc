#include "app/model_hash.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <string_view>
#include <vector>

#include "base/file.h"
#include "base/hash.h"
#include "models/model_files.h"

namespace attune {
namespace {

namespace fs = std::filesystem;

constexpr size_t kHead = size_t{1} << 20;
constexpr uint64_t kMostBytes = uint64_t{4} << 30;

// The model's own files in the order of their names: weights and configuration.
std::vector<std::string> FilesOfModel(const std::string& name_or_path) {
  if (FileExists(name_or_path)) return {name_or_path};
  const std::string folder = DirectoryExists(name_or_path) ? name_or_path : FindInHubCache(name_or_path);
  std::vector<std::string> files;
  std::error_code error;
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
    const std::string name = it->path().filename().string();
    if (name == "config.json" || name.ends_with(".safetensors")) files.push_back(it->path().string());
  }
  std::sort(files.begin(), files.end());
  return files;
}

std::string NameIn(const std::string& path) { return fs::path(path).filename().string(); }

}  // namespace

nlohmann::ordered_json QuickModelHash(const std::string& name_or_path) {
  uint64_t bytes = 0;
  std::string lines;
  for (const std::string& path : FilesOfModel(name_or_path)) {
    const MappedFile file(path);
    bytes += file.text().size();
    lines += fmt::format("{}  {}  {}\n", Sha256OfText(file.text().substr(0, kHead)), file.text().size(), NameIn(path));
  }
  return {{"bytes", bytes}, {"head_sha256", Sha256OfText(lines)}};
}

std::string FullModelHash(const std::string& name_or_path) {
  const std::vector<std::string> files = FilesOfModel(name_or_path);
  uint64_t bytes = 0;
  for (const std::string& path : files) bytes += static_cast<uint64_t>(FileSize(path));
  if (bytes > kMostBytes || files.empty()) return "";
  if (FileExists(name_or_path)) return Sha256OfFile(name_or_path);
  std::string lines;
  for (const std::string& path : files) lines += fmt::format("{}  {}\n", Sha256OfFile(path), NameIn(path));
  return Sha256OfText(lines);
}

}  // namespace attune
