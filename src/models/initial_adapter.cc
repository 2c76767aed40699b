#include "models/initial_adapter.h"

#include <algorithm>
#include <cmath>
#include <mutex>
#include <numbers>
#include <numeric>

#include "base/error.h"
#include "base/threads.h"
#include "models/trained_files.h"
#include "quant/float16.h"
#include "quant/gguf_blocks.h"

namespace attune {
namespace {

using Kind = TrainableTensor::Kind;
using Init = LoraConfig::Init;

bool IsLowRank(const TrainableTensor& t) { return t.kind == Kind::kLoraA || t.kind == Kind::kLoraB; }

std::vector<float> ReadWeight(const ModelFiles& files, const std::string& module) {
  const StoredTensor& stored = *files.Find(module + ".weight");
  std::vector<float> values(static_cast<size_t>(stored.rows() * stored.columns()));
  files.ReadRows(stored, 0, stored.rows(), values.data());
  files.DropPages(stored);
  return values;
}

LowRankFactors FactorsOf(const AdapterModule& m, const std::vector<float>& w, const LoraConfig& config, uint64_t seed) {
  TorchGenerator generator(seed);
  const WeightView weight{w, m.out, m.in};
  switch (config.init_lora_weights) {
    case Init::kOlora:
      return OloraFactors(weight, m.rank);
    case Init::kOrthogonal:
      return OrthogonalFactors(m.out, m.in, m.rank, generator);
    default:
      break;
  }
  if (config.pissa_iterations == 0) return PissaFactors(weight, m.rank, m.scale);
  return PissaFactorsByIteration(weight, m.rank, m.scale, config.pissa_iterations, generator);
}

// w -= scale B A.
void Subtract(std::vector<float>& w, const AdapterModule& m, const LowRankFactors& f) {
  for (int64_t j = 0; j < m.out; ++j) {
    float* row = w.data() + j * m.in;
    for (int64_t r = 0; r < m.rank; ++r) {
      const float factor = m.scale * f.b[static_cast<size_t>(j * m.rank + r)];
      const float* a = f.a.data() + r * m.in;
      for (int64_t i = 0; i < m.in; ++i) row[i] -= factor * a[i];
    }
  }
}

// Room of a thread: a weight, and it in the format it is held in.
struct Room {
  std::vector<float> w;
  std::vector<std::byte> converted;
};

// Reads weights in device memory back as floats, some rows at a time.
class DecodeRoom {
 public:
  DecodeRoom(Device& device, const AdapterSpec& adapter) : device_(device) {
    for (const AdapterModule& m : adapter.modules) widest_ = std::max(widest_, m.in);
    values_ = device.Allocate(kRows * widest_ * 4, "rows of weights");
    ids_ = device.Allocate(kRows * 4, "rows of weights");
  }

  // w -= what `held` decodes to.
  void SubtractDecoded(const Matrix& held, std::vector<float>& w) const {
    std::vector<float> rows;
    for (int64_t first = 0; first < held.rows; first += kRows) {
      const int64_t count = std::min(kRows, held.rows - first);
      std::vector<int32_t> ids(static_cast<size_t>(count));
      std::iota(ids.begin(), ids.end(), static_cast<int32_t>(first));
      device_.Upload(ids_, ids.data(), count * 4);
      const Matrix out = DenseMatrix(values_, DType::kF32, count, held.cols);
      device_.Run(Embedding{out, held, DenseMatrix(ids_, DType::kI32, 1, count)});
      rows.resize(static_cast<size_t>(count * held.cols));
      device_.Download(rows.data(), values_, std::ssize(rows) * 4);
      for (size_t i = 0; i < rows.size(); ++i) w[static_cast<size_t>(first * held.cols) + i] -= rows[i];
    }
  }

 private:
  static constexpr int64_t kRows = 64;
  Device& device_;
  int64_t widest_ = 0;
  DeviceAddress values_, ids_;
};

// A tensor as Save writes it: A and B have twice the rank.
TrainableTensor Doubled(TrainableTensor t) {
  if (IsLowRank(t)) t.rows *= 2;
  return t;
}

std::vector<TrainableTensor> Doubled(std::vector<TrainableTensor> tensors) {
  for (TrainableTensor& t : tensors) t = Doubled(t);
  return tensors;
}

// Rows of `first` and `second` in turn, `columns` and as many of each: [B, -B0] from its halves.
std::vector<float> SideBySide(const std::vector<float>& first, const std::vector<float>& second, int64_t columns) {
  std::vector<float> joined;
  for (size_t at = 0; at < first.size(); at += static_cast<size_t>(columns)) {
    joined.insert(joined.end(), first.begin() + static_cast<int64_t>(at),
                  first.begin() + static_cast<int64_t>(at) + columns);
    joined.insert(joined.end(), second.begin() + static_cast<int64_t>(at),
                  second.begin() + static_cast<int64_t>(at) + columns);
  }
  return joined;
}

// The half of a doubled tensor in the layout of the files: of A its upper rows, of B its left columns; or the other
// one.
std::vector<float> Half(const TrainableTensor& t, const std::vector<float>& whole, bool second) {
  const size_t half = whole.size() / 2;
  if (t.kind == Kind::kLoraA) {
    const auto begin = whole.begin() + (second ? static_cast<int64_t>(half) : 0);
    return {begin, begin + static_cast<int64_t>(half)};
  }
  std::vector<float> values;
  for (size_t at = second ? static_cast<size_t>(t.rows) : 0; at < whole.size(); at += static_cast<size_t>(2 * t.rows)) {
    values.insert(values.end(), whole.begin() + static_cast<int64_t>(at),
                  whole.begin() + static_cast<int64_t>(at) + t.rows);
  }
  return values;
}

}  // namespace

InitialAdapter InitialAdapter::FromWeights(const ModelFiles& files, const AdapterSpec& adapter,
                                           const LoraConfig& config, uint64_t seed, int threads) {
  InitialAdapter initial;
  for (const AdapterModule& m : adapter.modules) initial.modules_.push_back(m.path);
  initial.factors_.resize(initial.modules_.size());
  // A seed for each module, so that it draws the same values in any number of threads.
  InThreads<Room>(threads, initial.modules_.size(), [&](size_t i, Room& room) {
    if (config.init_lora_weights != Init::kOrthogonal) room.w = ReadWeight(files, initial.modules_[i]);
    initial.factors_[i] = FactorsOf(adapter.modules[i], room.w, config, seed + i);
  });
  return initial;
}

InitialAdapter InitialAdapter::FromResidual(Device& device, const ModelWeights& weights, const ModelFiles& files,
                                            const AdapterSpec& adapter) {
  InitialAdapter initial;
  for (const AdapterModule& m : adapter.modules) initial.modules_.push_back(m.path);
  initial.factors_.resize(initial.modules_.size());
  const DecodeRoom decoder(device, adapter);
  std::mutex mutex;
  InThreads<Room>(device.threads(), initial.modules_.size(), [&](size_t i, Room& room) {
    const AdapterModule& m = adapter.modules[i];
    room.w = ReadWeight(files, m.path);
    {
      const std::lock_guard lock(mutex);  // the device runs one op at a time
      decoder.SubtractDecoded(weights.Find(m.path + ".weight"), room.w);
    }
    initial.factors_[i] = PissaFactors({room.w, m.out, m.in}, m.rank, m.scale);
  });
  return initial;
}

InitialAdapter InitialAdapter::FromFile(const AdapterSpec& adapter, const std::vector<TrainableTensor>& tensors,
                                        const std::string& path) {
  const SafetensorsFile file = OpenTrainedFile(Doubled(tensors), path);
  InitialAdapter initial;
  for (const AdapterModule& m : adapter.modules) {
    LowRankFactors factors;
    for (const TrainableTensor& t : tensors) {
      if (t.module != m.path || !IsLowRank(t)) continue;
      std::vector<float> half = Half(t, ReadTrainedValues({Doubled(t)}, file).front(), true);
      if (t.kind == Kind::kLoraB) {
        for (float& value : half) value = -value;
      }
      (t.kind == Kind::kLoraA ? factors.a : factors.b) = std::move(half);
    }
    initial.modules_.push_back(m.path);
    initial.factors_.push_back(std::move(factors));
  }
  return initial;
}

void InitialAdapter::SubtractFrom(Device& device, const ModelWeights& weights, const ModelFiles& files,
                                  const AdapterSpec& adapter) const {
  InThreads<Room>(device.threads(), modules_.size(), [&](size_t i, Room& room) {
    room.w = ReadWeight(files, modules_[i]);
    Subtract(room.w, adapter.modules[i], factors_[i]);
    weights.Replace(device, modules_[i] + ".weight", room.w, room.converted);
  });
}

const LowRankFactors* InitialAdapter::Find(const std::string& module) const {
  const auto found = std::find(modules_.begin(), modules_.end(), module);
  return found == modules_.end() ? nullptr : &factors_[static_cast<size_t>(found - modules_.begin())];
}

void InitialAdapter::Upload(Device& device, const TrainableVectors& vectors,
                            const std::vector<TrainableTensor>& tensors) const {
  for (const TrainableTensor& t : tensors) {
    if (IsLowRank(t))
      UploadTrained(device, vectors.value(), t, t.kind == Kind::kLoraA ? Find(t.module)->a : Find(t.module)->b);
  }
}

std::vector<float> InitialAdapter::Converted(const TrainableTensor& t, std::vector<float> values) const {
  if (t.kind == Kind::kLoraA) {
    const std::vector<float>& first = Find(t.module)->a;
    values.insert(values.end(), first.begin(), first.end());
  } else if (t.kind == Kind::kLoraB) {
    std::vector<float> negated = Find(t.module)->b;
    for (float& value : negated) value = -value;
    values = SideBySide(values, negated, t.rows);
  }
  return values;
}

void InitialAdapter::Save(Device& device, const TrainableVectors& vectors, const std::vector<TrainableTensor>& tensors,
                          const std::string& path) const {
  std::vector<TensorDeclaration> declarations;
  for (const TrainableTensor& t : Doubled(tensors)) declarations.push_back({t.key, DType::kF32, FileShape(t)});
  SafetensorsWriter writer(path, declarations);
  for (const TensorDeclaration& declared : writer.order()) {
    const TrainableTensor& t =
        *std::find_if(tensors.begin(), tensors.end(), [&](const auto& x) { return x.key == declared.name; });
    const std::vector<float> values = Converted(t, DownloadTrained(device, vectors.value(), t));
    writer.Write(t.key, std::as_bytes(std::span(values)));
  }
  writer.Commit();
}

void InitialAdapter::Load(Device& device, const TrainableVectors& vectors, const std::vector<TrainableTensor>& tensors,
                          const std::string& path) {
  const SafetensorsFile file = OpenTrainedFile(Doubled(tensors), path);
  for (const TrainableTensor& t : tensors) {
    std::vector<float> values = ReadTrainedValues({Doubled(t)}, file).front();
    UploadTrained(device, vectors.value(), t, IsLowRank(t) ? Half(t, values, false) : std::move(values));
  }
}

LoraConfig ConvertedConfig(LoraConfig config) {
  const double alpha = config.use_rslora ? std::numbers::sqrt2 : 2.0;  // keeps alpha / r, or alpha / sqrt(r)
  config.r *= 2;
  config.lora_alpha *= alpha;
  for (auto& [pattern, rank] : config.rank_pattern) rank *= 2;
  for (auto& [pattern, value] : config.alpha_pattern) value *= alpha;
  config.init_lora_weights = Init::kDefault;
  config.pissa_iterations = 0;
  return config;
}

int64_t InitialAdapterBytes(const AdapterSpec& adapter) {
  if (!adapter.changes_base) return 0;
  int64_t bytes = 0;
  for (const AdapterModule& m : adapter.modules) bytes += m.rank * (m.in + m.out) * 4;
  return bytes;
}

}  // namespace attune
