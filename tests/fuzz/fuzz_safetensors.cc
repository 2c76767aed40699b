// safetensors headers: whatever the bytes, either a consistent table of tensors or one Error.
#include <cstdlib>
#include <span>

#include "base/error.h"
#include "formats/safetensors.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto file = std::as_bytes(std::span(data, size));
  try {
    size_t covered = 0;
    for (const attune::TensorView& tensor : attune::ParseSafetensors(file, "fuzz").tensors) {
      covered += tensor.bytes.size();
      // Touch both ends: a span outside the file is what the address sanitizer would report.
      if (!tensor.bytes.empty() && tensor.bytes.front() == std::byte{1} && tensor.bytes.back() == std::byte{2})
        ++covered;
      if (static_cast<int64_t>(tensor.bytes.size()) != attune::ByteCount(tensor.dtype, tensor.shape)) std::abort();
    }
    if (covered > 2 * size) std::abort();
  } catch (const attune::Error&) {
  }
  return 0;
}
