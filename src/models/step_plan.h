// The static plan of a step's memory: every buffer with its name, its size and the span of the step in which it is
// alive; offsets are assigned once. The trainer allocates exactly this arena and the planner prints exactly this table.
//
// Time in a step is counted in stages: layer l runs forward at stage l, the head at stage L, layer l backward at stage
// 2 L - l. Two buffers may share bytes when their spans do not touch.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tensor/matrix.h"

namespace attune {

class StepPlan {
 public:
  // What a buffer is for: the rows of the memory table.
  enum class Part { kActivations, kGradients, kLogits, kScratch, kInputs };

  struct Buffer {
    std::string name;
    Part part;
    DType dtype;
    int64_t rows, cols, stride;  // row-major; stride in elements
    int first, last;             // stages, both inclusive
    int64_t bytes, offset;
  };
  using Id = int;

  // spread_rows: as if all rows were of whole pages; for tests.
  explicit StepPlan(bool spread_rows = false) : spread_rows_(spread_rows) {}

  // Rows lie SpreadStride apart (tensor/matrix.h), those of inputs one behind the other.
  Id Add(std::string name, Part part, DType dtype, int64_t rows, int64_t cols, int first, int last);

  // Places every buffer, largest first, at the lowest offset free during its whole span. Call once, after the last Add.
  void AssignOffsets();

  const std::vector<Buffer>& buffers() const { return buffers_; }
  int64_t arena_bytes() const { return arena_bytes_; }

  // A view of the first `rows` rows of a buffer in an arena at `base`.
  Matrix View(DeviceAddress base, Id id, int64_t rows) const;

  // Bytes that the arena would need for the buffers of one part alone, at the stage where they take most.
  int64_t PeakBytes(Part part) const;

 private:
  bool spread_rows_;
  std::vector<Buffer> buffers_;
  int64_t arena_bytes_ = 0;
};

}  // namespace attune
