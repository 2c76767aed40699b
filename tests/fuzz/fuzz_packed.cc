// A data file that is, or claims to be, packed with gzip or zstd.
#include <cstdint>
#include <string_view>

#include "base/error.h"
#include "curate/byte_source.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace attune;
  constexpr size_t kEnough = size_t{64} << 20;  // a few bytes can stand for as many zeros as they like
  try {
    ByteSource source("f.gz", {reinterpret_cast<const char*>(data), size});
    size_t total = 0;
    for (std::string_view piece = source.Next(); !piece.empty() && total < kEnough; piece = source.Next()) {
      total += piece.size() + (piece.back() != 0);
    }
  } catch (const Error& error) {
    if (std::string_view(error.what()).find('\n') != std::string_view::npos) __builtin_trap();  // one line
  }
  return 0;
}
