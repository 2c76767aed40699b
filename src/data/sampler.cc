#include "data/sampler.h"

#include <algorithm>
#include <numeric>

#include "base/torch_random.h"

namespace attune {

std::vector<int64_t> EpochOrder(int64_t num_rows, uint64_t seed, int64_t epoch, bool shuffle) {
  if (shuffle) return TorchGenerator(seed + static_cast<uint64_t>(epoch)).Permutation(num_rows);
  std::vector<int64_t> order(num_rows);
  std::iota(order.begin(), order.end(), 0);
  return order;
}

std::vector<int64_t> GroupByLength(std::vector<int64_t> permutation, std::span<const int64_t> lengths,
                                   int64_t update_batch) {
  if (permutation.empty()) return permutation;
  const int64_t n = std::ssize(permutation);
  // In batches before tokens: update_batch may be huge, and a run never needs to be longer than all rows.
  const int64_t batches = std::clamp<int64_t>(n / update_batch / 4, 1, 50);
  const int64_t run = std::min(n, update_batch) * batches;
  const auto length = [&](int64_t row) { return lengths[static_cast<size_t>(row)]; };
  int64_t longest = 0;  // where the run with the longest row starts
  for (int64_t first = 0; first < n; first += run) {
    const auto begin = permutation.begin() + first, end = permutation.begin() + std::min(n, first + run);
    std::stable_sort(begin, end, [&](int64_t a, int64_t b) { return length(a) > length(b); });
    if (length(*begin) > length(permutation[static_cast<size_t>(longest)])) longest = first;
  }
  std::swap(permutation.front(), permutation[static_cast<size_t>(longest)]);
  return permutation;
}

std::vector<int64_t> EpochOrderByLength(std::span<const int64_t> lengths, int64_t update_batch, uint64_t seed,
                                        int64_t epoch) {
  return GroupByLength(EpochOrder(std::ssize(lengths), seed, epoch, true), lengths, update_batch);
}

std::vector<Update> EpochUpdates(std::span<const int64_t> order, int64_t per_device_train_batch_size,
                                 int64_t gradient_accumulation_steps, bool drop_last) {
  const size_t batch = per_device_train_batch_size, group = gradient_accumulation_steps;
  std::vector<Update> updates;
  for (size_t i = 0; i < order.size(); i += batch) {
    const auto rows = order.subspan(i, std::min(batch, order.size() - i));
    if (drop_last && rows.size() < batch) break;
    if (updates.empty() || updates.back().size() == group) updates.emplace_back();
    updates.back().emplace_back(rows.begin(), rows.end());
  }
  return updates;
}

}  // namespace attune
