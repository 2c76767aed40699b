// Settings whose values are a few names.
#pragma once

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cstddef>
#include <string>

#include "base/error.h"

namespace attune {

// The place of `name` among `names`. Errors: Error{kBadInput} naming the flag and all names.
template <size_t n>
size_t PlaceOfName(const std::string& name, const char* const (&names)[n], const char* flag) {
  for (size_t i = 0; i < n; ++i) {
    if (name == names[i]) return i;
  }
  BadInput("{} {}: use {}", flag, name, fmt::join(names, ", "));
}

}  // namespace attune
