// Which rows make up which update: pure functions of (rows, seed, epoch), so that resuming needs no stored
// state. Source: accelerate's SeedableRandomSampler, transformers' LengthGroupedSampler and its grouping of
// micro-batches.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace attune {

// Row indices in the order of epoch `epoch` (from 0): torch.randperm(num_rows) from a generator seeded with
// seed + epoch, or 0 .. num_rows - 1 without shuffling.
std::vector<int64_t> EpochOrder(int64_t num_rows, uint64_t seed, int64_t epoch, bool shuffle);

// `permutation` grouped by length as transformers' get_length_grouped_indices does with the same permutation,
// so that a micro-batch holds rows of about one length: runs of up to 50 update batches (fewer where that
// would leave less than four runs), each sorted longest first (equals in their order), and the longest row of
// all moved to the front. `update_batch`: per_device_train_batch_size * gradient_accumulation_steps, 1 or
// more. `lengths` by row.
std::vector<int64_t> GroupByLength(std::vector<int64_t> permutation, std::span<const int64_t> lengths,
                                   int64_t update_batch);

// The order of epoch `epoch` with group_by_length: GroupByLength of torch.randperm from a generator seeded
// with seed + epoch. (transformers draws this permutation from torch's global generator, whose state nothing
// records: there the order is another one, and a resumed run has to replay it.)
std::vector<int64_t> EpochOrderByLength(std::span<const int64_t> lengths, int64_t update_batch, uint64_t seed,
                                        int64_t epoch);

using MicroBatch = std::vector<int64_t>;  // row indices
using Update = std::vector<MicroBatch>;   // what one optimiser step accumulates over

// Cuts an epoch's order into batches of per_device_train_batch_size (the last may be short, or is left out
// with drop_last) and those into groups of gradient_accumulation_steps (the last may be short). Both sizes
// are 1 or more.
std::vector<Update> EpochUpdates(std::span<const int64_t> order, int64_t per_device_train_batch_size,
                                 int64_t gradient_accumulation_steps, bool drop_last);

}  // namespace attune
