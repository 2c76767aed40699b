#include "models/step_plan.h"

#include <algorithm>
#include <numeric>
#include <utility>

namespace attune {
namespace {

// What AssignOffsets must know of a buffer that has its place: small, for a large model has thousands that each new one
// is held against.
struct Placed {
  int first, last;
  int64_t offset, end;
};

}  // namespace

StepPlan::Id StepPlan::Add(std::string name, Part part, DType dtype, int64_t rows, int64_t cols, int first, int last) {
  int64_t stride = part == Part::kInputs ? cols : SpreadStride(dtype, rows, cols);
  if (spread_rows_ && part != Part::kInputs && rows > 1) stride = cols + 16;
  const int64_t bytes = AlignedBytes(BytesOf(dtype, rows * stride));
  buffers_.push_back({std::move(name), part, dtype, rows, cols, stride, first, last, bytes, 0});
  return static_cast<Id>(buffers_.size()) - 1;
}

void StepPlan::AssignOffsets() {
  std::vector<size_t> order(buffers_.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return buffers_[a].bytes > buffers_[b].bytes; });
  std::vector<Placed> placed;  // by offset
  arena_bytes_ = 0;
  for (size_t index : order) {
    Buffer& buffer = buffers_[index];
    int64_t offset = 0;
    for (const Placed& taken : placed) {
      if (buffer.first > taken.last || taken.first > buffer.last) continue;
      if (offset + buffer.bytes <= taken.offset) break;
      offset = std::max(offset, taken.end);
    }
    buffer.offset = offset;
    arena_bytes_ = std::max(arena_bytes_, offset + buffer.bytes);
    const auto place = std::upper_bound(placed.begin(), placed.end(), offset,
                                        [](int64_t value, const Placed& other) { return value < other.offset; });
    placed.insert(place, {buffer.first, buffer.last, offset, offset + buffer.bytes});
  }
}

Matrix StepPlan::View(DeviceAddress base, Id id, int64_t rows) const {
  const Buffer& buffer = buffers_[static_cast<size_t>(id)];
  return {base.Plus(buffer.offset), buffer.dtype, rows, buffer.cols, buffer.stride};
}

int64_t StepPlan::PeakBytes(Part part) const {
  int last = 0;
  for (const Buffer& b : buffers_) last = std::max(last, b.last);
  std::vector<int64_t> change(static_cast<size_t>(last) +
                              2);  // by stage: bytes that begin to be used, less those that end
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
