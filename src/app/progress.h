// How far long work is, for whoever shows it.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

namespace attune {

// What is being done, as "base: answers", and how much of it is done. May be empty.
using OnProgress = std::function<void(const std::string& what, int64_t done, int64_t total)>;

}  // namespace attune
