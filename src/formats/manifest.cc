#include "formats/manifest.h"

#include <algorithm>
#include <set>

#include "base/error.h"
#include "formats/json.h"

namespace attune {
namespace {

using nlohmann::json;

constexpr int kVersion = 1;
constexpr const char* kHash = "xxh3_128";
constexpr size_t kHashDigits = 32;

// Printable in one line whatever it holds.
std::string Shown(const std::string& text) {
  return json(text.substr(0, 100)).dump(-1, ' ', true, json::error_handler_t::replace);
}

bool StaysBelow(const std::string& path) {
  if (path.empty() || path.find('\0') != std::string::npos) return false;
  for (size_t begin = 0; begin <= path.size();) {
    const size_t end = std::min(path.find('/', begin), path.size());
    const std::string_view part = std::string_view(path).substr(begin, end - begin);
    if (part.empty() || part == "." || part == "..") return false;
    begin = end + 1;
  }
  return true;
}

const json& Member(const json& object, const char* key, const std::string& where) {
  if (!object.is_object()) BadInput("{}: holds {} where an object is due", where, object.type_name());
  const auto found = object.find(key);
  if (found == object.end()) BadInput("{}: lacks \"{}\"", where, key);
  return *found;
}

std::string Text(const json& object, const char* key, const std::string& where) {
  const json& value = Member(object, key, where);
  if (!value.is_string()) BadInput("{}: \"{}\" is not a text", where, key);
  return value.get<std::string>();
}

int64_t Count(const json& object, const char* key, const std::string& where) {
  const json& value = Member(object, key, where);
  const auto largest = static_cast<uint64_t>(INT64_MAX);
  if (!value.is_number_unsigned() || value.get<uint64_t>() > largest) {
    BadInput("{}: \"{}\" is not a whole number of at least 0", where, key);
  }
  return value.get<int64_t>();
}

ManifestFile ParseFile(const json& value, const std::string& where) {
  ManifestFile file;
  file.path = Text(value, "path", where);
  if (!StaysBelow(file.path)) BadInput("{}: the path {} leads out of the folder", where, Shown(file.path));
  file.bytes = Count(value, "bytes", where);
  file.hash = Text(value, kHash, where);
  if (file.hash.size() != kHashDigits || file.hash.find_first_not_of("0123456789abcdef") != std::string::npos) {
    BadInput("{}: \"{}\" of {} is not {} hexadecimal digits", where, kHash, Shown(file.path), kHashDigits);
  }
  return file;
}

}  // namespace

std::string ManifestText(const std::vector<ManifestFile>& files) {
  nlohmann::ordered_json manifest = {
      {"version", kVersion}, {"hash", kHash}, {"files", nlohmann::ordered_json::array()}};
  for (const ManifestFile& file : files) {
    manifest["files"].push_back({{"path", file.path}, {"bytes", file.bytes}, {kHash, file.hash}});
  }
  try {
    return manifest.dump(2) + "\n";
  } catch (const json::exception&) {
    Failed("manifest.json: the name of a file is not UTF-8");
  }
}

std::vector<ManifestFile> ParseManifest(std::string_view text, const std::string& where) {
  const json manifest = ParseJson(text, where);
  if (const int64_t version = Count(manifest, "version", where); version != kVersion) {
    BadInput("{}: is of version {}; this attune reads version {}", where, version, kVersion);
  }
  if (const std::string hash = Text(manifest, "hash", where); hash != kHash) {
    BadInput("{}: \"hash\" is {}; this attune knows \"{}\"", where, Shown(hash), kHash);
  }
  const json& list = Member(manifest, "files", where);
  if (!list.is_array() || list.empty()) BadInput("{}: \"files\" is not a list of files", where);
  std::vector<ManifestFile> files;
  std::set<std::string> seen;
  for (const json& value : list) {
    files.push_back(ParseFile(value, where));
    if (!seen.insert(files.back().path).second) BadInput("{}: lists {} twice", where, Shown(files.back().path));
  }
  return files;
}

}  // namespace attune
