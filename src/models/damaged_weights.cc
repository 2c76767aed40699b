#include "models/damaged_weights.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/error.h"
#include "base/threads.h"

namespace attune {
namespace {

bool HoldsNonFinite(const ModelFiles& files, const StoredTensor& tensor, std::vector<float>& room) {
  constexpr int64_t kPiece = int64_t{1} << 20;  // elements decoded at a time
  const int64_t step = std::max<int64_t>(1, kPiece / tensor.columns());
  bool found = false;
  for (int64_t first = 0; first < tensor.rows() && !found; first += step) {
    const int64_t rows = std::min(step, tensor.rows() - first);
    room.resize(static_cast<size_t>(rows * tensor.columns()));
    files.ReadRows(tensor, first, rows, room.data());
    found = !AllFinite(room);
  }
  files.DropPages(tensor);
  return found;
}

}  // namespace

// What is infinite or no number has an exponent of nothing but ones.
bool AllFinite(std::span<const std::byte> values, DType dtype) {
  const auto all = [&](auto exponent) {
    for (size_t at = 0; at < values.size(); at += sizeof exponent) {
      auto bits = exponent;
      std::memcpy(&bits, values.data() + at, sizeof bits);
      if ((bits & exponent) == exponent) return false;
    }
    return true;
  };
  if (dtype == DType::kF32) return all(uint32_t{0x7F800000});
  return all(dtype == DType::kBF16 ? uint16_t{0x7F80} : uint16_t{0x7C00});
}

bool AllFinite(std::span<const float> values) {
  return std::all_of(values.begin(), values.end(), [](float value) { return std::isfinite(value); });
}

std::string FirstNonFiniteWeight(const ModelFiles& files, int64_t threads) {
  const std::vector<ExpectedTensor> tensors = ExpectedTensors(files.spec());
  std::vector<char> damaged(tensors.size());  // of one byte each, so that threads write apart
  InThreads<std::vector<float>>(threads, tensors.size(), [&](size_t i, std::vector<float>& room) {
    const StoredTensor* stored = files.Find(tensors[i].name);
    damaged[i] = stored != nullptr && HoldsNonFinite(files, *stored, room);
  });
  const auto first = std::find(damaged.begin(), damaged.end(), 1);
  return first == damaged.end() ? "" : tensors[static_cast<size_t>(first - damaged.begin())].name;
}

void RefuseNonFinite(const std::string& path, const std::string& what) {
  BadInput("{}: {} is not finite: the weights of the model or of its adapter are damaged", path, what);
}

}  // namespace attune
