// Rows of bitsandbytes' 4-bit codes as a product reads them: 32 elements in a row always share a scale, so
//   sum table[code] scale x = sum over parts of 32: scale * sum table[code] x.
// A vector of codes is taken as words of eight: code t of all words is looked up by one permutation, after one shift,
// and meets elements of x that have been put into the same order once a product. Included once for each Highway target,
// so there is no ordinary include guard.
#if defined(ATTUNE_STORED_CODES_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef ATTUNE_STORED_CODES_INL_H_
#undef ATTUNE_STORED_CODES_INL_H_
#else
#define ATTUNE_STORED_CODES_INL_H_
#endif

#include <algorithm>
#include <bit>
#include <cstdint>
#include <cstring>

#include "ops/cpu/stored_blocks-inl.h"
#include "ops/cpu/stored_view.h"

HWY_BEFORE_NAMESPACE();
namespace attune {
namespace HWY_NAMESPACE {

using Words = hn::RebindToUnsigned<FullF32>;
using VWords = hn::Vec<Words>;
constexpr int64_t kPart = 32;  // the smallest block
constexpr int64_t kCodesOfWord = 8;
constexpr int64_t kSweep = kCodesOfWord * kLanes;    // elements of one vector of codes
constexpr int64_t kPartsTogether = 128;              // whose scales are unpacked at once; whole sweeps
constexpr int64_t kMostBlocks = kPartsTogether + 1;  // that they touch

// Word d of a sweep holds elements 8 d and after; of two, the first is in the high half of their byte.
HWY_INLINE int64_t ElementOfCode(int64_t word, int64_t place) { return kCodesOfWord * word + (place ^ 1); }

// A row of k elements in the order of the codes, zeros up to a whole sweep.
inline void OrderAsCodes(const float* row, int64_t k, float* out) {
  for (int64_t first = 0; first < k; first += kSweep) {
    for (int64_t t = 0; t < kCodesOfWord; ++t) {
      for (int64_t d = 0; d < kLanes; ++d, ++out) {
        const int64_t i = first + ElementOfCode(d, t);
        *out = i < k ? row[i] : 0.0f;
      }
    }
  }
}

// Sixteen values, found by the lowest four bits of each lane.
class CodeTable {
 public:
#if HWY_TARGET <= HWY_AVX3
  explicit CodeTable(const float* values) : all_(hn::LoadU(FullF32(), values)) {}
  HWY_INLINE V LookUp(VWords words) const { return V{_mm512_permutexvar_ps(words.raw, all_.raw)}; }

 private:
  V all_;
#else
  explicit CodeTable(const float* values)
      : low_(hn::LoadU(FullF32(), values)), high_(hn::LoadU(FullF32(), values + 8)) {}
  HWY_INLINE V LookUp(VWords words) const {
    const V low{_mm256_permutevar8x32_ps(low_.raw, words.raw)}, high{_mm256_permutevar8x32_ps(high_.raw, words.raw)};
    return hn::IfNegativeThenElse(hn::BitCast(FullF32(), hn::ShiftLeft<28>(words)), high, low);
  }

 private:
  V low_, high_;
#endif
};

// The scales of blocks in a row, nested ones worked out.
class CodeScales {
 public:
  explicit CodeScales(const Bnb4View& view)
      : view_(view), nested_shift_(std::countr_zero(static_cast<uint64_t>(view.nested_block_size))) {
    if (view.nested) std::memcpy(map_, view.nested_map, sizeof map_);
  }

  // Of blocks [first, first + count), at most kMostBlocks; up to kLanes - 1 floats behind them are written too.
  HWY_INLINE void Load(int64_t first, int64_t count, float* out) const {
    if (!view_.nested) {
      std::memcpy(out, view_.absmax + 4 * first, static_cast<size_t>(count) * sizeof(float));
      return;
    }
    const FullF32 d;
    const hn::RebindToSigned<FullF32> di;
    const hn::Rebind<uint8_t, FullF32> d8;
    HWY_ALIGN uint8_t codes[kMostBlocks + kLanes];  // copied, for whole vectors must not reach behind the tensor
    std::memcpy(codes, view_.absmax + first, static_cast<size_t>(count));
    std::memset(codes + count, 0, kLanes);
    for (int64_t done = 0, next; done < count; done = next) {
      const int64_t nested = (first + done) >> nested_shift_;
      next = std::min(count, ((nested + 1) << nested_shift_) - first);
      const V scale = hn::Set(d, LoadScale(view_.nested_absmax, nested));
      for (int64_t i = done; i < next; i += kLanes) {
        const V mapped = hn::GatherIndex(d, map_, hn::PromoteTo(di, hn::LoadU(d8, codes + i)));
        hn::StoreU(hn::Add(hn::Mul(mapped, scale), hn::Set(d, view_.offset)), d, out + i);
      }
    }
  }

 private:
  Bnb4View view_;
  int nested_shift_;
  HWY_ALIGN float map_[256];
};

// Rows of weights; k is a multiple of kPart.
class Codes {
 public:
  Codes(const Bnb4View& view, int64_t k)
      : packed_(reinterpret_cast<const uint8_t*>(view.packed)),
        k_(k),
        table_(view.table.data()),
        scales_(view),
        shift_(std::countr_zero(static_cast<uint64_t>(view.block_size / kPart))) {}

  template <int kRows, int kM, class Input>
  HWY_INLINE void Tile(int64_t n, const Input& in, V (&acc)[kRows][kM]) const {
    HWY_ALIGN float scales[kRows][kPartsTogether + kLanes];
    const uint8_t* w = packed_ + n * k_ / 2;
    const float* x = in.x;
    for (int64_t done = 0; done < k_; done += kPartsTogether * kPart) {
      const int64_t count = std::min(kPartsTogether * kPart, k_ - done);
      for (int r = 0; r < kRows; ++r) LoadScales(((n + r) * k_ + done) / kPart, count / kPart, scales[r]);
      const float* scale = scales[0];
      int64_t left = count;
      for (; left >= kSweep; left -= kSweep, w += kSweep / 2, x += kSweep, scale += kSweep / kPart) {
        Sweep<kRows, kM>(w, kLanes, x, in.stride, scale, acc);
      }
      if (left > 0) Sweep<kRows, kM>(w, left / kCodesOfWord, x, in.stride, scale, acc);
    }
  }

  template <class Input>
  float Product(int64_t, float sum, const Input&, int64_t) const {
    return sum;
  }

 private:
  // One vector of codes of each row, of which the first `words` are there.
  template <int kRows, int kM>
  HWY_INLINE void Sweep(const uint8_t* w, int64_t words, const float* x, int64_t x_stride, const float* scales,
                        V (&acc)[kRows][kM]) const {
    const FullF32 d;
    const Words dw;
    const int64_t row_bytes = k_ / 2;
    VWords codes[kRows];
    V sum[kRows][kM];
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) {
      const auto* from = reinterpret_cast<const uint32_t*>(w + r * row_bytes);
      hwy::Prefetch(w + (kRows + r) * row_bytes);  // short streams: ask early
      codes[r] =
          words == kLanes ? hn::LoadU(dw, from) : hn::MaskedLoad(hn::FirstN(dw, static_cast<size_t>(words)), dw, from);
    }
#pragma GCC unroll 8
    for (int t = 0; t < kCodesOfWord; ++t) {
#pragma GCC unroll 4
      for (int r = 0; r < kRows; ++r) {
        const V q = table_.LookUp(codes[r]);
        codes[r] = hn::ShiftRight<4>(codes[r]);
#pragma GCC unroll 8
        for (int m = 0; m < kM; ++m) {
          const V in = hn::LoadU(d, x + m * x_stride + t * kLanes);
          sum[r][m] = t == 0 ? hn::Mul(q, in) : hn::MulAdd(q, in, sum[r][m]);
        }
      }
    }
    // Four words a part.
    const auto part = hn::IndicesFromVec(d, hn::ShiftRight<2>(hn::Iota(dw, 0)));
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) {
      const V scale = hn::TableLookupLanes(hn::LoadDup128(d, scales + r * (kPartsTogether + kLanes)), part);
#pragma GCC unroll 8
      for (int m = 0; m < kM; ++m) acc[r][m] = hn::MulAdd(scale, sum[r][m], acc[r][m]);
    }
  }

  // Of parts [first, first + count) of the tensor, then zeros up to a whole vector.
  HWY_INLINE void LoadScales(int64_t first, int64_t count, float* out) const {
    const FullF32 d;
    const Words dw;
    const int64_t first_block = first >> shift_;
    HWY_ALIGN float blocks[kMostBlocks + kLanes];
    scales_.Load(first_block, ((first + count - 1) >> shift_) + 1 - first_block, blocks);
    const auto inside = static_cast<uint32_t>((int64_t{1} << shift_) - 1);
    for (int64_t i = 0; i < count; i += kLanes) {
      const int64_t at = first + i;
      const VWords place = hn::Add(hn::Iota(dw, 0), hn::Set(dw, static_cast<uint32_t>(at) & inside));
      const V near = hn::LoadU(d, blocks + (at >> shift_) - first_block);
      const V scale = hn::TableLookupLanes(near, hn::IndicesFromVec(d, hn::ShiftRightSame(place, shift_)));
      const auto there = hn::FirstN(d, static_cast<size_t>(std::min<int64_t>(count - i, kLanes)));
      hn::Store(hn::IfThenElseZero(there, scale), d, out + i);
    }
  }

  const uint8_t* packed_;
  int64_t k_;
  CodeTable table_;
  CodeScales scales_;
  int shift_;
};

}  // namespace HWY_NAMESPACE
}  // namespace attune
HWY_AFTER_NAMESPACE();

#endif
