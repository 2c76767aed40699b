#include "train/checkpoint_store.h"

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <string_view>

#include "base/error.h"
#include "base/file.h"
#include "formats/durable_folder.h"

namespace attune {
namespace {

// A name in the output folder that is checkpoint-N or checkpoint-N.ENDING.
struct Entry {
  std::string folder;  // checkpoint-N
  std::string ending;  // "", ".partial" ...
  int64_t step = 0;
};

std::optional<Entry> ParseName(const std::string& name) {
  constexpr std::string_view kPrefix = "checkpoint-";
  if (!name.starts_with(kPrefix)) return std::nullopt;
  Entry entry;
  const char* begin = name.data() + kPrefix.size();
  const char* end = name.data() + name.size();
  const auto [rest, error] = std::from_chars(begin, end, entry.step);
  if (error != std::errc() || *begin == '-' || (rest != end && *rest != '.')) return std::nullopt;
  entry.ending.assign(rest, end);
  entry.folder.assign(name.data(), rest);
  return entry;
}

std::vector<Entry> List(const std::string& output_dir) {
  std::vector<Entry> entries;
  for (const std::string& name : ListDirectory(output_dir)) {
    if (auto entry = ParseName(name)) entries.push_back(std::move(*entry));
  }
  return entries;
}

// What is named checkpoint-N, highest step last.
std::vector<Entry> Checkpoints(const std::string& output_dir) {
  std::vector<Entry> entries = List(output_dir);
  std::erase_if(entries, [](const Entry& entry) { return !entry.ending.empty(); });
  std::stable_sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) { return a.step < b.step; });
  return entries;
}

// Nobody takes a folder that is half deleted for a checkpoint: it loses its name first.
void Remove(const std::string& folder) {
  RemoveTree(folder + ".old");  // which would otherwise be put back
  RemoveTree(folder + ".removing");
  RenameDurably(folder, folder + ".removing");
  RemoveTree(folder + ".removing");
}

void PutLeftoversRight(const std::string& output_dir) {
  for (const Entry& entry : List(output_dir)) {
    const std::string folder = output_dir + "/" + entry.folder;
    if (entry.ending == ".partial" || entry.ending == ".removing") RemoveTree(folder + entry.ending);
    if (entry.ending == ".old") RecoverFolder(folder);
  }
}

}  // namespace

CheckpointSearch FindNewest(const std::string& output_dir) {
  if (!DirectoryExists(output_dir)) BadInput("{}: is not a folder; name the output_dir of a run", output_dir);
  PutLeftoversRight(output_dir);
  CheckpointSearch search;
  const std::vector<Entry> checkpoints = Checkpoints(output_dir);
  for (auto entry = checkpoints.rbegin(); entry != checkpoints.rend(); ++entry) {
    const std::string path = output_dir + "/" + entry->folder;
    const std::optional<std::string> reason = VerifyFolder(path);
    if (!reason) {
      search.found = FoundCheckpoint{path, entry->step};
      break;
    }
    search.skipped.push_back(entry->folder + ": " + *reason);
  }
  return search;
}

void RotateCheckpoints(const std::string& output_dir, std::optional<int64_t> save_total_limit, int64_t newest_step,
                       const std::string& keep_path) {
  if (!save_total_limit || *save_total_limit < 1) return;
  std::vector<Entry> checkpoints = Checkpoints(output_dir);
  std::erase_if(checkpoints, [&](const Entry& entry) {
    return entry.step > newest_step || !DirectoryExists(output_dir + "/" + entry.folder);
  });
  // By its name alone: a run that is resumed from another working folder knows it by another path.
  const std::filesystem::path keep(keep_path);
  const std::string kept = keep.has_filename() ? keep.filename() : keep.parent_path().filename();
  auto left = static_cast<int64_t>(checkpoints.size());
  for (const Entry& entry : checkpoints) {
    if (left <= *save_total_limit || entry.step == newest_step) break;
    if (entry.folder == kept) continue;
    Remove(output_dir + "/" + entry.folder);
    --left;
  }
}

}  // namespace attune
