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
