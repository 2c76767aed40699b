// Attention over bf16 operands on bf16 products: what a CPU target has to provide so that the driver
// (attention_bf16.cc) can run it. The driver owns sequences and threads; a kernel owns the work on the
// queries that read one key/value head of one sequence. Plain pointers only: the kernels are compiled for
// other processors than their callers, and must not share inline functions with them.
#pragma once

#include <cstddef>
#include <cstdint>

namespace attune {

inline constexpr int64_t kMaxHeadDim = 1024;

template <class T>
struct AttentionRows {
  T* data = nullptr;   // of the first row of the sequence, at the first column of the (first) head
  int64_t stride = 0;  // elements from one row to the next
};

// One key/value head of one sequence with the `group` query heads that read it. Query heads lie beside each
// other. Key t is row t; query t (a position, at least `past`) is row t - past of q, out, lse, dout and dq.
struct AttentionGroup {
  int64_t length = 0;  // keys
  int64_t past = 0;    // keys before the first query
  int64_t head_dim = 0, group = 1;
  int64_t window = 0;  // 0: unlimited
  float scale = 1.0f;
  AttentionRows<const uint16_t> q, k, v;
};

struct AttentionForwardGroup : AttentionGroup {
  AttentionRows<uint16_t> out;
  AttentionRows<float> lse;  // may be null
};

struct AttentionBackwardGroup : AttentionGroup {
  AttentionRows<const uint16_t> out, dout;
  AttentionRows<const float> lse;
  AttentionRows<uint16_t> dq;
  AttentionRows<float> dk_sum, dv_sum;  // overwritten
};

struct AttentionKernel {
  // The work of a group comes in items: item i is query block i / group, of `block` queries, of head i %
  // group.
  int64_t block;
  // How many items one call of `forward` should get, so that what is prepared of the keys serves many.
  int64_t forward_items;

  // `room` is the scratch of one thread, aligned to a cache line.
  void (*forward)(const AttentionForwardGroup& group, int64_t first_item, int64_t items, std::byte* room);
  void (*backward)(const AttentionBackwardGroup& group, std::byte* room);
};

// Null where the processor has no AVX512-BF16.
const AttentionKernel* NativeBf16AttentionKernel();

// The same kernel with the instructions spelled out in plain C++: slow, for tests on any machine.
const AttentionKernel* EmulatedBf16AttentionKernel();

}  // namespace attune
