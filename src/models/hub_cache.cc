// Finding a downloaded model in the Hugging Face cache: models--ORG--NAME/refs/main names a commit, whose
// files are under snapshots/COMMIT.
#include <algorithm>
#include <cctype>
#include <cstdlib>

#include "base/file.h"
#include "models/model_files.h"

namespace attune {
namespace {

std::string Environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

std::string HubCache() {
  if (const std::string cache = Environment("HF_HUB_CACHE"); !cache.empty()) return cache;
  if (const std::string home = Environment("HF_HOME"); !home.empty()) return home + "/hub";
  if (const std::string cache = Environment("XDG_CACHE_HOME"); !cache.empty()) return cache + "/huggingface/hub";
  return Environment("HOME") + "/.cache/huggingface/hub";
}

// A part of a repository's name or a commit: nothing that could lead out of the cache.
bool IsPlainName(std::string_view part) {
  return !part.empty() && !part.starts_with('.') && std::all_of(part.begin(), part.end(), [](unsigned char c) {
    return std::isalnum(c) || c == '-' || c == '_' || c == '.';
  });
}

}  // namespace

std::string FindInHubCache(const std::string& repository) {
  const size_t slash = repository.find('/');
  const std::string organisation = slash == std::string::npos ? "" : repository.substr(0, slash);
  const std::string name = slash == std::string::npos ? repository : repository.substr(slash + 1);
  if (!IsPlainName(name) || (slash != std::string::npos && !IsPlainName(organisation))) return "";
  const std::string folder = HubCache() + "/models--" + (organisation.empty() ? name : organisation + "--" + name);
  if (!FileExists(folder + "/refs/main")) return "";
  std::string commit = ReadFile(folder + "/refs/main");
  while (!commit.empty() && std::isspace(static_cast<unsigned char>(commit.back()))) commit.pop_back();
  const std::string snapshot = folder + "/snapshots/" + commit;
  return IsPlainName(commit) && DirectoryExists(snapshot) ? snapshot : "";
}

}  // namespace attune
