// From a dtype known at run time to the C++ type a kernel is compiled for: float, or uint16_t for bf16.
#pragma once

#include <cstdint>

#include "base/error.h"
#include "tensor/matrix.h"

namespace attune {

template <class Body>
void WithComputeType(DType type, const Body& body) {
  if (type == DType::kBF16) {
    body(uint16_t{});
  } else if (type == DType::kF32) {
    body(float{});
  } else {
    Failed("the CPU kernels compute in F32 or BF16, not {}", NameOf(type));
  }
}

}  // namespace attune
