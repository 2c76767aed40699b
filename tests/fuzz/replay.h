// The fuzz targets that the replay program has, by name; made by CMake from the files fuzz_X.cc.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace attune {

using FuzzTarget = int (*)(const uint8_t* data, size_t size);

// Null where no target is called `name`.
FuzzTarget FindFuzzTarget(std::string_view name);

}  // namespace attune
