#include "formats/durable_folder.h"

#include <exception>
#include <vector>

#include "base/error.h"
#include "base/file.h"
#include "base/hash.h"
#include "formats/manifest.h"

namespace attune {
namespace {

constexpr const char* kManifest = "manifest.json";
constexpr int64_t kLargestManifest = int64_t{1} << 24;

std::string WithoutSlashAtEnd(std::string path) {
  while (path.size() > 1 && path.back() == '/') path.pop_back();
  return path;
}

// Flushes all that is below folder/below and lists its files by their paths below `folder`. The recursion
// ends: the system takes no path longer than PATH_MAX.
void FlushAndList(const std::string& folder, const std::string& below, std::vector<ManifestFile>* files) {
  for (const std::string& name : ListDirectory(folder + "/" + below)) {
    const std::string path = below + name;
    const std::string whole = folder + "/" + path;
    if (DirectoryExists(whole)) {
      FlushAndList(folder, path + "/", files);
      SyncDirectory(whole);
    } else if (path != kManifest) {
      SyncFile(whole);
      files->push_back({path, FileSize(whole), Xxh3OfFile(whole)});
    }
  }
}

// 1234567 as 1,234,567.
std::string Grouped(int64_t number) {
  std::string text = std::to_string(number);
  for (int at = static_cast<int>(text.size()) - 3; at > 0; at -= 3) text.insert(static_cast<size_t>(at), ",");
  return text;
}

}  // namespace

DurableFolder::DurableFolder(const std::string& path)
    : path_(WithoutSlashAtEnd(path)), partial_(path_ + ".partial"), old_(path_ + ".old") {
  RecoverFolder(path_);
  RemoveTree(partial_);
  MakeDirectories(partial_);
}

DurableFolder::~DurableFolder() {
  try {
    RemoveTree(partial_);  // after Commit() there is none
  } catch (const std::exception&) {
    // What remains is removed by the next DurableFolder of this path.
  }
}

void DurableFolder::Commit() {
  Seal();
  PutInPlace();
}

void DurableFolder::Seal() {
  std::vector<ManifestFile> files;
  FlushAndList(partial_, "", &files);
  if (files.empty()) Failed("{}: nothing was written into it", path_);
  WriteFileAtomic(partial_ + "/" + kManifest, ManifestText(files));  // flushes the names in the folder, too
}

void DurableFolder::PutInPlace() {
  bool moved = false;
  try {
    if (PathExists(path_)) {
      RemoveTree(old_);
      moved = true;
      RenameDurably(path_, old_);
    }
    RenameDurably(partial_, path_);
  } catch (const Error&) {
    try {
      if (moved && !PathExists(path_)) RenameDurably(old_, path_);
    } catch (const Error&) {
      // Then it is found as PATH.old; the first error is the one to tell.
    }
    throw;
  }
  RemoveTree(old_);
}

std::optional<std::string> VerifyFolder(const std::string& path) {
  const std::string folder = WithoutSlashAtEnd(path) + "/";
  try {
    if (!PathExists(folder + kManifest)) return fmt::format("has no {}", kManifest);
    if (FileSize(folder + kManifest) > kLargestManifest) return fmt::format("{} is too large", kManifest);
    const std::vector<ManifestFile> files = ParseManifest(ReadFile(folder + kManifest), kManifest);
    for (const ManifestFile& file : files) {  // all sizes before the first hash: most damage shows there
      if (!PathExists(folder + file.path)) return fmt::format("{} is missing", file.path);
      const int64_t bytes = FileSize(folder + file.path);
      if (bytes != file.bytes) {
        return fmt::format("{} has {} bytes, its manifest says {}", file.path, Grouped(bytes), Grouped(file.bytes));
      }
    }
    for (const ManifestFile& file : files) {
      if (Xxh3OfFile(folder + file.path) != file.hash) {
        return fmt::format("{} is not what its manifest says: its content was changed or damaged", file.path);
      }
    }
    return std::nullopt;
  } catch (const Error& error) {
    const std::string reason = error.what();
    return reason.starts_with(folder) ? reason.substr(folder.size()) : reason;
  }
}

void RecoverFolder(const std::string& path) {
  const std::string folder = WithoutSlashAtEnd(path), old = folder + ".old";
  if (!PathExists(old)) return;
  if (!PathExists(folder)) {
    RenameDurably(old, folder);
  } else if (!VerifyFolder(folder)) {
    RemoveTree(old);
  }
}

}  // namespace attune
