// Rows of a json file (tests/fuzz/rows.h).
#include "rows.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  attune::FuzzRows(attune::Container::kJson, data, size);
  return 0;
}
