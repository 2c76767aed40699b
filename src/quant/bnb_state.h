// The small JSON text that bitsandbytes keeps beside a 4-bit weight, in the U8 tensor
// X.weight.quant_state.bitsandbytes__nf4 (or __fp4): what the weight was before it was packed, and how it was
// packed. Source: bitsandbytes 0.50.2, functional.py, QuantState.as_dict and from_dict; utils.py,
// pack_dict_to_tensor.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/dtype.h"
#include "quant/bnb4.h"

namespace attune {

struct BnbQuantState {
  struct Nested {
    int64_t block_size = NestedScales::kBlockSize;
    double offset = 0;  // a float32, printed as Python prints it
    bool operator==(const Nested&) const = default;
  };

  Bnb4Type type = Bnb4Type::kNf4;
  int64_t block_size = 64;
  DType dtype = DType::kF32;     // F32, F16 or BF16: of the weight before it was packed
  std::vector<int64_t> shape;    // (out, in) for a linear weight; every size at least 1, the product fits 63 bits
  std::optional<Nested> nested;  // the scales are quantised too

  bool operator==(const BnbQuantState&) const = default;
};

// Reads the text. `where` names file and key in errors. Errors: Error{kBadInput}, one line with the JSON
// field: not JSON, a field missing, unknown, of the wrong type or out of range, only part of the nested
// fields.
BnbQuantState ParseBnbQuantState(std::string_view text, const std::string& where);

// The text, byte for byte as bitsandbytes writes it.
std::string BnbQuantStateText(const BnbQuantState& state);

// "float32", "float16", "bfloat16": torch's names. TorchDType gives nothing for another name.
std::string_view TorchName(DType dtype);
std::optional<DType> TorchDType(std::string_view name);

}  // namespace attune
