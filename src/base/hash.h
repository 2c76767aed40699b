// Digests of files: SHA-256 for records of what a run read and wrote, XXH3 to find damage.
#pragma once

#include <string>
#include <string_view>

namespace attune {

// Lower-case hex of a file's SHA-256. Errors: Error{kBadInput} when it cannot be read.
std::string Sha256OfFile(const std::string& path);
std::string Sha256OfText(std::string_view text);

// Lower-case hex of a file's 128-bit XXH3 (seed 0, as xxhsum -H2 prints it): many times faster, and no guard
// against somebody who means to deceive. Errors: Error{kBadInput} when it cannot be read.
std::string Xxh3OfFile(const std::string& path);

}  // namespace attune
