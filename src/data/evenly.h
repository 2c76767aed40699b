// A part of some rows that stands for all of them, whatever order they are in.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

namespace attune {

// At most `most` rows, evenly from all, in their order; `most` 0: all.
template <class Row>
std::vector<Row> EvenlyFrom(std::vector<Row> rows, int64_t most) {
  const int64_t count = std::ssize(rows);
  if (most <= 0 || count <= most) return rows;
  std::vector<Row> chosen;
  for (int64_t i = 0; i < most; ++i) chosen.push_back(std::move(rows[static_cast<size_t>(i * count / most)]));
  return chosen;
}

}  // namespace attune
