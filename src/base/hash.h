// SHA-256, for records of what a run read and wrote.
#pragma once

#include <string>

namespace attune {

// Lower-case hex of a file's SHA-256. Errors: Error{kBadInput} when it cannot be read.
std::string Sha256OfFile(const std::string& path);

}  // namespace attune
