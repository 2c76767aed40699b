// Digests: SHA-256 for records of what a run read and wrote, XXH3 to find damage and changes.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace attune {

// Lower-case hex of a file's SHA-256. Errors: Error{kBadInput} when it cannot be read.
std::string Sha256OfFile(const std::string& path);
std::string Sha256OfText(std::string_view text);

// The 128-bit XXH3 (seed 0) of bytes that come in pieces: many times faster, and no guard against somebody who means to
// deceive.
class Xxh3 {
 public:
  Xxh3();
  ~Xxh3();
  void Add(std::span<const std::byte> bytes);
  std::string Hex() const;  // lower case, as xxhsum -H2 prints it

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// Of a file. Errors: Error{kBadInput} when it cannot be read.
std::string Xxh3OfFile(const std::string& path);

}  // namespace attune
