#include "models/step_plan.h"

#include <algorithm>
#include <numeric>
#include <utility>

namespace attune {
namespace {

bool Overlap(const StepPlan::Buffer& a, const StepPlan::Buffer& b) { return a.first <= b.last && b.first <= a.last; }

}  // namespace

StepPlan::Id StepPlan::Add(std::string name, Part part, DType dtype, int64_t rows, int64_t cols, int first, int last) {
  const int64_t bytes = AlignedBytes(BytesOf(dtype, rows * cols));
  buffers_.push_back({std::move(name), part, dtype, rows, cols, first, last, bytes, 0});
  return static_cast<Id>(buffers_.size()) - 1;
}

void StepPlan::AssignOffsets() {
  std::vector<size_t> order(buffers_.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return buffers_[a].bytes > buffers_[b].bytes; });
  std::vector<size_t> placed;  // by offset
  arena_bytes_ = 0;
  for (size_t index : order) {
    Buffer& buffer = buffers_[index];
    int64_t offset = 0;
    for (size_t other : placed) {
      const Buffer& taken = buffers_[other];
      if (!Overlap(buffer, taken)) continue;
      if (offset + buffer.bytes <= taken.offset) break;
      offset = std::max(offset, taken.offset + taken.bytes);
    }
    buffer.offset = offset;
    arena_bytes_ = std::max(arena_bytes_, offset + buffer.bytes);
    const auto place = std::upper_bound(placed.begin(), placed.end(), index,
                                        [&](size_t a, size_t b) { return buffers_[a].offset < buffers_[b].offset; });
    placed.insert(place, index);
  }
}

Matrix StepPlan::View(DeviceAddress base, Id id, int64_t rows) const {
  const Buffer& buffer = buffers_[static_cast<size_t>(id)];
  return DenseMatrix(base.Plus(buffer.offset), buffer.dtype, rows, buffer.cols);
}

int64_t StepPlan::PeakBytes(Part part) const {
  int last = 0;
  for (const Buffer& b : buffers_) last = std::max(last, b.last);
  std::vector<int64_t> change(static_cast<size_t>(last) + 2);  // by stage: bytes that begin to be used, less those that end
  for (const Buffer& b : buffers_) {
    if (b.part != part) continue;
    change[static_cast<size_t>(b.first)] += b.bytes;
    change[static_cast<size_t>(b.last) + 1] -= b.bytes;
  }
  int64_t used = 0, peak = 0;
  for (const int64_t bytes : change) peak = std::max(peak, used += bytes);
  return peak;
}

}  // namespace attune
