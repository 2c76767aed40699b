// Blocking of the matrix product. Columns of C are taken in blocks whose packed B (all of the reduction) fits a slice
// of the last-level cache; the threads pack a block together, meet, and each multiplies its own rows by it while the
// next block's turn comes in the other half of the buffer: one meeting a block. Few rows (weight gradients of rank r,
// single tokens) are split by columns instead, and need no meeting at all.
#include "ops/cpu/gemm.h"

#include <omp.h>

#include <algorithm>
#include <cstring>

#include "base/error.h"
#include "ops/cpu/raw.h"
#include "ops/cpu/stored_tile.h"

namespace attune {
namespace {

constexpr int64_t kPanelInL1 = 20 << 10;  // bytes of a panel's reduction block that stay in L1
constexpr int64_t kRowsInL2 = 192;     // rows of A that stay in L2 while the panels of a block pass by
constexpr int64_t kStridePadding = 16;  // units: without it rows of a power of two would share the same few cache sets
constexpr int64_t kPackedBytes = kSharedScratchBytes / 2;  // one half of the double buffer
constexpr int64_t kDecodedBytes = 16 << 10;  // of a stored b, decoded at a time: stays in L1 until it is packed

struct Plan {
  const GemmKernel& kernel;
  const Gemm& g;
  int64_t m, n, k;         // k in elements
  int64_t units;           // reduction length in units
  int64_t low_units;       // 0: no low-rank term
  int64_t units_in_l1;     // reduction block
  int64_t panels;          // column panels of C
  int64_t block_panels;    // panels of one packed block
  float alpha;             // with the factors of the operands' masks
  bool c_is_f32;
  bool b_is_stored;        // in another type than the compute type: decoded while it is packed
  int64_t first_k;         // where the reduction starts in a stored b, which is always whole
};

int64_t CeilDiv(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Packs columns [n0, n0 + nr) of b, whose reduction is `k` elements long.
void PackOperand(const Plan& plan, const Matrix& b, bool transposed, const KeepMask& mask, int64_t n0, int64_t k,
                 uint32_t* out) {
  const int64_t element_bytes = 4 / plan.kernel.unit_elements;
  const int cols = static_cast<int>(std::min<int64_t>(plan.kernel.nr, plan.n - n0));
  const std::byte* source = Raw<const std::byte>(b);
  if (transposed) return plan.kernel.pack_nk(source + n0 * b.stride * element_bytes, b.stride, cols, k, out);
  const uint8_t* bits = mask.bits ? Raw<const uint8_t>(mask.bits) + n0 / 8 : nullptr;
  plan.kernel.pack_kn(source + n0 * element_bytes, b.stride, cols, k, bits, mask.bits.stride, out);
}

// Columns [n0, n0 + cols) of a stored b for reduction steps [k0, k0 + count), decoded into `room` as b is laid out: a row a
// column where b is transposed, a row a step where not.
Matrix DecodeStored(const Plan& plan, int64_t n0, int64_t cols, int64_t k0, int64_t count, std::byte* room) {
  StoredTile tile{plan.g.b, plan.first_k + k0, count, n0, cols, room, cols};
  if (plan.g.b_transposed) tile = {plan.g.b, n0, cols, plan.first_k + k0, count, room, count};
  const DType compute = plan.kernel.unit_elements == 2 ? DType::kBF16 : DType::kF32;
  DecodeTile(tile, compute);
  return DenseMatrix({reinterpret_cast<uintptr_t>(room)}, compute, tile.rows, tile.cols);
}

// The main operand's part of the panels [p0, p1), from a stored b. A piece holds whole blocks of every type where a column
// of it is one run, and an even number of rows.
void PackStoredPanels(const Plan& plan, int64_t p0, int64_t p1, uint32_t* out, std::byte* room) {
  const int64_t nr = plan.kernel.nr, panel_size = (plan.units + plan.low_units) * nr;
  const int64_t elements = kDecodedBytes / (4 / plan.kernel.unit_elements);
  if (plan.g.b_transposed) {
    const int64_t step = elements / nr;
    for (int64_t p = p0; p < p1; ++p) {
      const int64_t n0 = p * nr, cols = std::min(nr, plan.n - n0);
      for (int64_t k0 = 0; k0 < plan.k; k0 += step) {
        const int64_t count = std::min(step, plan.k - k0);
        const Matrix piece = DecodeStored(plan, n0, cols, k0, count, room);
        plan.kernel.pack_nk(Raw<const std::byte>(piece), piece.stride, static_cast<int>(cols), count,
                            out + (p - p0) * panel_size + k0 / plan.kernel.unit_elements * nr);
      }
    }
    return;
  }
  const int64_t group = std::min(p1 - p0, elements / 16 / nr), step = elements / (group * nr) / 2 * 2;
  for (int64_t p = p0; p < p1; p += group) {
    const int64_t end = std::min(p1, p + group), n0 = p * nr, width = std::min(end * nr, plan.n) - n0;
    for (int64_t k0 = 0; k0 < plan.k; k0 += step) {
      const int64_t count = std::min(step, plan.k - k0);
      const Matrix piece = DecodeStored(plan, n0, width, k0, count, room);
      for (int64_t q = p; q < end; ++q) {
        const Matrix columns = piece.Columns(q * nr - n0, std::min(nr, plan.n - q * nr));
        plan.kernel.pack_kn(Raw<const std::byte>(columns), columns.stride, static_cast<int>(columns.cols), count, nullptr, 0,
                            out + (q - p0) * panel_size + k0 / plan.kernel.unit_elements * nr);
      }
    }
  }
}

// Packs panels [p0, p1), one behind the other: the units of the main operand, then those of the low-rank one. Where a
// row of b runs through several panels it is read a few rows at a time, so that its cache lines are used while at hand.
void PackPanels(const Plan& plan, int64_t p0, int64_t p1, uint32_t* out, std::byte* decoded) {
  constexpr int64_t kRows = 64;
  const Gemm& g = plan.g;
  const int64_t nr = plan.kernel.nr, panel_size = (plan.units + plan.low_units) * nr;
  const int64_t step = g.b_transposed || p1 - p0 == 1 ? std::max<int64_t>(1, plan.k) : kRows;
  if (plan.b_is_stored && p0 < p1) PackStoredPanels(plan, p0, p1, out, decoded);
  for (int64_t k0 = 0; k0 < plan.k && !plan.b_is_stored; k0 += step) {
    const int64_t count = std::min(step, plan.k - k0);
    const Matrix rows = g.b_transposed ? g.b : g.b.Rows(k0, count);
    KeepMask mask = g.b_mask;
    if (mask.bits) mask.bits = mask.bits.Rows(k0, count);
    for (int64_t p = p0; p < p1; ++p) {
      uint32_t* panel = out + (p - p0) * panel_size + k0 / plan.kernel.unit_elements * nr;
      PackOperand(plan, rows, g.b_transposed, mask, p * nr, count, panel);
    }
  }
  for (int64_t p = p0; p < p1 && plan.low_units > 0; ++p) {
    PackOperand(plan, g.low_b, g.low_b_transposed, KeepMask{}, p * nr, g.low_a.cols,
                out + (p - p0) * panel_size + plan.units * nr);
  }
}

// Multiplies rows [m0, m1) by the packed panels [p0, p1). `packed` holds each panel's units, then its low-rank units.
// `a` are dense units of those rows (row m0 first); `tile` is f32 room for kRowsInL2 rows of the block.
void MultiplyRows(const Plan& plan, int64_t m0, int64_t m1, int64_t p0, int64_t p1, const uint32_t* packed,
                  const uint32_t* a, int64_t a_stride, float* tile) {
  const Gemm& g = plan.g;
  const int nr = plan.kernel.nr, mr = plan.kernel.mr, e = plan.kernel.unit_elements;
  const int64_t panel_size = (plan.units + plan.low_units) * nr;
  const int64_t n0 = p0 * nr, block_cols = std::min(p1 * nr, plan.n) - n0;
  for (int64_t block = m0; block < m1; block += kRowsInL2) {
    const int64_t rows = std::min(kRowsInL2, m1 - block);
    for (int64_t u0 = 0; u0 == 0 || u0 < plan.units; u0 += plan.units_in_l1) {  // once also where nothing is summed
      const int64_t count = std::min(plan.units_in_l1, plan.units - u0);
      const bool to_bf16 = !plan.c_is_f32 && u0 + count == plan.units;
      for (int64_t p = p0; p < p1; ++p) {
        const uint32_t* panel = packed + (p - p0) * panel_size;
        const int64_t column = p * nr;
        MicroTile t;
        t.cols = static_cast<int>(std::min<int64_t>(nr, plan.n - column));
        t.units = count;
        t.a_stride = a_stride;
        t.panel = panel + u0 * nr;
        t.alpha = plan.alpha;
        t.out_stride = plan.c_is_f32 ? g.c.stride : block_cols;
        for (int64_t r = 0; r < rows; r += mr) {
          const int64_t row = block + r;
          t.rows = static_cast<int>(std::min<int64_t>(mr, rows - r));
          t.a = a + (row - m0) * a_stride + u0;
          t.out = plan.c_is_f32 ? RawRow<float>(g.c, row) + column : tile + r * block_cols + (column - n0);
          if (to_bf16) {
            t.out_bf16 = RawRow<uint16_t>(g.c, row) + column;
            t.out_bf16_stride = g.c.stride;
          }
          if (u0 == 0) {
            t.init = nullptr;
            if (g.start) {
              t.init = (g.start.rows == 1 ? Raw<const float>(g.start) : RawRow<const float>(g.start, row)) + column;
              t.init_stride = g.start.rows == 1 ? 0 : g.start.stride;
            }
            if (plan.low_units > 0) {
              t.low_units = plan.low_units;
              t.low_a = Raw<const uint32_t>(g.low_a) + row * (g.low_a.stride / e);
              t.low_a_stride = g.low_a.stride / e;
              t.low_panel = panel + plan.units * nr;
              if (g.low_mask.bits) {
                t.mask = RawRow<const uint8_t>(g.low_mask.bits, row) + column / 8;
                t.mask_stride = g.low_mask.bits.stride;
                t.mask_scale = g.low_mask.scale;
              }
            }
          } else {
            t.low_units = 0;
            t.init = t.out;
            t.init_stride = t.out_stride;
          }
          plan.kernel.micro(t);
        }
      }
    }
  }
}

// Whether A can be read in place: dense units, no mask, no transposition, and rows that do not all meet in the same few
// sets of the L1 cache, which a stride of half pages makes them do.
bool ReadsInPlace(const Plan& plan) {
  const Gemm& g = plan.g;
  const bool collides = plan.m > plan.kernel.mr && g.a.stride * (4 / plan.kernel.unit_elements) % 2048 == 0;
  return !collides && !g.a_transposed && !g.a_mask.bits && plan.k % plan.kernel.unit_elements == 0 &&
         g.a.stride % plan.kernel.unit_elements == 0 && g.a.data.value % sizeof(uint32_t) == 0;
}

// Units from one packed row of A to the next.
int64_t PackedStride(const Plan& plan) { return (plan.units + 3) / 4 * 4 + kStridePadding; }

// Rows [m0, m0 + rows) of A as dense units: in place, or packed into `room`.
const uint32_t* RowsOfA(const Plan& plan, int64_t m0, int64_t rows, uint32_t* room, int64_t* stride) {
  const Gemm& g = plan.g;
  const int e = plan.kernel.unit_elements;
  const int64_t element_bytes = 4 / e;
  if (ReadsInPlace(plan)) {
    *stride = g.a.stride / e;
    return Raw<const uint32_t>(g.a) + m0 * *stride;
  }
  *stride = PackedStride(plan);
  if (g.a_transposed) {
    plan.kernel.pack_transposed(Raw<const std::byte>(g.a) + m0 * element_bytes, g.a.stride, rows, plan.k, room, *stride);
  } else {
    const uint8_t* bits = g.a_mask.bits ? RawRow<const uint8_t>(g.a_mask.bits, m0) : nullptr;
    plan.kernel.pack_rows(Raw<const std::byte>(g.a) + m0 * g.a.stride * element_bytes, g.a.stride, rows, plan.k, bits,
                          g.a_mask.bits.stride, room, *stride);
  }
  return room;
}

// How the room of one thread is shared out: a tile of f32 results, a decoded piece of B, then packed rows of A, then (split
// by columns) panels.
struct ThreadRoom {
  float* tile;
  std::byte* decoded;
  uint32_t* a;
  int64_t a_units;  // how many units of A fit
  uint32_t* panels;
};

// The room for panels holds one of the longest reduction and the highest rank, 32 columns wide.
constexpr int64_t kTileBytes = int64_t{1} << 20;
constexpr int64_t kPanelRoomBytes = (kGemmMaxUnits + kGemmMaxRank) * 32 * 4;
static_assert(kPanelRoomBytes <= kPackedBytes && kTileBytes + kDecodedBytes + kPanelRoomBytes +
                                                         (kGemmMaxUnits + 4 + kStridePadding) * 4 <= kThreadScratchBytes);

ThreadRoom RoomOf(const Scratch& scratch, int thread) {
  std::byte* base = scratch.thread(thread);
  const int64_t a_bytes = kThreadScratchBytes - kTileBytes - kDecodedBytes - kPanelRoomBytes;
  std::byte* a = base + kTileBytes + kDecodedBytes;
  return {reinterpret_cast<float*>(base), base + kTileBytes, reinterpret_cast<uint32_t*>(a), a_bytes / 4,
          reinterpret_cast<uint32_t*>(a + a_bytes)};
}

// Multiplies rows [m0, m1), packing A in pieces where it cannot be read in place.
void MultiplyAll(const Plan& plan, const ThreadRoom& room, int64_t m0, int64_t m1, int64_t p0, int64_t p1,
                 const uint32_t* packed) {
  int64_t step = m1 - m0;
  if (!ReadsInPlace(plan)) step = std::max<int64_t>(1, std::min(kRowsInL2, room.a_units / PackedStride(plan)));
  for (int64_t row = m0; row < m1; row += step) {
    const int64_t rows = std::min(step, m1 - row);
    int64_t stride = 0;
    const uint32_t* a = RowsOfA(plan, row, rows, room.a, &stride);
    MultiplyRows(plan, row, row + rows, p0, p1, packed, a, stride, room.tile);
  }
}

void SplitByRows(const Plan& plan, const Scratch& scratch) {
  const int64_t panel_size = (plan.units + plan.low_units) * plan.kernel.nr;
  const int64_t half = kPackedBytes / 4;
#pragma omp parallel num_threads(scratch.threads)
  {
    const int threads = omp_get_num_threads(), me = omp_get_thread_num();
    const ThreadRoom room = RoomOf(scratch, me);
    const int64_t tiles = CeilDiv(plan.m, plan.kernel.mr);
    const int64_t m0 = std::min(plan.m, tiles * me / threads * plan.kernel.mr);
    const int64_t m1 = std::min(plan.m, tiles * (me + 1) / threads * plan.kernel.mr);
    int turn = 0;
    for (int64_t p0 = 0; p0 < plan.panels; p0 += plan.block_panels, turn ^= 1) {
      const int64_t p1 = std::min(plan.panels, p0 + plan.block_panels);
      uint32_t* packed = reinterpret_cast<uint32_t*>(scratch.shared()) + turn * half;
      const int64_t first = p0 + (p1 - p0) * me / threads, last = p0 + (p1 - p0) * (me + 1) / threads;
      PackPanels(plan, first, last, packed + (first - p0) * panel_size, room.decoded);
#pragma omp barrier
      if (m0 < m1) MultiplyAll(plan, room, m0, m1, p0, p1, packed);
    }
  }
}

void SplitByColumns(const Plan& plan, const Scratch& scratch) {
#pragma omp parallel num_threads(scratch.threads)
  {
    const int threads = omp_get_num_threads(), me = omp_get_thread_num();
    const ThreadRoom room = RoomOf(scratch, me);
    const int64_t first = plan.panels * me / threads, last = plan.panels * (me + 1) / threads;
    // The few rows are packed once, not for every panel, where they fit.
    const bool fits = plan.m * PackedStride(plan) <= room.a_units;
    int64_t stride = 0;
    const uint32_t* a = fits && first < last ? RowsOfA(plan, 0, plan.m, room.a, &stride) : nullptr;
    // Panels are packed a few at a time while there is room: neighbouring columns of a row share cache lines and pages.
    const int64_t panel_size = (plan.units + plan.low_units) * plan.kernel.nr;
    const int64_t group = std::clamp<int64_t>(kPanelRoomBytes / 4 / std::max<int64_t>(1, panel_size), 1, 4);
    for (int64_t p = first; p < last; p += group) {
      const int64_t end = std::min(last, p + group);
      PackPanels(plan, p, end, room.panels, room.decoded);
      if (fits) {
        MultiplyRows(plan, 0, plan.m, p, end, room.panels, a, stride, room.tile);
      } else {
        MultiplyAll(plan, room, 0, plan.m, p, end, room.panels);
      }
    }
  }
}

// `length` cut into equal parts of at most `limit`: what a part holds.
int64_t EvenPart(int64_t length, int64_t limit) {
  return std::max<int64_t>(1, CeilDiv(length, std::max<int64_t>(1, CeilDiv(length, limit))));
}

// One reduction of at most kGemmMaxUnits.
void RunOnce(const GemmKernel& kernel, const Scratch& scratch, const Gemm& g, int64_t m, int64_t n, int64_t k,
             int64_t first_k) {
  const int e = kernel.unit_elements;
  const int64_t units = CeilDiv(k, e);
  Plan plan{kernel, g, m, n, k, units, g.low_a ? CeilDiv(g.low_a.cols, e) : 0,
            EvenPart(units, kPanelInL1 / 4 / kernel.nr), CeilDiv(n, kernel.nr), 1,
            g.alpha * (g.a_mask.bits ? g.a_mask.scale : 1.0f) * (g.b_mask.bits ? g.b_mask.scale : 1.0f),
            g.c.dtype == DType::kF32, g.b.dtype != g.a.dtype, first_k};
  const int64_t panel_bytes = std::max<int64_t>(1, plan.units + plan.low_units) * kernel.nr * 4;
  const int64_t tile_panels = kTileBytes / (kRowsInL2 * kernel.nr * 4);
  plan.block_panels = EvenPart(plan.panels, std::max<int64_t>(1, std::min(int64_t{768} * 1024 / panel_bytes, tile_panels)));
  if (m >= 4 * kernel.mr * scratch.threads || plan.panels < 2 * scratch.threads) {
    SplitByRows(plan, scratch);
  } else {
    SplitByColumns(plan, scratch);
  }
}

}  // namespace

void RunGemm(const GemmKernel& kernel, const Scratch& scratch, const Gemm& gemm) {
  const int64_t m = gemm.c.rows, n = gemm.c.cols;
  const int64_t k = gemm.a_transposed ? gemm.a.rows : gemm.a.cols;
  const int64_t limit = kGemmMaxUnits * kernel.unit_elements;
  if (m == 0 || n == 0) return;
  if (gemm.low_a && (gemm.a_mask.bits || gemm.b_mask.bits)) Failed("gemm: a masked operand beside a low-rank term");
  const bool b_is_stored = gemm.b.dtype != gemm.a.dtype;
  if (b_is_stored && (gemm.b_mask.bits || gemm.b.stride != gemm.b.cols)) Failed("gemm: a stored operand is whole and unmasked");
  if (k <= limit) return RunOnce(kernel, scratch, gemm, m, n, k, 0);
  if (gemm.c.dtype != DType::kF32) Failed("gemm: a reduction over {} elements needs an F32 output", k);
  // A longer reduction runs piece by piece into the f32 output; in pieces short enough that a block holds several panels,
  // which the threads pack together and which share the cache lines of a row of b.
  const int64_t step = limit / 4;
  for (int64_t k0 = 0; k0 < k; k0 += step) {
    const int64_t piece = std::min(step, k - k0);
    Gemm part = gemm;
    part.a = gemm.a_transposed ? gemm.a.Rows(k0, piece) : gemm.a.Columns(k0, piece);
    if (!b_is_stored) part.b = gemm.b_transposed ? gemm.b.Columns(k0, piece) : gemm.b.Rows(k0, piece);
    if (gemm.b_mask.bits) part.b_mask.bits = gemm.b_mask.bits.Rows(k0, piece);
    if (gemm.a_mask.bits) part.a_mask.bits = gemm.a_mask.bits.Columns(k0 / 8, (piece + 7) / 8);
    if (k0 > 0) {
      part.start = gemm.c;
      part.low_a = Matrix{};
    }
    RunOnce(kernel, scratch, part, m, n, piece, k0);
  }
}

}  // namespace attune
