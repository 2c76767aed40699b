#include "train/checkpoint_saver.h"

#include <memory>
#include <utility>

#include "base/file.h"
#include "formats/durable_folder.h"
#include "train/checkpoint_store.h"

namespace attune {

CheckpointSaver::CheckpointSaver(std::string output_dir, std::optional<int64_t> save_total_limit)
    : output_dir_(std::move(output_dir)), save_total_limit_(save_total_limit) {}

CheckpointSaver::~CheckpointSaver() {
  if (thread_.joinable()) thread_.join();
}

void CheckpointSaver::Wait() {
  if (thread_.joinable()) thread_.join();
  if (error_) std::rethrow_exception(std::exchange(error_, nullptr));
}

void CheckpointSaver::Save(int64_t step, const std::string& keep,
                           const std::function<void(const std::string& folder)>& write) {
  Wait();
  auto folder = std::make_shared<DurableFolder>(FolderOf(step));
  {
    const LaterSync later;  // Commit() flushes every file, on the thread
    write(folder->partial());
  }
  thread_ = std::thread([this, step, folder = std::move(folder), keep]() mutable {
    try {
      folder->Commit();
      folder.reset();
      RotateCheckpoints(output_dir_, save_total_limit_, step, keep);
    } catch (...) {
      error_ = std::current_exception();
    }
  });
}

}  // namespace attune
