// PyTorch's CPU random numbers, draw for draw, so that an adapter starts from the values and a data set is
// walked in the order that a PEFT/TRL run with the same seed would use. Source: ATen's CPUGeneratorImpl,
// DistributionsHelper and DistributionTemplates (mt19937, Box-Muller).
#pragma once

#include <cstdint>
#include <optional>
#include <random>
#include <span>
#include <vector>

namespace attune {

// torch.Generator("cpu").manual_seed(seed). Not thread-safe; copy it to fork the stream.
class TorchGenerator {
 public:
  explicit TorchGenerator(uint64_t seed) : engine_(static_cast<uint32_t>(seed)) {}

  // torch.rand in float32 and float64: uniform on [0, 1).
  float Uniform() { return static_cast<float>(Random() & 0xFFFFFF) * 0x1p-24f; }
  double UniformDouble() { return static_cast<double>(Random64() & ((1ULL << 53) - 1)) * 0x1p-53; }

  // tensor.uniform_(low, high) of a float32 tensor.
  void FillUniform(std::span<float> out, float low, float high);

  // torch.randn of a contiguous float32 tensor of out.size() elements. Tensors of 16 elements or more take
  // another path than smaller ones and do not share the value that Box-Muller leaves over. Equal to torch
  // within 1e-6.
  void FillNormal(std::span<float> out);

  // torch.randint(low, high): one draw from [low, high); needs low < high and high - low < 2^28.
  int64_t Integer(int64_t low, int64_t high);

  // torch.randperm(n), n < 2^32 / 20.
  std::vector<int64_t> Permutation(int64_t n);

  // tensor.bernoulli_(p): true with probability p.
  bool Bernoulli(double p) { return UniformDouble() < p; }

  // nn.init.kaiming_uniform_(w, a=sqrt(5)) of a (rows, fan_in) weight: U(-1/sqrt(fan_in), 1/sqrt(fan_in)).
  // It is what nn.Linear and a LoRA A matrix start from. Equal to torch within 1 ulp.
  void FillKaimingUniform(std::span<float> out, int64_t fan_in);

 private:
  uint32_t Random() { return engine_(); }
  uint64_t Random64();
  double Normal();

  std::mt19937 engine_;
  std::optional<double> spare_normal_;
};

}  // namespace attune
