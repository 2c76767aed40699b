// Each task is computed whole by one thread, and its sums run in an order that only its shape decides: so
// results do not depend on the number of threads.
#include "ops/cpu/attention_bf16.h"

#include <omp.h>

#include <algorithm>

#include "ops/cpu/raw.h"
#include "ops/cpu/tickets.h"
#include "quant/float16.h"

namespace attune {
namespace {

// Columns of one head, from row `first` of a matrix on.
template <class T>
AttentionRows<T> HeadRows(const Matrix& matrix, int64_t first, int64_t column) {
  return {RawRow<T>(matrix, first) + column, matrix.stride};
}

template <class Op>
void FillGroup(const Op& op, int64_t begin, int64_t length, int64_t kv, AttentionGroup* group) {
  const AttentionShape& s = op.shape;
  group->length = length;
  group->head_dim = s.head_dim;
  group->group = s.heads / s.kv_heads;
  group->window = s.window;
  group->scale = s.scale;
  group->q = HeadRows<const uint16_t>(op.q, begin, kv * group->group * s.head_dim);
  group->k = HeadRows<const uint16_t>(op.k, begin, kv * s.head_dim);
  group->v = HeadRows<const uint16_t>(op.v, begin, kv * s.head_dim);
}

// Rounds the sums of one head to the gradients.
void StoreSums(const Matrix& sums, const Matrix& gradients, int64_t begin, int64_t length, int64_t column,
               int64_t dim) {
  for (int64_t t = begin; t < begin + length; ++t) {
    const float* from = RawRow<const float>(sums, t) + column;
    uint16_t* to = RawRow<uint16_t>(gradients, t) + column;
    for (int64_t i = 0; i < dim; ++i) to[i] = FloatToBf16(from[i]);
  }
}

}  // namespace

void RunAttention(const AttentionKernel& kernel, const Scratch& scratch, const Attention& op) {
  const int32_t* starts = Raw<const int32_t>(op.starts);
  Tickets tickets;
#pragma omp parallel num_threads(scratch.threads)
  {
    int64_t index = 0, mine = -1;
    for (int64_t s = 0; s + 1 < op.starts.cols; ++s) {
      const int64_t length = starts[s + 1] - starts[s], group = op.shape.heads / op.shape.kv_heads;
      const int64_t items = (length - op.past + kernel.block - 1) / kernel.block * group;
      const int64_t pieces = (items + kernel.forward_items - 1) / kernel.forward_items;
      for (int64_t piece = pieces - 1; piece >= 0; --piece) {  // the longest first
        for (int64_t kv = 0; kv < op.shape.kv_heads; ++kv) {
          if (!tickets.Mine(index++, &mine)) continue;
          AttentionForwardGroup g;
          FillGroup(op, starts[s], length, kv, &g);
          g.past = op.past;
          g.out = HeadRows<uint16_t>(op.out, starts[s], kv * group * op.shape.head_dim);
          if (op.lse) g.lse = HeadRows<float>(op.lse, starts[s], kv * group);
          const int64_t first = piece * kernel.forward_items;
          kernel.forward(g, first, std::min(kernel.forward_items, items - first), scratch.thread(omp_get_thread_num()));
        }
      }
    }
  }
}

void RunAttention(const AttentionKernel& kernel, const Scratch& scratch, const AttentionBackward& op) {
  const int32_t* starts = Raw<const int32_t>(op.starts);
  const int64_t dim = op.shape.head_dim, group = op.shape.heads / op.shape.kv_heads;
  Tickets tickets;
#pragma omp parallel num_threads(scratch.threads)
  {
    int64_t index = 0, mine = -1;
    for (int64_t s = 0; s + 1 < op.starts.cols; ++s) {
      for (int64_t kv = 0; kv < op.shape.kv_heads; ++kv) {
        if (!tickets.Mine(index++, &mine)) continue;
        const int64_t begin = starts[s], length = starts[s + 1] - begin, column = kv * group * dim;
        AttentionBackwardGroup g;
        FillGroup(op, begin, length, kv, &g);
        g.out = HeadRows<const uint16_t>(op.out, begin, column);
        g.dout = HeadRows<const uint16_t>(op.dout, begin, column);
        g.lse = HeadRows<const float>(op.lse, begin, kv * group);
        g.dq = HeadRows<uint16_t>(op.dq, begin, column);
        g.dk_sum = HeadRows<float>(op.dk_sum, begin, kv * dim);
        g.dv_sum = HeadRows<float>(op.dv_sum, begin, kv * dim);
        kernel.backward(g, scratch.thread(omp_get_thread_num()));
        StoreSums(op.dk_sum, op.dk, begin, length, kv * dim, dim);
        StoreSums(op.dv_sum, op.dv, begin, length, kv * dim, dim);
      }
    }
  }
}

}  // namespace attune
