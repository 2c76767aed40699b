// Blocking of the matrix product. C is cut into blocks, and each is a task that one thread takes from beginning to end:
// it packs the panels of B that it needs, as many as its L2 cache holds, and multiplies rows of A by them. Threads take
// the next task as they come and wait for each other only at the end, so that a core that is slower, or shared with
// another program, does not hold up the rest. Partial sums of a long reduction are added up in C where it is f32, else
// in a tile beside it.
#include "ops/cpu/gemm.h"

#include <omp.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <numeric>

#include "base/error.h"
#include "ops/cpu/raw.h"
#include "ops/cpu/stored_tile.h"

namespace attune {
namespace {

constexpr int64_t kPanelInL1 = 20 << 10;  // bytes of a panel that stay in L1, where a kernel needs that
constexpr int kRowsForL2 = 12;            // a tile this high uses a line of a panel so often that it may come from L2
constexpr int64_t kRowsInL2 = 196;  // rows of A that stay in L2 while panels pass by, where a panel has to come from L1
constexpr int64_t kRowsPacked = 112;   // rows of A that are packed at a time, at most
constexpr int64_t kPackedStep = 16;    // ... and a multiple of this: the squares in which they are transposed
constexpr int64_t kBlockUnits = 1024;  // reduction of a packed block of B, at most
constexpr int64_t kBlockStep =
    256;  // ... and a multiple of this where there are several: whole blocks of every stored type
constexpr int64_t kStridePadding = 16;  // units: without it rows of a power of two would share the same few cache sets
constexpr int64_t kPanelsInL2 = 640 << 10;        // bytes of panels of B that stay in L2 while rows of A pass by
constexpr int64_t kFarBytes = int64_t{32} << 20;  // of A: more than the cores' shared cache keeps
constexpr int64_t kDecodedBytes = 16 << 10;       // of a stored b, decoded at a time: stays in L1 until it is packed

struct Plan {
  const GemmKernel& kernel;
  const Gemm& g;
  int64_t m, n, k;       // k in elements
  int64_t units;         // reduction length in units
  int64_t block_units;   // of a packed block
  int64_t rows_at_once;  // of A, that panels pass by: whole tiles
  int64_t low_units;     // 0: no low-rank term
  int64_t low_stride;    // units from one row of the low-rank term's A to the next
  int64_t tile_units;    // reduction of one tile
  int64_t panels;        // column panels of C
  float alpha;           // with the factors of the operands' masks
  bool c_is_f32;
  bool b_is_stored;  // in another type than the compute type: decoded while it is packed
  bool a_in_place;   // not packed
};

// A part of the reduction, in units, and how much room a panel of it takes. The low-rank term goes with the first part.
struct Part {
  int64_t u0, u1;
  int64_t low_units;

  int64_t panel_size(const Plan& plan) const { return (u1 - u0 + low_units) * plan.kernel.nr; }
  int64_t k0(const Plan& plan) const { return u0 * plan.kernel.unit_elements; }
  int64_t k1(const Plan& plan) const { return std::min(plan.k, u1 * plan.kernel.unit_elements); }
};

// The part that begins at u0: all of the reduction where it is short.
Part PartAt(const Plan& plan, int64_t u0) {
  return {u0, std::min(plan.units, u0 + plan.block_units), u0 == 0 ? plan.low_units : 0};
}

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

// Columns [n0, n0 + cols) of a stored b for reduction steps [k0, k0 + count), decoded into `room` as b is laid out: a
// row a column where b is transposed, a row a step where not.
Matrix DecodeStored(const Plan& plan, int64_t n0, int64_t cols, int64_t k0, int64_t count, std::byte* room) {
  StoredTile tile{plan.g.b, k0, count, n0, cols, room, cols};
  if (plan.g.b_transposed) tile = {plan.g.b, n0, cols, k0, count, room, count};
  const DType compute = plan.kernel.unit_elements == 2 ? DType::kBF16 : DType::kF32;
  DecodeTile(tile, compute);
  return DenseMatrix({reinterpret_cast<uintptr_t>(room)}, compute, tile.rows, tile.cols);
}

// The main operand's share of the panels [p0, p1) of a part, from a stored b. A piece holds whole blocks of every type
// where a column of it is one run, and an even number of rows.
void PackStoredPanels(const Plan& plan, const Part& part, int64_t p0, int64_t p1, uint32_t* out, std::byte* room) {
  const int64_t nr = plan.kernel.nr, panel_size = part.panel_size(plan), first = part.k0(plan), end = part.k1(plan);
  const int64_t elements = kDecodedBytes / (4 / plan.kernel.unit_elements);
  if (plan.g.b_transposed) {
    const int64_t step = elements / nr;
    for (int64_t p = p0; p < p1; ++p) {
      const int64_t n0 = p * nr, cols = std::min(nr, plan.n - n0);
      for (int64_t k = first; k < end; k += step) {
        const int64_t count = std::min(step, end - k);
        const Matrix piece = DecodeStored(plan, n0, cols, k, count, room);
        plan.kernel.pack_nk(Raw<const std::byte>(piece), piece.stride, static_cast<int>(cols), count,
                            out + (p - p0) * panel_size + (k - first) / plan.kernel.unit_elements * nr);
      }
    }
    return;
  }
  const int64_t group = std::min(p1 - p0, elements / 16 / nr), step = elements / (group * nr) / 2 * 2;
  for (int64_t p = p0; p < p1; p += group) {
    const int64_t last = std::min(p1, p + group), n0 = p * nr, width = std::min(last * nr, plan.n) - n0;
    for (int64_t k = first; k < end; k += step) {
      const int64_t count = std::min(step, end - k);
      const Matrix piece = DecodeStored(plan, n0, width, k, count, room);
      for (int64_t q = p; q < last; ++q) {
        const Matrix columns = piece.Columns(q * nr - n0, std::min(nr, plan.n - q * nr));
        plan.kernel.pack_kn(Raw<const std::byte>(columns), columns.stride, static_cast<int>(columns.cols), count,
                            nullptr, 0, out + (q - p0) * panel_size + (k - first) / plan.kernel.unit_elements * nr);
      }
    }
  }
}

// Packs a part of panels [p0, p1), one behind the other: the units of the main operand, then those of the low-rank one.
// Where a row of b runs through several panels it is read a few rows at a time, so that its cache lines are used while
// at hand.
void PackPanels(const Plan& plan, const Part& part, int64_t p0, int64_t p1, uint32_t* out, std::byte* decoded) {
  constexpr int64_t kRows = 64;
  const Gemm& g = plan.g;
  const int64_t nr = plan.kernel.nr, panel_size = part.panel_size(plan), first = part.k0(plan), end = part.k1(plan);
  const int64_t step = g.b_transposed || p1 - p0 == 1 ? std::max<int64_t>(1, end - first) : kRows;
  if (plan.b_is_stored && p0 < p1) PackStoredPanels(plan, part, p0, p1, out, decoded);
  for (int64_t k = first; k < end && !plan.b_is_stored; k += step) {
    const int64_t count = std::min(step, end - k);
    const Matrix rows = g.b_transposed ? g.b.Columns(k, count) : g.b.Rows(k, count);
    KeepMask mask = g.b_mask;
    if (mask.bits) mask.bits = mask.bits.Rows(k, count);
    for (int64_t p = p0; p < p1; ++p) {
      uint32_t* panel = out + (p - p0) * panel_size + (k - first) / plan.kernel.unit_elements * nr;
      PackOperand(plan, rows, g.b_transposed, mask, p * nr, count, panel);
    }
  }
  for (int64_t p = p0; p < p1 && part.low_units > 0; ++p) {
    PackOperand(plan, g.low_b, g.low_b_transposed, KeepMask{}, p * nr, g.low_a.cols,
                out + (p - p0) * panel_size + (part.u1 - part.u0) * nr);
  }
}

// What one call multiplies: rows [m0, m1), at most rows_at_once, by the packed panels [p0, p1) of a part of the
// reduction.
struct Work {
  int64_t m0, m1, p0, p1;
  Part part;
  const uint32_t* packed;  // each panel's units, then its low-rank units
  const uint32_t* a;       // dense units of those rows and that part, row m0 first
  int64_t a_stride;
  float* tile;  // (m1 - m0, columns of the panels) f32, where C is not f32: sums so far
};

// Results and what they start from are wanted when a tile ends; by then they are at hand.
void PrefetchResults(const MicroTile& t) {
  constexpr int64_t kLine = 64;
  const std::byte* out = reinterpret_cast<const std::byte*>(t.out);
  int64_t row_bytes = t.cols * 4, stride = t.out_stride * 4;
  if (t.out_bf16 != nullptr && t.init != t.out) {
    out = reinterpret_cast<const std::byte*>(t.out_bf16);
    row_bytes = t.cols * 2;
    stride = t.out_bf16_stride * 2;
  }
  const bool in_whole_lines = (reinterpret_cast<uintptr_t>(out) | static_cast<uintptr_t>(stride)) % kLine == 0;
  for (int r = 0; r < t.rows; ++r, out += stride) {
    for (int64_t i = 0; i < row_bytes; i += kLine) __builtin_prefetch(out + i, 1);
    if (!in_whole_lines) __builtin_prefetch(out + row_bytes - 1, 1);
  }
}

void MultiplyRows(const Plan& plan, const Work& w) {
  const Gemm& g = plan.g;
  const int nr = plan.kernel.nr, mr = plan.kernel.mr;
  const int64_t panel_size = w.part.panel_size(plan);
  const int64_t n0 = w.p0 * nr, block_cols = std::min(w.p1 * nr, plan.n) - n0;
  for (int64_t u0 = w.part.u0; u0 == 0 || u0 < w.part.u1; u0 += plan.tile_units) {  // once also where nothing is summed
    const int64_t count = std::min(plan.tile_units, w.part.u1 - u0);
    const bool to_bf16 = !plan.c_is_f32 && u0 + count == plan.units;
    MicroTile t;
    for (int64_t p = w.p0; p < w.p1; ++p) {
      const uint32_t* panel = w.packed + (p - w.p0) * panel_size;
      const int64_t column = p * nr;
      t.cols = static_cast<int>(std::min<int64_t>(nr, plan.n - column));
      t.units = count;
      t.a_stride = w.a_stride;
      t.panel = panel + (u0 - w.part.u0) * nr;
      t.alpha = plan.alpha;
      t.out_stride = plan.c_is_f32 ? g.c.stride : block_cols;
      for (int64_t row = w.m0; row < w.m1; row += mr) {
        t.rows = static_cast<int>(std::min<int64_t>(mr, w.m1 - row));
        t.a = w.a + (row - w.m0) * w.a_stride + (u0 - w.part.u0);
        t.out = plan.c_is_f32 ? RawRow<float>(g.c, row) + column : w.tile + (row - w.m0) * block_cols + (column - n0);
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
            t.low_a = Raw<const uint32_t>(g.low_a) + row * plan.low_stride;
            t.low_a_stride = plan.low_stride;
            t.low_panel = panel + (w.part.u1 - w.part.u0) * nr;
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
        PrefetchResults(t);
        plan.kernel.micro(t);
      }
    }
  }
}

// Whether A can be read in place: dense units, no mask, no transposition, rows that do not collide, and not so much of
// it that every pass reads it from memory, as gradients of logits are: copied, it comes from there in one stream.
bool ReadsInPlace(const GemmKernel& kernel, const Gemm& g, int64_t k) {
  const bool collides = g.c.rows > kernel.mr && RowsCollide(g.a.dtype, g.a.stride);
  const bool is_far = g.c.rows * BytesOf(g.a.dtype, k) > kFarBytes;
  return !collides && !is_far && !g.a_transposed && !g.a_mask.bits && k % kernel.unit_elements == 0 &&
         g.a.stride % kernel.unit_elements == 0 && g.a.data.value % sizeof(uint32_t) == 0;
}

// Rows of A that panels pass by. In place as few as a tile has, where those may come from L2; else a few tiles.
int64_t RowsAtOnce(const GemmKernel& kernel, bool a_in_place) {
  if (a_in_place) return kernel.mr >= kRowsForL2 ? kernel.mr : kRowsInL2 / kernel.mr * kernel.mr;
  const int64_t whole = std::lcm<int64_t>(kernel.mr, kPackedStep);
  return kRowsPacked / whole * whole;
}

// Units from one packed row of A to the next.
int64_t PackedStride(const Part& part) { return (part.u1 - part.u0 + 3) / 4 * 4 + kStridePadding; }

// Rows [m0, m0 + rows) of a part of A as dense units: in place, or packed into `room`.
const uint32_t* RowsOfA(const Plan& plan, const Part& part, int64_t m0, int64_t rows, uint32_t* room, int64_t* stride) {
  const Gemm& g = plan.g;
  const int e = plan.kernel.unit_elements;
  const int64_t element_bytes = 4 / e, k0 = part.k0(plan), k = part.k1(plan) - k0;
  if (plan.a_in_place) {
    *stride = g.a.stride / e;
    return Raw<const uint32_t>(g.a) + m0 * *stride + part.u0;
  }
  *stride = PackedStride(part);
  const std::byte* a = Raw<const std::byte>(g.a);
  if (g.a_transposed) {
    plan.kernel.pack_transposed(a + (k0 * g.a.stride + m0) * element_bytes, g.a.stride, rows, k, room, *stride);
  } else {
    const uint8_t* bits = g.a_mask.bits ? RawRow<const uint8_t>(g.a_mask.bits, m0) + k0 / 8 : nullptr;
    plan.kernel.pack_rows(a + (m0 * g.a.stride + k0) * element_bytes, g.a.stride, rows, k, bits, g.a_mask.bits.stride,
                          room, *stride);
  }
  return room;
}

// How the room of one thread is shared out: a tile of f32 results, a decoded piece of B, panels, and rows of A in all
// that is left.
struct ThreadRoom {
  float* tile;
  std::byte* decoded;
  uint32_t* panels;
  uint32_t* a;
};

constexpr int64_t kTileBytes = int64_t{1} << 20;
// At least one panel of the longest part and the highest rank.
constexpr int64_t kPanelRoomBytes = int64_t{5} << 18;
static_assert(kPanelRoomBytes >= (kBlockUnits + kGemmMaxRank) * 32 * 4 &&
              kTileBytes + kDecodedBytes + kPanelRoomBytes + kRowsInL2 * (kBlockUnits + 4 + kStridePadding) * 4 <=
                  kThreadScratchBytes);

ThreadRoom RoomOf(const Scratch& scratch, int thread) {
  std::byte* base = scratch.thread(thread);
  std::byte* panels = base + kTileBytes + kDecodedBytes;
  return {reinterpret_cast<float*>(base), base + kTileBytes, reinterpret_cast<uint32_t*>(panels),
          reinterpret_cast<uint32_t*>(panels + kPanelRoomBytes)};
}

// Whether one part is all of the reduction.
bool InOnePart(const Plan& plan) { return plan.block_units >= plan.units; }

// Whether sums of rows stay in the tile while one part of the reduction follows another.
bool TileLasts(const Plan& plan) { return !plan.c_is_f32 && !InOnePart(plan); }

// Rows that are taken through all of the reduction before the next ones, so that panels are packed anew for these.
int64_t RowsPerPacking(const Plan& plan, int64_t panels) {
  if (!TileLasts(plan)) return plan.m;
  return kTileBytes / 4 / (panels * plan.kernel.nr) / plan.rows_at_once * plan.rows_at_once;
}

// A product as tasks: blocks of C, each multiplied by one thread from beginning to end, with its own panels of B.
struct Grid {
  int64_t panels = 1, rows = 0;  // of a task
  int64_t across = 1, down = 1;  // tasks
};

// What packing costs, in products of as many elements with one panel of B. Operands read in place still come from far
// away.
constexpr double kReadA = 0.1, kPackA = 0.8, kTransposeA = 1.2, kPackB = 0.5, kDecodeB = 1.5;
constexpr int64_t kMostPanels = 64;  // of a task: beyond them nothing is saved that is worth trying more grids
// A thread that others hold up ends a task late while the rest wait: half a task of each, at worst.
constexpr double kWait = 0.25;

// The grid that costs least: large tasks pack less, small ones share better. It depends on the number of threads, but
// what is summed up in which order does not.
Grid ChooseGrid(const Plan& plan, int threads) {
  const int64_t panel_bytes = std::max<int64_t>(1, PartAt(plan, 0).panel_size(plan) * 4);
  int64_t most = std::clamp<int64_t>((plan.a_in_place ? kPanelsInL2 : kPanelRoomBytes) / panel_bytes, 1,
                                     std::min(plan.panels, kMostPanels));
  if (TileLasts(plan)) most = std::min<int64_t>(most, kTileBytes / (plan.rows_at_once * plan.kernel.nr * 4));
  const double cost_a = plan.a_in_place ? kReadA : plan.g.a_transposed ? kTransposeA : kPackA;
  const double cost_b = plan.b_is_stored ? kDecodeB : kPackB;
  const int64_t tiles = CeilDiv(plan.m, plan.kernel.mr);
  Grid best;
  double least = 0;
  for (int64_t width = 1; width <= most; ++width) {
    for (int64_t down = 1; down <= tiles; down *= 2) {
      Grid grid;
      grid.across = CeilDiv(plan.panels, width);
      grid.panels = CeilDiv(plan.panels, grid.across);
      grid.rows = CeilDiv(tiles, down) * plan.kernel.mr;
      grid.down = CeilDiv(plan.m, grid.rows);
      const double rows = static_cast<double>(std::min({plan.m, grid.rows, RowsPerPacking(plan, grid.panels)}));
      const double tasks = static_cast<double>(grid.across * grid.down);
      const double rounds = std::ceil(tasks / threads) * threads / tasks;  // some threads idle in the last
      const double cost = rounds * (1 + cost_a / static_cast<double>(grid.panels) + cost_b * plan.kernel.nr / rows) +
                          kWait * threads / tasks;
      if (least > 0 && cost >= least) continue;
      least = cost;
      best = grid;
    }
  }
  return best;
}

// What a thread's room holds from its last task, so that the next one need not pack it again.
struct Packed {
  int64_t panel = -1;  // the first of the panels, of a whole reduction
  int64_t row = -1;    // the first of the rows, of a whole reduction
  const uint32_t* a = nullptr;
  int64_t a_stride = 0;
};

// One task: rows [m0, m1) by panels [p0, p1).
void Multiply(const Plan& plan, const ThreadRoom& room, int64_t m0, int64_t m1, int64_t p0, int64_t p1,
              Packed* packed) {
  const bool whole = InOnePart(plan);
  const int64_t block_cols = std::min(p1 * plan.kernel.nr, plan.n) - p0 * plan.kernel.nr;
  const int64_t rows = std::min(m1 - m0, RowsPerPacking(plan, p1 - p0));
  for (int64_t start = m0; start < m1; start += rows) {
    const int64_t end = std::min(m1, start + rows);
    for (int64_t u0 = 0; u0 == 0 || u0 < plan.units; u0 += plan.block_units) {
      const Part part = PartAt(plan, u0);
      if (!whole || packed->panel != p0) PackPanels(plan, part, p0, p1, room.panels, room.decoded);
      packed->panel = whole ? p0 : -1;
      for (int64_t row = start; row < end; row += plan.rows_at_once) {
        Work work{
            row,      std::min(end, row + plan.rows_at_once), p0, p1, part, room.panels, packed->a, packed->a_stride,
            room.tile};
        if (!whole || packed->row != row)
          work.a = packed->a = RowsOfA(plan, part, row, work.m1 - row, room.a, &work.a_stride);
        packed->a_stride = work.a_stride;
        packed->row = whole ? row : -1;
        if (TileLasts(plan)) work.tile += (row - start) * block_cols;
        MultiplyRows(plan, work);
      }
    }
  }
}

// `length` cut into equal parts of at most `limit`: what a part holds.
int64_t EvenPart(int64_t length, int64_t limit) {
  return std::max<int64_t>(1, CeilDiv(length, std::max<int64_t>(1, CeilDiv(length, limit))));
}

}  // namespace

void RunGemm(const GemmKernel& kernel, const Scratch& scratch, const Gemm& g) {
  const int64_t m = g.c.rows, n = g.c.cols, k = g.a_transposed ? g.a.rows : g.a.cols;
  if (m == 0 || n == 0 || RunThinGemm(kernel, scratch, g)) return;
  if (g.low_a && (g.a_mask.bits || g.b_mask.bits)) Failed("gemm: a masked operand beside a low-rank term");
  const bool b_is_stored = g.b.dtype != g.a.dtype;
  if (b_is_stored && (g.b_mask.bits || g.b.stride != g.b.cols)) Failed("gemm: a stored operand is whole and unmasked");
  const int64_t units = CeilDiv(k, kernel.unit_elements),
                low_units = g.low_a ? CeilDiv(g.low_a.cols, kernel.unit_elements) : 0;
  int64_t block_units = std::max<int64_t>(1, units);
  if (units > kBlockUnits) block_units = CeilDiv(EvenPart(units, kBlockUnits), kBlockStep) * kBlockStep;
  const bool a_in_place = ReadsInPlace(kernel, g, k);
  const Plan plan{kernel,
                  g,
                  m,
                  n,
                  k,
                  units,
                  block_units,
                  RowsAtOnce(kernel, a_in_place),
                  low_units,
                  g.low_a.stride / kernel.unit_elements,
                  kernel.mr >= kRowsForL2 ? block_units : EvenPart(block_units, kPanelInL1 / 4 / kernel.nr),
                  CeilDiv(n, kernel.nr),
                  g.alpha * (g.a_mask.bits ? g.a_mask.scale : 1.0f) * (g.b_mask.bits ? g.b_mask.scale : 1.0f),
                  g.c.dtype == DType::kF32,
                  b_is_stored,
                  a_in_place};
  const Grid grid = ChooseGrid(plan, scratch.threads);
  std::atomic<int64_t> next{0};
#pragma omp parallel num_threads(scratch.threads)
  {
    const ThreadRoom room = RoomOf(scratch, omp_get_thread_num());
    Packed packed;
    for (int64_t task = next++; task < grid.across * grid.down; task = next++) {
      const int64_t p0 = task / grid.down * grid.panels, m0 = task % grid.down * grid.rows;
      Multiply(plan, room, m0, std::min(m, m0 + grid.rows), p0, std::min(plan.panels, p0 + grid.panels), &packed);
    }
  }
}

}  // namespace attune
