#include "base/torch_random.h"

#include <cmath>
#include <numbers>
#include <numeric>
#include <utility>

namespace attune {
namespace {

// Turns 16 uniform numbers into 16 normal ones: u[j] gives the radius, u[j + 8] the angle.
void BoxMuller16(float* u) {
  for (int j = 0; j < 8; ++j) {
    const float radius = std::sqrt(-2.0f * std::log(1.0f - u[j]));
    const float angle = 2.0f * std::numbers::pi_v<float> * u[j + 8];
    u[j] = radius * std::cos(angle);
    u[j + 8] = radius * std::sin(angle);
  }
}

}  // namespace

uint64_t TorchGenerator::Random64() {
  const uint64_t high = Random();
  return high << 32 | Random();
}

void TorchGenerator::FillUniform(std::span<float> out, float low, float high) {
  for (float& x : out) x = std::fma(Uniform(), high - low, low);  // one rounding, as torch's AVX2 kernels do
}

double TorchGenerator::Normal() {
  if (spare_normal_) return *std::exchange(spare_normal_, std::nullopt);
  const double u1 = UniformDouble();
  const double u2 = UniformDouble();
  const double radius = std::sqrt(-2.0 * std::log1p(-u2));
  const double angle = 2.0 * std::numbers::pi * u1;
  spare_normal_ = radius * std::sin(angle);
  return radius * std::cos(angle);
}

void TorchGenerator::FillNormal(std::span<float> out) {
  if (out.size() < 16) {
    for (float& x : out) x = static_cast<float>(Normal());
    return;
  }
  for (float& x : out) x = Uniform();
  for (size_t i = 0; i + 16 <= out.size(); i += 16) BoxMuller16(&out[i]);
  if (out.size() % 16 == 0) return;
  // A ragged end is drawn anew as one last block of 16, overlapping what came before.
  const std::span<float> tail = out.last(16);
  for (float& x : tail) x = Uniform();
  BoxMuller16(tail.data());
}

int64_t TorchGenerator::Integer(int64_t low, int64_t high) {
  return low + static_cast<int64_t>(Random() % static_cast<uint64_t>(high - low));
}

std::vector<int64_t> TorchGenerator::Permutation(int64_t n) {
  std::vector<int64_t> order(n);
  std::iota(order.begin(), order.end(), 0);
  for (int64_t i = 0; i + 1 < n; ++i) {
    std::swap(order[i], order[i + static_cast<int64_t>(Random() % static_cast<uint64_t>(n - i))]);
  }
  return order;
}

void TorchGenerator::FillKaimingUniform(std::span<float> out, int64_t fan_in) {
  // As torch computes it, in doubles: sqrt(3) * gain / sqrt(fan_in) with gain = sqrt(2 / (1 + a^2)).
  const double gain = std::sqrt(2.0 / (1.0 + std::sqrt(5.0) * std::sqrt(5.0)));
  const double bound = std::sqrt(3.0) * (gain / std::sqrt(static_cast<double>(fan_in)));
  FillUniform(out, static_cast<float>(-bound), static_cast<float>(bound));
}

}  // namespace attune
