// Products with few rows against weights as they are stored: bound by the bytes of the weights and by turning
// them into floats, so each block is read and widened once for up to eight rows of x, and four rows of
// weights go side by side.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/cpu/stored_linear.cc"
#include <hwy/cache_control.h>
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <algorithm>

#include "base/error.h"
#include "ops/cpu/kernels.h"
#include "ops/cpu/raw.h"
#include "ops/cpu/stored_blocks-inl.h"
#include "ops/cpu/stored_codes-inl.h"
#include "ops/cpu/stored_fixed-inl.h"
#include "ops/cpu/stored_tile.h"
#include "ops/cpu/stored_view.h"
#include "ops/cpu/vector-inl.h"
#include "quant/int8_rows.h"

HWY_BEFORE_NAMESPACE();
namespace attune {
namespace HWY_NAMESPACE {

constexpr int64_t kMaxColumns = kThreadScratchBytes / 8;  // so that scratch holds a row and its sums
constexpr int64_t kRowsOfX = 8;                           // that share one pass over a row of weights
constexpr int64_t kRowsTogether = 4;                      // of weights, where few rows of x leave registers for them

// Rows of x as the tiles read them.
struct Input {
  const float* x;  // for formats that spread their quants or look codes up: reordered, and scaled, to match
  int64_t stride;
  int64_t k;
  const float* sums;  // for formats with offsets, by which their factors count: 0 for scales, sums of x for offsets
  int64_t sums_stride;

  Input From(int64_t m) const { return {x + m * stride, stride, k, sums + m * sums_stride, sums_stride}; }
};

// Rows of weights: Tile adds the dot products of rows n + r and x m to acc[r][m], in lanes yet to be added; Product
// makes of the sum of a row's lanes what it stands for.

// Rows of blocks.
template <class Format>
struct Blocks {
  const uint8_t* data;
  int64_t row_bytes;

  static constexpr int kGroups = Format::kElements / Format::kGroup, kVectors = Format::kGroup / kLanes;
  static constexpr int kFactors = Format::kHasOffset ? 2 : 1;  // of a group
  static constexpr int64_t kBlocksTogether = kGroupsTogether / kGroups;

  template <int kRows, int kM>
  HWY_INLINE void Tile(int64_t n, const Input& in, V (&acc)[kRows][kM]) const {
    const FullF32 d;
    const uint8_t* w = data + n * row_bytes;
    HWY_ALIGN float factors[kRows][kGroupsTogether * kFactors];
    const float* x = in.x;
    const float* sums = in.sums;
    for (int64_t left = in.k / Format::kElements; left > 0; left -= kBlocksTogether) {
      const int64_t blocks = std::min(left, kBlocksTogether);
      Format::template LoadFactors<kRows>(w, row_bytes, blocks, {factors[0], kGroupsTogether * kFactors});
      if constexpr (Format::kHasOffset) {
        for (int64_t i = 0; i < blocks * kGroups * kFactors; i += kLanes, sums += kLanes) {
#pragma GCC unroll 4
          for (int r = 0; r < kRows; ++r) {
            const V factor = hn::Load(d, factors[r] + i);
#pragma GCC unroll 8
            for (int m = 0; m < kM; ++m) {
              acc[r][m] = hn::MulAdd(factor, hn::LoadU(d, sums + m * in.sums_stride), acc[r][m]);
            }
          }
        }
      }
      const float* factor = factors[0];
      for (int64_t b = 0; b < blocks; ++b, w += Format::kBytes) {
        for (int r = 0; r < kRows; ++r) hwy::Prefetch(w + (kRows + r) * row_bytes);  // short streams: ask early
        for (int g = 0; g < kGroups; ++g, x += Format::kGroup, factor += kFactors) {
#pragma GCC unroll 4
          for (int r = 0; r < kRows; ++r) {
            V q[kVectors];
            Format::LoadGroup(w + r * row_bytes, g, q);
            const V scale = hn::Set(d, factor[r * kGroupsTogether * kFactors]);
#pragma GCC unroll 8
            for (int m = 0; m < kM; ++m) {
              V sum = hn::Mul(q[0], hn::LoadU(d, x + m * in.stride));
#pragma GCC unroll 4
              for (int j = 1; j < kVectors; ++j) {
                sum = hn::MulAdd(q[j], hn::LoadU(d, x + m * in.stride + j * kLanes), sum);
              }
              acc[r][m] = hn::MulAdd(scale, sum, acc[r][m]);
            }
          }
        }
      }
    }
  }

  float Product(int64_t, float sum, const Input&, int64_t) const { return sum; }
};

// Rows of F32, BF16 or F16, or of the codes of 8-bit rows.
template <class T>
struct Plain {
  const T* data;
  int64_t stride;

  template <int kRows, int kM>
  HWY_INLINE void Tile(int64_t n, const Input& in, V (&acc)[kRows][kM]) const {
    const FullF32 d;
    const T* w = data + n * stride;
    for (int64_t i = 0; i + kLanes <= in.k; i += kLanes) {
#pragma GCC unroll 4
      for (int r = 0; r < kRows; ++r) {
        const V q = LoadAs(d, w + r * stride + i);
#pragma GCC unroll 8
        for (int m = 0; m < kM; ++m) acc[r][m] = hn::MulAdd(q, hn::LoadU(d, in.x + m * in.stride + i), acc[r][m]);
      }
    }
  }

  // With what no whole vector holds.
  float Product(int64_t n, float sum, const Input& in, int64_t m) const {
    const hn::CappedTag<float, 1> one;
    float rest = 0;
    for (int64_t i = in.k / kLanes * kLanes; i < in.k; ++i) {
      rest += hn::GetLane(LoadAs(one, data + n * stride + i)) * in.x[m * in.stride + i];
    }
    return sum + rest;
  }
};

// 8-bit rows, each with its scale.
struct Int8Rows {
  Plain<int8_t> codes;
  const std::byte* scales;

  template <int kRows, int kM>
  HWY_INLINE void Tile(int64_t n, const Input& in, V (&acc)[kRows][kM]) const {
    codes.Tile(n, in, acc);
  }

  float Product(int64_t n, float sum, const Input& in, int64_t m) const {
    return codes.Product(n, sum, in, m) * LoadScale(scales, n) * kInt8Unit;
  }
};

// Rows [n, n + kRows) of weights by rows [m, m + kM) of x.
template <class Weights, class In, int kRows, int kM>
void Multiply(const StoredLinear& op, const Weights& weights, const In& all, int64_t n, int64_t m) {
  const In in = all.From(m);
  constexpr int kFours = (kRows * kM + 3) / 4;
  V acc[kRows][kM];
#pragma GCC unroll 4
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 8
    for (int i = 0; i < kM; ++i) acc[r][i] = hn::Zero(FullF32());
  }
  weights.Tile(n, in, acc);
  HWY_ALIGN float sums[4 * kFours];
#pragma GCC unroll 4
  for (int four = 0; four < kFours; ++four) {
    V v[4];
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
      const int place = 4 * four + i;
      v[i] = place < kRows * kM ? acc[place / kM][place % kM] : hn::Zero(FullF32());
    }
    hn::Store(FourSums(v), hn::Full128<float>(), sums + 4 * four);
  }
  for (int i = 0; i < kM; ++i) {
    float* y = RawRow<float>(op.y, m + i) + n;
    const float* start = op.start ? RawRow<const float>(op.start, m + i) + n : nullptr;
    for (int r = 0; r < kRows; ++r) {
      y[r] = (start != nullptr ? start[r] : 0.0f) + weights.Product(n + r, sums[r * kM + i], in, i);
    }
  }
}

// `rows` rows of weights from n by rows [m, m + kM) of x: side by side as far as the registers reach.
template <class Weights, class In, int kM>
void MultiplyRows(const StoredLinear& op, const Weights& weights, const In& in, int64_t n, int64_t rows, int64_t m) {
  constexpr int kTogether = static_cast<int>(std::min(kRowsTogether, kRowsOfX / kM));
  int64_t r = 0;
  for (; r + kTogether <= rows; r += kTogether) {
    Multiply<Weights, In, kTogether, kM>(op, weights, in, n + r, m);
  }
  for (; r < rows; ++r) Multiply<Weights, In, 1, kM>(op, weights, in, n + r, m);
}

// `rows` rows of weights from n by all of x.
template <class Weights, class In>
void MultiplyAll(const StoredLinear& op, const Weights& weights, const In& in, int64_t n, int64_t rows) {
  int64_t m = 0;
  for (; m + 8 <= op.x.rows; m += 8) MultiplyRows<Weights, In, 8>(op, weights, in, n, rows, m);
  for (; m + 4 <= op.x.rows; m += 4) MultiplyRows<Weights, In, 4>(op, weights, in, n, rows, m);
  for (; m + 2 <= op.x.rows; m += 2) MultiplyRows<Weights, In, 2>(op, weights, in, n, rows, m);
  if (m < op.x.rows) MultiplyRows<Weights, In, 1>(op, weights, in, n, rows, m);
}

// x and its sums as formats with offsets and spread quants read them.
void PrepareInput(const Matrix& x, int64_t group, float* spread, float* sums, int64_t sums_stride) {
  for (int64_t m = 0; m < x.rows; ++m, spread += x.cols, sums += sums_stride) {
    const float* row = RawRow<const float>(x, m);
    std::fill_n(sums, sums_stride, 0.0f);
    for (int64_t i = 0; i < x.cols; i += 16) {
      float sum = 0;
      for (int p = 0; p < 16; ++p) {
        const float value = row[i + SpreadElement(p)];
        spread[i + p] = value * SpreadUnit(p);
        sum += value;
      }
      sums[i / group * 2 + 1] += sum;
    }
  }
}

// Calls body(first row, count) for all rows of weights, shared among the threads in groups that go side by
// side.
template <class Body>
void ForRowsOfWeights(const CpuState& state, int64_t rows, const Body& body) {
#pragma omp parallel for num_threads(state.scratch.threads) schedule(static)
  for (int64_t i = 0; i < (rows + kRowsTogether - 1) / kRowsTogether; ++i) {
    body(i * kRowsTogether, std::min(kRowsTogether, rows - i * kRowsTogether));
  }
}

template <class Weights, class In>
void RunRows(const CpuState& state, const StoredLinear& op, const Weights& weights, const In& in) {
  ForRowsOfWeights(state, op.w.rows, [&](int64_t n, int64_t rows) { MultiplyAll(op, weights, in, n, rows); });
}

// x as it is.
Input PlainInput(const StoredLinear& op) { return {Raw<const float>(op.x), op.x.stride, op.w.cols, nullptr, 0}; }

template <class T>
void RunPlain(const CpuState& state, const StoredLinear& op) {
  RunRows(state, op, Plain<T>{Raw<const T>(op.w), op.w.stride}, PlainInput(op));
}

// Calls body(part of the op, room for its x) for as many rows of x at a time as fit the shared scratch, `floats` each:
// one turn, but for very many rows.
template <class Body>
void ForRowsOfX(const CpuState& state, const StoredLinear& op, int64_t floats, const Body& body) {
  const int64_t room = kSharedScratchBytes / static_cast<int64_t>(sizeof(float)) / floats;
  for (int64_t m0 = 0; m0 < op.x.rows; m0 += room) {
    const int64_t count = std::min(room, op.x.rows - m0);
    body(StoredLinear{op.y.Rows(m0, count), op.x.Rows(m0, count), op.w, op.start ? op.start.Rows(m0, count) : op.start},
         reinterpret_cast<float*>(state.scratch.shared()));
  }
}

// Of groups of a row, as products read them: in whole vectors, at the odd places.
template <class Format>
int64_t SumsStride(int64_t k) {
  return (k / Format::kGroup * 2 + kLanes - 1) / kLanes * kLanes;
}

template <class Format>
void RunBlocks(const CpuState& state, const StoredLinear& op) {
  const int64_t k = op.w.cols, sums_stride = SumsStride<Format>(k);
  const Blocks<Format> blocks{Raw<const uint8_t>(op.w), BytesOf(op.w.dtype, op.w.stride)};
  if (!Format::kHasOffset) return RunRows(state, op, blocks, PlainInput(op));
  ForRowsOfX(state, op, k + sums_stride, [&](const StoredLinear& part, float* spread) {
    float* sums = spread + part.x.rows * k;
    PrepareInput(part.x, Format::kGroup, spread, sums, sums_stride);
    RunRows(state, part, blocks, Input{spread, k, k, sums, sums_stride});
  });
}

// In whole numbers where the processor and x allow it.
template <class Format>
void RunQuants(const CpuState& state, const StoredLinear& op) {
#if HWY_TARGET == HWY_AVX3
  static const bool vnni = __builtin_cpu_supports("avx512vnni");
  if (!vnni) return RunBlocks<Format>(state, op);
  using Layout = FixedLayout<Format>;
  const int64_t k = op.w.cols, bytes = Layout::Steps(k) * Layout::kStepBytes;
  const int64_t sums_stride = Format::kHasOffset ? SumsStride<Format>(k) + kLanes : 0;
  const FixedBlocks<Format> blocks{Raw<const uint8_t>(op.w), BytesOf(op.w.dtype, op.w.stride)};
  ForRowsOfX(state, op, bytes / 4 + sums_stride + 1, [&](const StoredLinear& part, float* room) {
    uint8_t* digits = reinterpret_cast<uint8_t*>(room);
    float *sums = room + part.x.rows * bytes / 4, *units = sums + part.x.rows * sums_stride;
    std::fill(sums, units, 0.0f);
    for (int64_t m = 0; m < part.x.rows; ++m) {
      const float* x = RawRow<const float>(part.x, m);
      if (!MakeFixed<Format>(x, k, digits + m * bytes, sums + m * sums_stride, units + m)) {
        return RunBlocks<Format>(state, part);
      }
    }
    RunRows(state, part, blocks, FixedInput{digits, bytes, sums, sums_stride, units, k});
  });
#else
  RunBlocks<Format>(state, op);
#endif
}

// 4-bit rows of awkward length: one at a time is decoded into the thread's scratch.
void RunDecoded(const CpuState& state, const StoredLinear& op) {
  StoredTile tile{DenseMatrix(op.w.data, op.w.dtype, op.w.rows, op.w.stride)};
  tile.rows = 1;
  tile.cols = op.w.cols;
  ForRowsOfWeights(state, op.w.rows, [&](int64_t n, int64_t rows) {
    StoredTile row = tile;
    row.out = state.scratch.thread(ThreadIndex());
    for (row.row = n; row.row < n + rows; ++row.row) {
      DecodeTile(row, DType::kF32);
      MultiplyAll(op, Plain<float>{static_cast<const float*>(row.out), 0}, PlainInput(op), row.row, 1);
    }
  });
}

void RunCodes(const CpuState& state, const StoredLinear& op) {
  const int64_t k = op.w.cols, padded = (k + kSweep - 1) / kSweep * kSweep;
  if (k % kPart != 0) return RunDecoded(state, op);
  const Codes codes(ViewBnb4(op.w), k);
  ForRowsOfX(state, op, padded, [&](const StoredLinear& part, float* ordered) {
    for (int64_t m = 0; m < part.x.rows; ++m) OrderAsCodes(RawRow<const float>(part.x, m), k, ordered + m * padded);
    RunRows(state, part, codes, Input{ordered, padded, k, nullptr, 0});
  });
}

void RunInt8(const CpuState& state, const StoredLinear& op) {
  const Int8RowsView view = ViewInt8Rows(op.w);
  RunRows(state, op, Int8Rows{{view.codes, op.w.cols}, view.scales}, PlainInput(op));
}

void StoredLinearKernel(const CpuState& state, const StoredLinear& op) {
  if (op.w.cols > kMaxColumns) Failed("stored_linear: {} columns are more than {}", op.w.cols, kMaxColumns);
  switch (op.w.dtype) {
    case DType::kF32:
      return RunPlain<float>(state, op);
    case DType::kBF16:
      return RunPlain<uint16_t>(state, op);
    case DType::kF16:
      return RunPlain<StoredHalf>(state, op);
    case DType::kQ4_0:
      return RunQuants<Q4_0>(state, op);
    case DType::kQ4_1:
      return RunQuants<Q4_1>(state, op);
    case DType::kQ5_0:
      return RunQuants<Q5_0>(state, op);
    case DType::kQ5_1:
      return RunQuants<Q5_1>(state, op);
    case DType::kQ8_0:
      return RunQuants<Q8_0>(state, op);
    case DType::kQ2_K:
      return RunBlocks<Q2_K>(state, op);
    case DType::kQ3_K:
      return RunBlocks<Q3_K>(state, op);
    case DType::kQ4_K:
      return RunQuants<Q4_K>(state, op);
    case DType::kQ5_K:
      return RunQuants<Q5_K>(state, op);
    case DType::kQ6_K:
      return RunQuants<Q6_K>(state, op);
    case DType::kBnb4:
      return RunCodes(state, op);
    case DType::kInt8Rows:
      return RunInt8(state, op);
    default:
      Failed("stored_linear: weights of type {} cannot be multiplied", NameOf(op.w.dtype));
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace attune
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace attune {
HWY_EXPORT(StoredLinearKernel);
void CpuStoredLinear(void* state, const StoredLinear& op) {
  HWY_DYNAMIC_DISPATCH(StoredLinearKernel)(*static_cast<CpuState*>(state), op);
}
}  // namespace attune
#endif
