// Rows of a tsv file (tests/fuzz/rows.h).
#include "rows.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  attune::FuzzRows(attune::Container::kTsv, data, size);
  return 0;
}
