// Packing: several examples share one sequence of at most max_length tokens, so that short examples do not
// cost a whole sequence each. The engine keeps their boundaries (attention, positions and loss respect them).
// Source: TRL's pack_dataset; the same bins in the same order, given the same order of examples.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace attune {

inline constexpr size_t kPackingBatch = 1000;  // examples packed together: datasets.map's default batch, as in TRL

enum class PackingStrategy {
  kBfd,       // best fit decreasing; what is longer than max_length is truncated
  kBfdSplit,  // the same, but what is longer is cut into several pieces
  kWrapped,   // concatenate everything and cut every max_length tokens, across examples
};

// Errors: Error{kBadInput} for another name than bfd, bfd_split, wrapped.
PackingStrategy ParsePackingStrategy(const std::string& name);

// Tokens [start, start + length) of one example.
struct PackedPiece {
  int64_t example = 0;
  int64_t start = 0;
  int64_t length = 0;
};

using PackedSequence = std::vector<PackedPiece>;  // at most max_length tokens together

// `lengths`: tokens of each example. max_length is 1 or more. Works through the examples kPackingBatch at a
// time, as TRL does, so that memory and time stay linear and the result does not depend on what follows.
std::vector<PackedSequence> Pack(std::span<const int64_t> lengths, int64_t max_length, PackingStrategy strategy);

}  // namespace attune
