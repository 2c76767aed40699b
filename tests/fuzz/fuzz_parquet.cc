// A Parquet file as rows, where attune is built with it.
#include <cstdint>
#include <string_view>

#include "base/error.h"
#include "curate/byte_source.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    attune::ByteSource source("rows.parquet", {reinterpret_cast<const char*>(data), size});
    constexpr size_t kEnough = size_t{64} << 20;  // a few bytes can stand for many rows
    size_t total = 0;
    for (std::string_view piece = source.Next(); !piece.empty() && total < kEnough; piece = source.Next())
      total += piece.size();
  } catch (const attune::Error& error) {
    if (std::string_view(error.what()).find('\n') != std::string_view::npos) __builtin_trap();  // one line
  }
  return 0;
}
