// 4-bit weights of a checkpoint: whatever the bytes, either a weight whose every row can be decoded, or one
// Error. Input that is no safetensors file is read as the JSON of a quant_state, which must print and parse
// to itself.
#include <algorithm>
#include <cstdlib>
#include <span>
#include <string>
#include <vector>

#include "base/error.h"
#include "formats/safetensors.h"
#include "quant/bnb_checkpoint.h"

namespace {

void DecodeAll(const attune::SafetensorsHeader& header) {
  const attune::FindTensor find = [&](std::string_view name) -> const attune::TensorView* {
    const auto found = std::find_if(header.tensors.begin(), header.tensors.end(),
                                    [&](const attune::TensorView& tensor) { return tensor.name == name; });
    return found == header.tensors.end() ? nullptr : &*found;
  };
  for (const attune::TensorView& tensor : header.tensors) {
    try {
      const auto weight = attune::FindBnb4Weight(find, tensor.name, "fuzz");
      if (!weight) continue;
      std::vector<float> row(static_cast<size_t>(weight->columns()));
      std::vector<uint16_t> row16(row.size());
      for (int64_t i = 0; i < weight->rows(); ++i) weight->DecodeRows(i, 1, row.data());
      weight->DecodeRows(weight->rows() - 1, 1, row16.data());
    } catch (const attune::Error&) {
    }
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    DecodeAll(attune::ParseSafetensors(std::as_bytes(std::span(data, size)), "fuzz"));
    return 0;
  } catch (const attune::Error&) {
  }
  try {
    const std::string_view text(reinterpret_cast<const char*>(data), size);
    const attune::BnbQuantState state = attune::ParseBnbQuantState(text, "fuzz");
    if (attune::ParseBnbQuantState(attune::BnbQuantStateText(state), "fuzz") != state) std::abort();
  } catch (const attune::Error&) {
  }
  return 0;
}
