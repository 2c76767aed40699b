// Which rows make up which update: pure functions of (rows, seed, epoch), so that resuming needs no stored
// state. Source: accelerate's SeedableRandomSampler and transformers' grouping of micro-batches.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace attune {

// Row indices in the order of epoch `epoch` (from 0): torch.randperm(num_rows) from a generator seeded with
// seed + epoch, or 0 .. num_rows - 1 without shuffling.
std::vector<int64_t> EpochOrder(int64_t num_rows, uint64_t seed, int64_t epoch, bool shuffle);

using MicroBatch = std::vector<int64_t>;  // row indices
using Update = std::vector<MicroBatch>;   // what one optimiser step accumulates over

// Cuts an epoch's order into batches of per_device_train_batch_size (the last may be short, or is left out
// with drop_last) and those into groups of gradient_accumulation_steps (the last may be short). Both sizes
// are 1 or more.
std::vector<Update> EpochUpdates(std::span<const int64_t> order, int64_t per_device_train_batch_size,
                                 int64_t gradient_accumulation_steps, bool drop_last);

}  // namespace attune
