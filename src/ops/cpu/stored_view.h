// A matrix whose scales lie apart from its codes (quant/stored_matrix.h), as kernels read it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "ops/cpu/raw.h"
#include "quant/stored_matrix.h"

namespace attune {

inline Bnb4View ViewBnb4(const Matrix& w) {
  const auto& header = *Raw<const Bnb4Header>(w);
  Bnb4View view;
  std::memcpy(view.table.data(), header.table, sizeof header.table);
  view.block_size = header.block_size;
  view.packed = Raw<const std::byte>(header.codes);
  view.absmax = Raw<const std::byte>(header.absmax);
  view.nested = header.nested_block_size != 0;
  if (view.nested) view.nested_block_size = header.nested_block_size;
  view.nested_absmax = Raw<const std::byte>(header.nested_absmax);
  view.nested_map = Raw<const std::byte>(header.map);
  view.offset = header.offset;
  return view;
}

struct Int8RowsView {
  const std::byte* scales;  // F32, of any alignment
  const int8_t* codes;
};

inline Int8RowsView ViewInt8Rows(const Matrix& w) {
  const auto& header = *Raw<const Int8RowsHeader>(w);
  return {Raw<const std::byte>(header.scales), Raw<const int8_t>(header.codes)};
}

// Scale i of scales of any alignment.
inline float LoadScale(const std::byte* scales, int64_t i) {
  float value;
  std::memcpy(&value, scales + 4 * i, sizeof value);
  return value;
}

}  // namespace attune
