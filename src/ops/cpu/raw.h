// The one place where a device address becomes a pointer.
#pragma once

#include "tensor/matrix.h"

namespace attune {

template <class T>
T* Raw(DeviceAddress address) {
  return reinterpret_cast<T*>(address.value);
}

template <class T>
T* Raw(const Matrix& matrix) {
  return reinterpret_cast<T*>(matrix.data.value);
}

// Row r of a matrix.
template <class T>
T* RawRow(const Matrix& matrix, int64_t r) {
  return reinterpret_cast<T*>(matrix.data.value) + r * matrix.stride;
}

}  // namespace attune
