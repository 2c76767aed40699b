#include "train/eva.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <optional>

#include "base/error.h"
#include "base/threads.h"
#include "models/decoder.h"
#include "models/weights.h"

namespace attune {
namespace {

// Projections of a block that read the same input share its components: the slot of the first of them.
constexpr int kInputOf[7] = {0, 0, 0, 3, 4, 4, 6};
using InputKey = std::pair<int64_t, int>;  // layer, slot

InputKey InputOf(const AdapterModule& m) {
  constexpr std::string_view kPrefix = "model.layers.";
  const int64_t layer = std::stoll(m.path.substr(kPrefix.size()));
  for (int slot = 0; slot < 7; ++slot) {
    if (m.path.ends_with(kProjections[slot])) return {layer, kInputOf[slot]};
  }
  BadInput("lora.init_lora_weights \"eva\" is for the projections of blocks: leave {} out of target_modules", m.path);
}

// What is known of one input, and the rows of it that are to come in.
struct Input {
  IncrementalPca pca;
  std::vector<float> rows;
  int64_t still = 0;  // so many components have been found
};

class Components {
 public:
  explicit Components(const EvaInputs& in) : in_(in) {
    for (const AdapterModule& m : in.adapter.modules) {
      budget_ += m.rank;
      most_ = std::max(most_, static_cast<int64_t>(std::llround(static_cast<double>(m.rank) * in.config.eva.rho)));
    }
    for (const AdapterModule& m : in.adapter.modules)
      inputs_.try_emplace(InputOf(m), Input{IncrementalPca(m.in, most_), {}, 0});
    ranks_.assign(in.adapter.modules.size(), most_);
  }

  // Whether more rows of this input are of use: a rank exceeds what has been found.
  bool Wants(const InputKey& key) const {
    if (!inputs_.contains(key)) return false;
    const Input& input = inputs_.at(key);
    for (size_t i = 0; i < ranks_.size(); ++i) {
      if (InputOf(in_.adapter.modules[i]) == key && ranks_[i] > input.still) return true;
    }
    return !IsKnown(input);
  }

  void Take(const InputKey& key, std::vector<float> rows) { inputs_.at(key).rows = std::move(rows); }

  // Decomposes what has been taken, inputs side by side.
  void Decompose(int threads) {
    std::vector<Input*> waiting;
    for (auto& [key, input] : inputs_) {
      if (!input.rows.empty()) waiting.push_back(&input);
    }
    struct NoRoom {};
    InThreads<NoRoom>(threads, waiting.size(), [&](size_t i, NoRoom&) {
      Input& input = *waiting[i];
      if (input.pca.Add(input.rows)) input.still = input.pca.CountStill(in_.config.eva.tau);
      input.rows = {};
    });
  }

  // Shares ranks out by module: to the components that explain most of their inputs, over all modules, as many as have
  // been asked for. Gives whether all of these have been found.
  bool ShareRanks() {
    std::vector<std::pair<double, size_t>> candidates;
    for (size_t i = 0; i < ranks_.size(); ++i) {
      for (const double share : PcaOf(i).explained()) candidates.emplace_back(share, i);
    }
    std::stable_sort(candidates.begin(), candidates.end(),
                     [](const auto& a, const auto& b) { return a.first > b.first; });
    ranks_.assign(ranks_.size(), 0);
    for (size_t i = 0; i < std::min(candidates.size(), static_cast<size_t>(budget_)); ++i)
      ranks_[candidates[i].second] += 1;
    return std::none_of(inputs_.begin(), inputs_.end(), [&](const auto& entry) { return Wants(entry.first); });
  }

  // Whether every input has been decomposed: a batch had rows enough.
  bool IsKnown() const {
    return std::all_of(inputs_.begin(), inputs_.end(), [](const auto& entry) { return IsKnown(entry.second); });
  }

  const std::vector<int64_t>& ranks() const { return ranks_; }
  const IncrementalPca& PcaOf(size_t module) const { return inputs_.at(InputOf(in_.adapter.modules[module])).pca; }
  int64_t most() const { return most_; }

 private:
  static bool IsKnown(const Input& input) { return !input.pca.explained().empty(); }

  const EvaInputs& in_;
  int64_t budget_ = 0, most_ = 0;
  std::map<InputKey, Input> inputs_;
  std::vector<int64_t> ranks_;
};

// The base forward, with what its layers read handed out as f32.
class Forward {
 public:
  explicit Forward(const EvaInputs& in)
      : in_(in), device_(MakeCpuDevice({})), weights_(*device_, in.files, AdapterSpec{}, in.storage) {
    const ModelSpec& spec = in.files.spec();
    const std::vector<RowShape> shapes = ShapesOf(in.examples);
    ChunkLimits limits;
    for (const Chunk& chunk : in.chunks) limits.Include(chunk, shapes);
    DecoderSettings settings;
    settings.compute = in.storage.compute();
    settings.policy = KeepPolicy::kNothing;
    settings.max_tokens = limits.tokens;
    settings.max_sequences = limits.sequences;
    settings.max_length = limits.length;
    settings.max_labelled = limits.labelled;
    decoder_.emplace(*device_, spec, weights_, AdapterSpec{}, std::vector<TrainableTensor>{}, nullptr, settings);
    widest_ = std::max({spec.hidden_size, spec.intermediate_size, spec.num_attention_heads * spec.head_dim});
    room_ = device_->Allocate(limits.tokens * widest_ * 4, "inputs of layers");
  }

  // Adds the inputs of a chunk's trained tokens, or of all; gives how many those were.
  int64_t AddTo(const Chunk& chunk, Components& components) {
    PackedBatch batch;
    std::vector<int64_t> wanted;
    for (const int64_t row : chunk) {
      const Example& example = in_.examples[static_cast<size_t>(row)];
      for (size_t t = 0; t < example.labels.size(); ++t) {
        if (!in_.config.eva.use_label_mask || example.labels[t] != kIgnoredLabel) {
          wanted.push_back(batch.tokens() + static_cast<int64_t>(t));
        }
      }
      AppendExample(example, &batch);
    }
    if (wanted.empty()) return 0;
    decoder_->ObserveInputs(batch, [&](int64_t layer, int slot, const Matrix& x) {
      if (components.Wants({layer, slot})) components.Take({layer, slot}, Rows(x, wanted));
      if (slot == 6) components.Decompose(device_->threads());  // a block at a time: its inputs are held together
    });
    return std::ssize(wanted);
  }

 private:
  std::vector<float> Rows(const Matrix& x, const std::vector<int64_t>& wanted) {
    const Matrix f32 = DenseMatrix(room_, DType::kF32, x.rows, x.cols);
    device_->Run(Copy{f32, x, {}});
    std::vector<float> rows(wanted.size() * static_cast<size_t>(x.cols));
    for (size_t i = 0; i < wanted.size(); ++i) {
      device_->Download(rows.data() + static_cast<int64_t>(i) * x.cols, f32.Rows(wanted[i], 1).data, x.cols * 4);
    }
    return rows;
  }

  const EvaInputs& in_;
  std::unique_ptr<Device> device_;
  ModelWeights weights_;
  std::optional<Decoder> decoder_;
  int64_t widest_ = 0;
  DeviceAddress room_;
};

EvaStart StartFrom(const EvaInputs& in, const Components& components) {
  EvaStart start;
  start.config = in.config;
  start.config.rank_pattern.clear();
  start.config.alpha_pattern.clear();
  std::vector<std::string> targets;
  std::vector<LowRankFactors> factors;
  const std::vector<int64_t>& ranks = components.ranks();
  for (size_t i = 0; i < ranks.size(); ++i) {
    const AdapterModule& m = in.adapter.modules[i];
    if (ranks[i] == 0) continue;  // nothing to explain here that is not explained better elsewhere
    targets.push_back(m.path);
    start.config.rank_pattern.emplace_back(m.path, ranks[i]);
    // Scale stays what it was for the rank asked for.
    const double rank = static_cast<double>(ranks[i]);
    const double alpha = static_cast<double>(m.scale) * (in.config.use_rslora ? std::sqrt(rank) : rank);
    if (in.config.eva.adjust_scaling_factors) start.config.alpha_pattern.emplace_back(m.path, alpha);
    const std::vector<double>& found = components.PcaOf(i).components();
    LowRankFactors f;
    f.a.assign(found.begin(), found.begin() + ranks[i] * m.in);
    f.b.assign(static_cast<size_t>(m.out * ranks[i]), 0.0f);
    factors.push_back(std::move(f));
  }
  start.adapter = InitialAdapter(targets, std::move(factors));
  start.config.target_modules = std::move(targets);
  return start;
}

}  // namespace

EvaStart FindEvaStart(const EvaInputs& in) {
  Components components(in);
  Forward forward(in);
  int64_t tokens = 0;
  bool converged = false;
  for (const Chunk& chunk : in.chunks) {
    tokens += forward.AddTo(chunk, components);
    converged = components.ShareRanks();
    if (converged) break;
  }
  if (!components.IsKnown()) {
    BadInput(
        "lora.init_lora_weights \"eva\": no batch holds {} trained tokens, as many as there are components (r x rho): "
        "raise per_device_train_batch_size and tokens_in_flight, or lower r",
        components.most());
  }
  EvaStart start = StartFrom(in, components);
  start.tokens = tokens;
  start.converged = converged;
  return start;
}

}  // namespace attune
