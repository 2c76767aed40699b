// manifest.json: what a folder that was written as a whole holds, so that a reader can tell whether it is
// still whole (formats/durable_folder.h).
//
//   {"version": 1, "hash": "xxh3_128",
//    "files": [{"path": "trainer_state.json", "bytes": 812, "xxh3_128": "0123456789abcdef0123456789abcdef"}]}
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace attune {

struct ManifestFile {
  std::string path;  // below the folder, parts separated by "/"
  int64_t bytes = 0;
  std::string hash;  // Xxh3OfFile
  bool operator==(const ManifestFile&) const = default;
};

// Errors: Error{kFailed} when a path is not UTF-8.
std::string ManifestText(const std::vector<ManifestFile>& files);

// Every path of the result is relative and stays below the folder. `where` names the text in errors. Errors:
// Error{kBadInput} for what ManifestText does not write, save that unknown keys are passed over.
std::vector<ManifestFile> ParseManifest(std::string_view text, const std::string& where);

}  // namespace attune
