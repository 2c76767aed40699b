// Saves checkpoints while training goes on: the files are written at once, for the next update changes what they hold;
// hashes, flushing to disk, putting in place and rotation happen on a thread beside the next updates.
#pragma once

#include <cstdint>
#include <exception>
#include <functional>
#include <optional>
#include <string>
#include <thread>

namespace attune {

class CheckpointSaver {
 public:
  CheckpointSaver(std::string output_dir, std::optional<int64_t> save_total_limit);
  ~CheckpointSaver();  // waits for what is under way; an error is lost then, so call Wait() first
  CheckpointSaver(const CheckpointSaver&) = delete;
  CheckpointSaver& operator=(const CheckpointSaver&) = delete;

  std::string FolderOf(int64_t step) const { return output_dir_ + "/checkpoint-" + std::to_string(step); }

  // Has `write` put the files into a folder, and starts making it checkpoint-`step`. `keep`: a checkpoint that rotation
  // must leave. Waits for the save before. Errors: as Wait(), and what `write` throws; no checkpoint of that step then.
  void Save(int64_t step, const std::string& keep, const std::function<void(const std::string& folder)>& write);

  // Until the last save is done. Errors: Error{kFailed} when it went wrong; the checkpoints before it are whole.
  void Wait();

 private:
  std::string output_dir_;
  std::optional<int64_t> save_total_limit_;
  std::thread thread_;
  std::exception_ptr error_;
};

}  // namespace attune
