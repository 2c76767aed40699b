// The innermost piece of every matrix product: what a CPU target (AVX2, AVX-512, AVX512-BF16) has to provide so that
// the driver (gemm.cc) can run C = A B on it. The driver owns blocking, threads and packing order; a kernel owns
// registers.
//
// The reduction dimension is counted in 32-bit units: one float, or two neighbouring bf16. B is packed into panels of
// `nr` columns: unit u of column j stands at panel[u * nr + j]. A is read in place, row by row, one unit broadcast at a
// time.
#pragma once

#include <cstdint>

namespace attune {

// One tile: out = alpha * (low-rank term + a b) + init, for rows <= mr and cols <= nr.
struct MicroTile {
  int rows = 0, cols = 0;
  int64_t units = 0;                // reduction length of the main product
  const uint32_t* a = nullptr;      // rows x units
  int64_t a_stride = 0;             // units
  const uint32_t* panel = nullptr;  // units x nr
  int64_t low_units = 0;            // reduction length of the low-rank term; 0: none
  const uint32_t* low_a = nullptr;  // rows x low_units
  int64_t low_a_stride = 0;         // units
  const uint32_t* low_panel = nullptr;
  const uint8_t* mask = nullptr;  // keep-bits of the low-rank term, bit j%8 of byte j/8 is column j; may be null
  int64_t mask_stride = 0;        // bytes
  float mask_scale = 1.0f;        // factor of the elements that are kept
  float alpha = 1.0f;
  const float* init = nullptr;  // rows x cols, may be null or equal to out
  int64_t init_stride = 0;      // floats
  float* out = nullptr;
  int64_t out_stride = 0;        // floats
  uint16_t* out_bf16 = nullptr;  // where not null the result is rounded to bf16 and goes here instead
  int64_t out_bf16_stride = 0;   // elements
};

// Products of a matrix X with few rows or columns, an adapter's, would wait for X if it were packed first: these two
// read it in place, once, along its rows. Sums stand in a tile of the driver's, as wide and high as whole vectors and
// groups need.

// sums[i][j] += x row i . y row j, for i < rows and j < cols: along the reduction of both. All dot_cols columns are
// written.
struct DotTile {
  int rows = 0, cols = 0;  // at most dot_rows, dot_cols
  int64_t k = 0;           // elements
  const void* x = nullptr;
  int64_t x_stride = 0;           // elements
  const uint8_t* mask = nullptr;  // keep-bits of x, may be null
  int64_t mask_stride = 0;        // bytes
  const void* y = nullptr;
  int64_t y_stride = 0;  // elements
  float* sums = nullptr;
  int64_t sums_stride = 0;
  int64_t ahead = 0;  // rows of x behind these that are wanted next
};

// sums[i][j] += sum over t of panel[t][i] x[t][j], for all i < outer_rows and j < cols.
struct OuterTile {
  int cols = 0;                     // at most outer_cols
  int64_t k = 0;                    // rows of x
  const uint32_t* panel = nullptr;  // unit u of row i stands at panel[u * nr + i]
  const void* x = nullptr;
  int64_t x_stride = 0;           // elements
  const uint8_t* mask = nullptr;  // keep-bits of x, may be null
  int64_t mask_stride = 0;        // bytes
  float* sums = nullptr;          // room for whole vectors in each row
  int64_t sums_stride = 0;
  int64_t ahead = 0;  // rows of x behind these that are wanted next
};

struct GemmKernel {
  const char* name;
  int mr, nr;
  int unit_elements;  // 1: f32, 2: bf16 pairs

  void (*micro)(const MicroTile& tile);

  // Packs columns [0, cols) of a panel from a matrix stored (n, k): source points at row n0. Columns beyond `cols`
  // become zero, and so does the partner of an odd last bf16.
  void (*pack_nk)(const void* source, int64_t stride, int cols, int64_t k, uint32_t* panel);

  // The same from a matrix stored (k, n): source points at row k0, column n0; `rows` counts stored rows (elements of
  // the reduction; an odd last bf16 row is paired with zero). mask (bits over the source, from column n0; may be null)
  // zeroes elements.
  void (*pack_kn)(const void* source, int64_t stride, int cols, int64_t rows, const uint8_t* mask, int64_t mask_stride,
                  uint32_t* panel);

  // Copies rows of A (rows, k) into dense units, zeroing what a mask drops; an odd last bf16 is paired with zero. Up to
  // 16 units behind a row may be overwritten.
  void (*pack_rows)(const void* source, int64_t stride, int64_t rows, int64_t k, const uint8_t* mask,
                    int64_t mask_stride, uint32_t* out, int64_t out_stride);

  // Transposes A stored (k, m): columns [0, m) become rows of dense units.
  void (*pack_transposed)(const void* source, int64_t stride, int64_t m, int64_t k, uint32_t* out, int64_t out_stride);

  int dot_rows, dot_cols;
  void (*dots)(const DotTile& tile);

  int outer_rows, outer_cols;  // outer_rows divides nr
  void (*outer)(const OuterTile& tile);
};

const GemmKernel& F32GemmKernel();

// bf16 products with f32 accumulation: null where the processor has no AVX512-BF16.
const GemmKernel* NativeBf16GemmKernel();

// The same kernel with the instruction spelled out in plain C++: slow, for tests of the bf16 path on any machine.
const GemmKernel* EmulatedBf16GemmKernel();

}  // namespace attune
