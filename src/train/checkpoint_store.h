// The checkpoints of a run: output_dir/checkpoint-N, each a DurableFolder. What else a crash may leave is
// known by its ending and dealt with here: .partial (not finished), .old (moved aside for a new one),
// .removing (half deleted).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace attune {

struct FoundCheckpoint {
  std::string path;
  int64_t step = 0;
};

struct CheckpointSearch {
  std::optional<FoundCheckpoint> found;
  std::vector<std::string> skipped;  // newer ones, and why: "checkpoint-30: rng_state.json is missing"
};

// The checkpoint of the highest step that is what its manifest says, after leftovers of a crash have been put
// right. Reads every byte of it. Errors: Error{kBadInput} when output_dir is no folder, Error{kFailed} when
// it cannot be listed or a leftover cannot be put right, naming the path.
CheckpointSearch FindNewest(const std::string& output_dir);

// As transformers: removes the checkpoints of the lowest steps until `save_total_limit` are left, but never
// the newest, of step `newest_step`, nor `keep_path` (the best model's, known by its name, or empty), so that
// a limit of 1 may leave two. Those above newest_step are neither counted nor removed: they are damaged ones
// that a resumed run has passed over. Without a limit, or one below 1, all stay. Errors: Error{kFailed}
// naming the path.
void RotateCheckpoints(const std::string& output_dir, std::optional<int64_t> save_total_limit, int64_t newest_step,
                       const std::string& keep_path);

}  // namespace attune
