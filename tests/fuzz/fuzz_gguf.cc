// GGUF files: whatever the bytes, either metadata and tensors that decode or one Error.
#include <algorithm>
#include <cstdlib>
#include <span>
#include <vector>

#include "base/error.h"
#include "formats/gguf.h"
#include "quant/gguf_blocks.h"

namespace {

size_t Texts(const attune::GgufArray& array) {
  size_t size = array.bytes.size();
  for (const std::string_view text : array.strings) size += text.size();
  for (const attune::GgufArray& inner : array.arrays) size += Texts(inner);
  return size;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    const attune::GgufContents contents = attune::ParseGguf(std::as_bytes(std::span(data, size)), "fuzz");
    size_t text_bytes = 0;
    for (const auto& [key, value] : contents.metadata) {
      text_bytes += key.size();
      if (const auto* array = std::get_if<attune::GgufArray>(&value.value)) text_bytes += Texts(*array);
    }
    if (text_bytes > size) std::abort();  // views overlap or leave the file
    for (const attune::TensorView& tensor : contents.tensors) {
      if (!attune::CanDecode(tensor.dtype)) continue;
      const int64_t block = attune::LayoutOf(tensor.dtype).block_elements;
      const int64_t elements = std::min(*attune::ElementCount(tensor.shape), int64_t{4096}) / block * block;
      std::vector<float> values(static_cast<size_t>(elements));
      attune::DecodeBlocks(tensor.dtype, tensor.bytes.data(), elements, values.data());
    }
  } catch (const attune::Error&) {
  }
  return 0;
}
