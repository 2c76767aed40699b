// "Did you mean": the known name closest to a mistyped one, for error texts.
#pragma once

#include <span>
#include <string>
#include <string_view>

namespace attune {

// The entry of `known` with the least edit distance to `word`, or "" when nothing is near (more than half of the
// longer of the two would have to change).
std::string NearestName(std::string_view word, std::span<const std::string> known);

}  // namespace attune
