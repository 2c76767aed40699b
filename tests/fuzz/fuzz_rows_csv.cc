// Rows of a csv file (tests/fuzz/rows.h).
#include "rows.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  attune::FuzzRows(attune::Container::kCsv, data, size);
  return 0;
}
