#include "app/method_plan.h"

#include <algorithm>

#include "base/error.h"
#include "models/adapter_model.h"
#include "models/decoder.h"
#include "models/quantized_layers.h"
#include "quant/bnb_state.h"

namespace attune {
namespace {

// The adapter of a run on this model.
AdapterSpec LoraSpec(const RunConfig& config, const PlannedModel& model) {
  LoraConfig lora = config.lora;
  if (LacksTargets(config, model)) lora.target_modules = std::string("all-linear");
  lora = ResolveTargets(lora, DecoderModules(model.spec), model.spec.model_type);
  AdapterSpec spec = BuildAdapterSpec(model.spec, lora, "lora");
  // Above the dimension of one layer it is waste (small keys and values under a rank that others need); above that of
  // all of them nothing is low about it.
  const auto is_low = [](const AdapterModule& m) { return m.rank <= std::min(m.in, m.out); };
  if (!spec.modules.empty() && std::none_of(spec.modules.begin(), spec.modules.end(), is_low)) {
    const AdapterModule& m = spec.modules.front();
    BadInput("lora.r: {} is above the dimension of every adapted layer ({}: {} x {})", m.rank, m.path, m.out, m.in);
  }
  return spec;
}

constexpr int64_t kShortestContext = 256;  // below it there is little left to learn from

const std::vector<Example>& NoRows() {
  static const std::vector<Example> none;
  return none;
}

}  // namespace

bool LacksTargets(const RunConfig& config, const PlannedModel& model) {
  return std::holds_alternative<std::monostate>(config.lora.target_modules) &&
         (!model.lacking.empty() || !HasDefaultTargets(model.spec.model_type));
}

ChunkLimits FullRows(int64_t rows, int64_t length) {
  ChunkLimits limits;
  limits.tokens = rows * length;
  limits.sequences = rows;
  limits.length = length;
  limits.labelled = std::max<int64_t>(1, rows * (length - 1));
  return limits;
}

BaseStorage StorageOf(const std::string& method, const PlannedModel& model, const ModelFiles* files,
                      const RunConfig& config, DType compute) {
  const bool is_qlora = method == "qlora";
  if (files != nullptr) return {*files, compute, {is_qlora, config.quantization, config.offload, config.torch_dtype}};
  const BnbConfig quantization = config.quantization.value_or(QloraQuantization());
  const DType stored = TorchDType(model.spec.torch_dtype).value_or(DType::kBF16);
  const DType smaller = BytesOf(stored, 1) < BytesOf(compute, 1) ? stored : compute;
  return {model.spec, compute, config.torch_dtype.value_or(smaller), is_qlora ? &quantization : nullptr};
}

MethodMemory::MethodMemory(const std::string& method, const PlannedModel& model, const RunConfig& config,
                           const PlanDevice& device, int64_t devices, int64_t program_bytes, const BaseStorage& storage)
    : method_(method),
      model_(model),
      device_(device),
      devices_(devices),
      program_bytes_(program_bytes),
      storage_(storage) {
  adapter_ = method == "full" ? BuildFullSpec(model.spec, config.full, "full") : LoraSpec(config, model);
  trainables_ = AdapterTrainables(adapter_);
  for (const TrainableTensor& t : trainables_) trainable_parameters_ += t.rows * t.cols;
  if (method == "full") trainable_parameters_ += model.other_parameters;
}

PlanInputs MethodMemory::Inputs(const TrainingArguments& arguments) const {
  return {model_.spec, adapter_, trainables_,           arguments,     false, NoRows(),
          nullptr,     storage_, device_.scratch_bytes, program_bytes_};
}

std::vector<MemoryRow> MethodMemory::Table(const TrainingArguments& arguments, const ChunkLimits& limits) const {
  if (standing_.empty() || optim_ != arguments.optim) {
    standing_ = Standing(arguments);
    optim_ = arguments.optim;
  }
  std::vector<MemoryRow> rows = standing_;
  AddStepMemory(Inputs(arguments), SettingsFor(arguments, device_.compute, limits), &rows);
  if (!device_.is_this_machine) rows.back() = {"driver and libraries", device_.runtime_bytes};
  return rows;
}

// Weights, gradients and states, shared among the devices. Experts at rest and the like are frozen in the compute type,
// or trained with everything that a trained weight has.
std::vector<MemoryRow> MethodMemory::Standing(const TrainingArguments& arguments) const {
  std::vector<MemoryRow> rows = StandingMemory(Inputs(arguments));
  enum Place : size_t { kBase, kTrained, kGradients, kStates };
  const int64_t others = model_.other_parameters, copy = BytesOf(device_.compute, others);
  if (method_ == "qlora") {
    const int64_t packed = StoredBytes({DType::kBnb4, 64, true}, 1, others < 0 ? -others : others);
    rows[kBase].bytes += others < 0 ? -packed : packed;
  } else if (method_ == "lora") {
    rows[kBase].bytes += copy;
  } else {
    const double states_each =
        static_cast<double>(rows[kStates].bytes) / static_cast<double>(trainable_parameters_ - others);
    rows[kTrained].bytes += 4 * others + (device_.compute == DType::kF32 ? 0 : copy);
    rows[kGradients].bytes += 4 * others;
    rows[kStates].bytes += static_cast<int64_t>(states_each * static_cast<double>(others));
  }
  for (MemoryRow& row : rows) row.bytes = (row.bytes + devices_ - 1) / devices_;
  return rows;
}

// The largest n of 1 ... most that fits, where bytes(n) grows: 0 for none. Tables of large models take milliseconds, so
// it is found from the slope between two of them, and then made sure of.
int64_t MethodMemory::LargestFitting(int64_t most, const std::function<int64_t(int64_t)>& bytes) const {
  const int64_t room = device_.memory_bytes;
  if (bytes(1) > room) return 0;
  if (bytes(most) <= room) return most;
  int64_t fits = 1, fails = most, low_bytes = bytes(1), high_bytes = bytes(most);
  while (fails - fits > 1) {
    const double slope = static_cast<double>(high_bytes - low_bytes) / static_cast<double>(fails - fits);
    const auto guess = fits + static_cast<int64_t>(static_cast<double>(room - low_bytes) / std::max(slope, 1.0));
    const int64_t n = std::clamp(guess, fits + 1, fails - 1);
    const int64_t needed = bytes(n);
    (needed <= room ? fits : fails) = n;
    (needed <= room ? low_bytes : high_bytes) = needed;
    if (needed <= room && room - needed < static_cast<int64_t>(slope)) break;  // the next one would not fit
  }
  return fits;
}

int64_t MethodMemory::LargestRows(const TrainingArguments& arguments, int64_t length) const {
  constexpr int64_t kMost = 1 << 14;
  return LargestFitting(std::max<int64_t>(1, std::min(kMost, (int64_t{1} << 24) / length)),
                        [&](int64_t rows) { return Bytes(arguments, FullRows(rows, length)); });
}

int64_t MethodMemory::LargestContext(const TrainingArguments& arguments) const {
  constexpr int64_t kUnit = 64;  // tokens: nobody asks for a context of 8,191
  const int64_t most = std::max<int64_t>(1, std::min(model_.spec.max_position_embeddings, int64_t{1} << 20) / kUnit);
  return kUnit * LargestFitting(most, [&](int64_t n) { return Bytes(arguments, FullRows(1, n * kUnit)); });
}

std::vector<FitStep> MethodMemory::StepsToFit(const TrainingArguments& arguments,
                                              const LimitsOfSettings& limits_of) const {
  TrainingArguments a = arguments;
  std::vector<FitStep> steps;
  ChunkLimits limits = limits_of(a);
  if (Bytes(a, limits) <= device_.memory_bytes) return steps;
  const auto add = [&](const std::string& setting, const std::string& cost) {
    const int64_t bytes = Bytes(a, limits);
    steps.push_back({setting, cost, bytes, bytes <= device_.memory_bytes});
    return steps.back().fits;
  };
  if (limits.tokens > limits.length) {
    // Half as long as that helps, in one step: the rows are the same, fewer of them run together.
    do {
      a.tokens_in_flight = std::max(limits.length, std::min(a.tokens_in_flight, limits.tokens) / 2);
      limits = limits_of(a);
    } while (limits.tokens > limits.length && Bytes(a, limits) > device_.memory_bytes &&
             a.tokens_in_flight > limits.length);
    if (add(fmt::format("tokens_in_flight: {}", a.tokens_in_flight), "a little speed")) return steps;
  }
  if (!a.gradient_checkpointing) {
    a.gradient_checkpointing = true;
    if (add("gradient_checkpointing: true", "a forward pass more in each step, about a third more time")) return steps;
  }
  if (method_ == "full" && a.optim.starts_with("adamw")) {
    a.optim = "adafactor";
    if (add("optim: adafactor", "another optimiser: its learning rate wants finding anew")) return steps;
  }
  while (limits.length > kShortestContext) {
    a.max_length = limits.length / 2;
    a.tokens_in_flight = std::min(a.tokens_in_flight, a.max_length);
    limits.length = a.max_length;
    limits.tokens = std::min(limits.tokens, a.max_length);
    limits.labelled = std::min(limits.labelled, limits.tokens);
    if (Bytes(a, limits) > device_.memory_bytes && limits.length > kShortestContext) continue;
    add(fmt::format("max_length: {}, tokens_in_flight: {}", a.max_length, a.tokens_in_flight),
        "text beyond it, which is cut off");
    break;
  }
  return steps;
}

std::vector<MemoryRow> PromptMemory(const PlannedModel& model, const PlanDevice& device, int64_t devices,
                                    int64_t program_bytes, int64_t context) {
  const ModelSpec& spec = model.spec;
  const int64_t weights = model.stored_bytes > 0 ? model.stored_bytes : BytesOf(DType::kBF16, model.parameters());
  const int64_t heads = spec.num_attention_heads * spec.head_dim;
  const int64_t activations =
      std::min<int64_t>(context, 512) * (3 * spec.hidden_size + 2 * heads + 2 * spec.intermediate_size);
  std::vector<MemoryRow> rows;
  rows.push_back({"base weights", (weights + devices - 1) / devices});
  rows.push_back(
      {"keys and values", 2 * 4 * spec.num_hidden_layers * spec.num_key_value_heads * spec.head_dim * context});
  rows.push_back({"activations", 4 * (activations + spec.vocab_size)});  // models/inference.h
  rows.push_back({"kernel scratch", device.scratch_bytes});
  rows.push_back(device.is_this_machine ? MemoryRow{"program, tokenizer, data", program_bytes}
                                        : MemoryRow{"driver and libraries", device.runtime_bytes});
  return rows;
}

}  // namespace attune
