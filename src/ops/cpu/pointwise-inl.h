// The small ops of a decoder block: embedding, rotation, SwiGLU, copies, biases.
// Compiled once for each Highway target, by small_kernels.cc.
#include <hwy/highway.h>

#include <algorithm>

#include "ops/cpu/kernels.h"
#include "ops/cpu/raw.h"
#include "ops/cpu/stored_tile.h"
#include "ops/cpu/typed.h"
#include "ops/cpu/vector-inl.h"

HWY_BEFORE_NAMESPACE();
namespace attune {
namespace HWY_NAMESPACE {

void EmbeddingKernel(const CpuState& state, const Embedding& op) {
  const int32_t* ids = Raw<const int32_t>(op.ids);
  const Matrix table =
      DenseMatrix(op.table.data, op.table.dtype, op.table.rows, op.table.stride);  // of a view: with the gaps
#pragma omp parallel for num_threads(state.scratch.threads) schedule(static)
  for (int64_t t = 0; t < op.out.rows; ++t) {
    DecodeTile({table, ids[t], 1, 0, op.out.cols, RawRow<float>(op.out, t), op.out.cols}, DType::kF32);
  }
}

// Each thread owns whole columns and walks the tokens in order, so a token that occurs twice is no race.
void EmbeddingBackwardKernel(const CpuState& state, const EmbeddingBackward& op) {
  constexpr int64_t kColumns = 64;
  const int32_t* ids = Raw<const int32_t>(op.ids);
#pragma omp parallel for num_threads(state.scratch.threads) schedule(static)
  for (int64_t c0 = 0; c0 < op.dx.cols; c0 += kColumns) {
    const int64_t count = std::min(kColumns, op.dx.cols - c0);
    for (int64_t t = 0; t < op.dx.rows; ++t) {
      if (ids[t] < 0) continue;
      const float* from = RawRow<const float>(op.dx, t) + c0;
      float* to = RawRow<float>(op.dtable, ids[t]) + c0;
      ForEach(count, [&](auto d, int64_t i)
                         HWY_ATTR { hn::StoreU(hn::Add(hn::LoadU(d, to + i), hn::LoadU(d, from + i)), d, to + i); });
    }
  }
}

void GatherColumnsKernel(const CpuState& state, const GatherColumns& op) {
  const int32_t* columns = Raw<const int32_t>(op.columns);
  WithComputeType(op.x.dtype, [&](auto type) {
    using T = decltype(type);
#pragma omp parallel for num_threads(state.scratch.threads) schedule(static)
    for (int64_t t = 0; t < op.out.rows; ++t) {
      const T* x = RawRow<const T>(op.x, t);
      T* out = RawRow<T>(op.out, t);
      for (int64_t j = 0; j < op.out.cols; ++j) out[j] = x[columns[j]];
    }
  });
}

void RopeKernel(const CpuState& state, const Rope& op) {
  const int32_t* positions = Raw<const int32_t>(op.positions);
  const int64_t half = op.head_dim / 2, heads = op.x.cols / op.head_dim;
  const float sign = op.inverse ? -1.0f : 1.0f;
  WithComputeType(op.x.dtype, [&](auto type) {
    using T = decltype(type);
#pragma omp parallel for num_threads(state.scratch.threads) schedule(static)
    for (int64_t t = 0; t < op.x.rows; ++t) {
      const float* cos = RawRow<const float>(op.cos, positions[t]);
      const float* sin = RawRow<const float>(op.sin, positions[t]);
      for (int64_t h = 0; h < heads; ++h) {
        T* low = RawRow<T>(op.x, t) + h * op.head_dim;
        T* high = low + half;
        ForEach(half, [&](auto d, int64_t i) HWY_ATTR {
          const auto c = hn::LoadU(d, cos + i), s = hn::Mul(hn::LoadU(d, sin + i), hn::Set(d, sign));
          const auto x = LoadAs(d, low + i), y = LoadAs(d, high + i);
          StoreAs(hn::NegMulAdd(y, s, hn::Mul(x, c)), d, low + i);
          StoreAs(hn::MulAdd(x, s, hn::Mul(y, c)), d, high + i);
        });
      }
    }
  });
}

// 1 / (1 + exp(-x)), as exact as T is: for bf16 a short polynomial and the processor's estimate of a reciprocal, good
// to 14 bits with whole AVX-512 vectors and to 12 otherwise.
template <class T, class D, class V = hn::Vec<D>>
HWY_INLINE V Sigmoid(D d, V x) {
  const V one = hn::Set(d, 1.0f);
  if constexpr (sizeof(T) == 2) {
    const V exponent = hn::Mul(x, hn::Set(d, -1.44269504088896341f));
    return hn::ApproximateReciprocal(hn::Add(one, CoarseExp2(d, exponent)));
  } else {
    return hn::Div(one, hn::Add(one, FastExp(d, hn::Neg(x))));
  }
}

void SwiGluKernel(const CpuState& state, const SwiGlu& op) {
  WithComputeType(op.out.dtype, [&](auto type) {
    using T = decltype(type);
#pragma omp parallel for num_threads(state.scratch.threads) schedule(static)
    for (int64_t t = 0; t < op.out.rows; ++t) {
      const T* gate = RawRow<const T>(op.gate, t);
      const T* up = RawRow<const T>(op.up, t);
      T* out = RawRow<T>(op.out, t);
      ForEach(op.out.cols, [&](auto d, int64_t i) HWY_ATTR {
        const auto g = LoadAs(d, gate + i);
        StoreAs(hn::Mul(hn::Mul(g, Sigmoid<T>(d, g)), LoadAs(d, up + i)), d, out + i);
      });
    }
  });
}

// d silu(g)/dg = s (1 + g (1 - s)) with s = sigmoid(g).
void SwiGluBackwardKernel(const CpuState& state, const SwiGluBackward& op) {
  WithComputeType(op.gate.dtype, [&](auto type) {
    using T = decltype(type);
#pragma omp parallel for num_threads(state.scratch.threads) schedule(static)
    for (int64_t t = 0; t < op.gate.rows; ++t) {
      T* gate = RawRow<T>(op.gate, t);
      T* up = RawRow<T>(op.up, t);
      const T* dout = RawRow<const T>(op.dout, t);
      T* out = op.out ? RawRow<T>(op.out, t) : nullptr;
      ForEach(op.gate.cols, [&](auto d, int64_t i) HWY_ATTR {
        const auto one = hn::Set(d, 1.0f);
        const auto g = LoadAs(d, gate + i), u = LoadAs(d, up + i), dy = LoadAs(d, dout + i);
        const auto s = Sigmoid<T>(d, g);
        const auto silu = hn::Mul(g, s);
        const auto slope = hn::Mul(s, hn::MulAdd(g, hn::Sub(one, s), one));
        if (out != nullptr) StoreAs(hn::Mul(silu, u), d, out + i);
        StoreAs(hn::Mul(dy, silu), d, up + i);
        StoreAs(hn::Mul(hn::Mul(dy, u), slope), d, gate + i);
      });
    }
  });
}

void CopyKernel(const CpuState& state, const Copy& op) {
  WithComputeType(op.x.dtype, [&](auto from_type) {
    using From = decltype(from_type);
    WithComputeType(op.out.dtype, [&](auto to_type) {
      using To = decltype(to_type);
#pragma omp parallel for num_threads(state.scratch.threads) schedule(static)
      for (int64_t t = 0; t < op.out.rows; ++t) {
        const From* from = RawRow<const From>(op.x, t);
        const float* add = op.add ? RawRow<const float>(op.add, t) : nullptr;
        To* to = RawRow<To>(op.out, t);
        ForEach(op.out.cols, [&](auto d, int64_t i) HWY_ATTR {
          auto x = LoadAs(d, from + i);
          if (add != nullptr) x = hn::Add(x, hn::LoadU(d, add + i));
          StoreAs(x, d, to + i);
        });
      }
    });
  });
}

void FillKernel(const CpuState& state, const Fill& op) {
  WithComputeType(op.out.dtype, [&](auto type) {
    using T = decltype(type);
    constexpr int64_t kBlock = int64_t{1} << 16;  // a vector is one long row, which the threads share out too
    const int64_t blocks = (op.out.cols + kBlock - 1) / kBlock;
#pragma omp parallel for num_threads(state.scratch.threads) schedule(static)
    for (int64_t part = 0; part < op.out.rows * blocks; ++part) {
      const int64_t begin = part % blocks * kBlock, count = std::min(kBlock, op.out.cols - begin);
      T* to = RawRow<T>(op.out, part / blocks) + begin;
      ForEach(count, [&](auto d, int64_t i) HWY_ATTR { StoreAs(hn::Set(d, op.value), d, to + i); });
    }
  });
}

void AddBiasKernel(const CpuState& state, const AddBias& op) {
  const float* bias = Raw<const float>(op.bias);
  WithComputeType(op.y.dtype, [&](auto type) {
    using T = decltype(type);
#pragma omp parallel for num_threads(state.scratch.threads) schedule(static)
    for (int64_t t = 0; t < op.y.rows; ++t) {
      T* y = RawRow<T>(op.y, t);
      ForEach(op.y.cols, [&](auto d, int64_t i) HWY_ATTR {
        StoreAs(hn::MulAdd(hn::Set(d, op.scale), hn::LoadU(d, bias + i), LoadAs(d, y + i)), d, y + i);
      });
    }
  });
}

// Each thread sums whole columns, rows in order: the result does not depend on the number of threads.
void SumRowsKernel(const CpuState& state, const SumRows& op) {
  constexpr int64_t kColumns = 64;
  float* out = Raw<float>(op.out);
  WithComputeType(op.x.dtype, [&](auto type) {
    using T = decltype(type);
#pragma omp parallel for num_threads(state.scratch.threads) schedule(static)
    for (int64_t c0 = 0; c0 < op.x.cols; c0 += kColumns) {
      const int64_t count = std::min(kColumns, op.x.cols - c0);
      for (int64_t t = 0; t < op.x.rows; ++t) {
        const T* x = RawRow<const T>(op.x, t) + c0;
        ForEach(count, [&](auto d, int64_t i) HWY_ATTR {
          hn::StoreU(hn::MulAdd(hn::Set(d, op.scale), LoadAs(d, x + i), hn::LoadU(d, out + c0 + i)), d, out + c0 + i);
        });
      }
    }
  });
}

}  // namespace HWY_NAMESPACE
}  // namespace attune
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace attune {
HWY_EXPORT(EmbeddingKernel);
HWY_EXPORT(EmbeddingBackwardKernel);
HWY_EXPORT(GatherColumnsKernel);
HWY_EXPORT(RopeKernel);
HWY_EXPORT(SwiGluKernel);
HWY_EXPORT(SwiGluBackwardKernel);
HWY_EXPORT(CopyKernel);
HWY_EXPORT(FillKernel);
HWY_EXPORT(AddBiasKernel);
HWY_EXPORT(SumRowsKernel);

static const CpuState& State(void* state) { return *static_cast<CpuState*>(state); }

void CpuEmbedding(void* state, const Embedding& op) { HWY_DYNAMIC_DISPATCH(EmbeddingKernel)(State(state), op); }
void CpuEmbeddingBackward(void* state, const EmbeddingBackward& op) {
  HWY_DYNAMIC_DISPATCH(EmbeddingBackwardKernel)(State(state), op);
}
void CpuGatherColumns(void* state, const GatherColumns& op) {
  HWY_DYNAMIC_DISPATCH(GatherColumnsKernel)(State(state), op);
}
void CpuRope(void* state, const Rope& op) { HWY_DYNAMIC_DISPATCH(RopeKernel)(State(state), op); }
void CpuSwiGlu(void* state, const SwiGlu& op) { HWY_DYNAMIC_DISPATCH(SwiGluKernel)(State(state), op); }
void CpuSwiGluBackward(void* state, const SwiGluBackward& op) {
  HWY_DYNAMIC_DISPATCH(SwiGluBackwardKernel)(State(state), op);
}
void CpuCopy(void* state, const Copy& op) { HWY_DYNAMIC_DISPATCH(CopyKernel)(State(state), op); }
void CpuFill(void* state, const Fill& op) { HWY_DYNAMIC_DISPATCH(FillKernel)(State(state), op); }
void CpuAddBias(void* state, const AddBias& op) { HWY_DYNAMIC_DISPATCH(AddBiasKernel)(State(state), op); }
void CpuSumRows(void* state, const SumRows& op) { HWY_DYNAMIC_DISPATCH(SumRowsKernel)(State(state), op); }
}  // namespace attune
#endif
