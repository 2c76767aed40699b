#include "train/optimizer.h"

#include <algorithm>
#include <cctype>

#include "base/error.h"
#include "quant/adamw8bit.h"
#include "quant/bnb4.h"

namespace attune {
namespace {

using TensorKind = TrainableTensor::Kind;

// LoRA+ (Hayou et al. 2024), as peft.optimizers.create_loraplus_optimizer groups the parameters.
double RateFactor(const TrainableTensor& t, const TrainingArguments& a) {
  if (a.loraplus_lr_ratio == 0) return 1;
  if (t.kind == TensorKind::kLoraEmbeddingA || t.kind == TensorKind::kLoraEmbeddingB) {
    return a.learning_rate > 0 ? a.loraplus_lr_embedding / a.learning_rate : 1;
  }
  return t.kind == TensorKind::kLoraB || t.is_vector() ? a.loraplus_lr_ratio : 1;
}

// Elements whose paged states are in memory at a time: whole blocks in 8 bits, and 32 MiB of f32 states.
constexpr int64_t kPagedStretch = int64_t{1} << 22;

int64_t Blocks(int64_t elements) { return BlockCount(elements, kAdamW8bitBlock); }

// bitsandbytes keeps the states of small tensors in f32, and transformers has it do so for embeddings.
bool IsEightBit(const TrainableTensor& t) {
  return t.rows * t.cols >= kLeastAdamW8bitElements && t.kind != TensorKind::kEmbedding;
}

double DecayOf(const TrainableTensor& t, const TrainingArguments& a) {
  return DecaysByName(t.key) ? a.weight_decay : 0;
}

}  // namespace

bool DecaysByName(const std::string& key) {
  std::string name = key;
  std::transform(name.begin(), name.end(), name.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  for (const char* part : {"bias", "layernorm", "rmsnorm"}) {
    if (name.find(part) != std::string::npos) return false;
  }
  // "norm" as a whole component, with a dot or an underscore before it.
  for (size_t at = name.find("norm"); at != std::string::npos; at = name.find("norm", at + 1)) {
    const bool begins = at == 0 || name[at - 1] == '.' || name[at - 1] == '_';
    const bool ends = at + 4 == name.size() || name[at + 4] == '.';
    if (begins && ends) return false;
  }
  return true;
}

const std::vector<Optimizer::Choice>& Optimizer::Choices() {
  static const std::vector<Choice> choices = {{"adamw_torch", Kind::kAdamW, false},
                                              {"adamw_torch_fused", Kind::kAdamW, false},
                                              {"adamw_hf", Kind::kAdamW, false},
                                              {"adamw_bnb_8bit", Kind::kAdamW8bit, false},
                                              {"adamw_8bit", Kind::kAdamW8bit, false},
                                              {"paged_adamw_32bit", Kind::kAdamW, true},
                                              {"paged_adamw_8bit", Kind::kAdamW8bit, true},
                                              {"sgd", Kind::kSgd, false},
                                              {"adafactor", Kind::kAdafactor, false},
                                              {"lion_32bit", Kind::kLion, false},
                                              {"lion", Kind::kLion, false},
                                              {"paged_lion_32bit", Kind::kLion, true}};
  return choices;
}

const std::vector<std::string>& Optimizer::Names() {
  static const std::vector<std::string> names = [] {
    std::vector<std::string> all;
    for (const Choice& choice : Choices()) all.push_back(choice.name);
    return all;
  }();
  return names;
}

const Optimizer::Choice& Optimizer::ChoiceOf(const std::string& optim) {
  return *std::find_if(Choices().begin(), Choices().end(), [&](const Choice& choice) { return optim == choice.name; });
}

std::string Optimizer::Unpaged(const std::string& optim) {
  const Kind kind = ChoiceOf(optim).kind;
  return std::find_if(Choices().begin(), Choices().end(), [&](const Choice& c) { return c.kind == kind && !c.paged; })
      ->name;
}

int64_t Optimizer::StateBytes(const std::vector<TrainableTensor>& tensors, const TrainingArguments& arguments) {
  const int64_t vector = AlignedBytes(TrainableVectors::Elements(tensors) * 4);
  int64_t bytes = 0;
  switch (ChoiceOf(arguments.optim).kind) {
    case Kind::kSgd:
      return arguments.sgd.momentum > 0 ? vector : 0;
    case Kind::kLion:
      return vector;
    case Kind::kAdamW:
      return 2 * vector;
    case Kind::kAdamW8bit:
      for (const TrainableTensor& t : tensors) {
        const int64_t n = t.rows * t.cols;
        bytes += 2 * (IsEightBit(t) ? AlignedBytes(n) + AlignedBytes(Blocks(n) * 4) : AlignedBytes(n * 4));
      }
      return bytes;
    case Kind::kAdafactor:
      for (const TrainableTensor& t : tensors) {
        bytes += t.is_vector() ? AlignedBytes(t.cols * 4) : AlignedBytes(t.rows * 4) + AlignedBytes(t.cols * 4);
      }
  }
  return bytes;
}

Optimizer::Bytes Optimizer::PlannedBytes(const std::vector<TrainableTensor>& tensors,
                                         const TrainingArguments& arguments) {
  const Choice& choice = ChoiceOf(arguments.optim);
  const int64_t bytes = StateBytes(tensors, arguments);
  if (!choice.paged) return {bytes, 0};
  return {std::min(bytes, kPagedStretch * 2 * 4), bytes};
}

Optimizer::Optimizer(Device& device, const TrainableVectors& vectors, const std::vector<TrainableTensor>& tensors,
                     const TrainingArguments& arguments)
    : device_(device),
      vectors_(vectors),
      arguments_(arguments),
      kind_(ChoiceOf(arguments.optim).kind),
      state_bytes_(StateBytes(tensors, arguments)) {
  constexpr const char* kWhat = "the optimiser's states";
  if (ChoiceOf(arguments.optim).paged) {
    file_ = std::make_unique<ScratchFile>(arguments.output_dir, kWhat, state_bytes_);
    next_ = device.Adopt(file_->data());
  } else if (state_bytes_ > 0) {
    next_ = device.Allocate(state_bytes_, kWhat);
  }
  switch (kind_) {
    case Kind::kAdamW:
      AddMoment("exp_avg", tensors, &m_);
      AddMoment("exp_avg_sq", tensors, &v_);
      break;
    case Kind::kLion:
      AddMoment("exp_avg", tensors, &m_);
      break;
    case Kind::kSgd:
      if (arguments.sgd.momentum > 0) AddMoment("momentum_buffer", tensors, &m_);
      break;
    case Kind::kAdamW8bit:
      AddEightBit(tensors);
      return;
    case Kind::kAdafactor:
      AddFactored(tensors);
      return;
  }
  AddGroups(tensors);
}

void Optimizer::DropPages() const {
  if (file_ != nullptr) file_->DropPages();
}

Matrix Optimizer::Take(DType dtype, int64_t rows, int64_t cols) {
  const Matrix taken = DenseMatrix(next_, dtype, rows, cols);
  next_ = next_.Plus(AlignedBytes(BytesOf(dtype, rows * cols)));
  return taken;
}

void Optimizer::AddMoment(const char* name, const std::vector<TrainableTensor>& tensors, Matrix* vector) {
  *vector = Take(DType::kF32, 1, vectors_.elements());
  for (const TrainableTensor& t : tensors) {
    states_.push_back({std::string(name) + "." + t.key, TrainableVectors::Of(*vector, t)});
  }
}

void Optimizer::AddGroups(const std::vector<TrainableTensor>& tensors) {
  for (size_t i = 0; i < tensors.size(); ++i) {
    const TrainableTensor& t = tensors[i];
    const int64_t end = i + 1 < tensors.size() ? tensors[i + 1].offset : vectors_.elements();
    const double decay = DecayOf(t, arguments_), factor = RateFactor(t, arguments_);
    if (groups_.empty() || groups_.back().weight_decay != decay || groups_.back().rate_factor != factor) {
      groups_.push_back({t.offset, 0, decay, factor});
    }
    groups_.back().count = end - groups_.back().first;
  }
}

void Optimizer::AddFactored(const std::vector<TrainableTensor>& tensors) {
  const auto state = [&](const char* name, const TrainableTensor& t, int64_t size) {
    const Matrix values = Take(DType::kF32, 1, size);
    states_.push_back({std::string(name) + "." + t.key, values});
    return values;
  };
  for (const TrainableTensor& t : tensors) {
    Factored f{&t, {}, {}, {}, DecayOf(t, arguments_), RateFactor(t, arguments_)};
    if (t.is_vector()) {
      f.full = state("exp_avg_sq", t, t.cols);
    } else {  // torch's rows are those of the file
      f.row = state(t.is_transposed() ? "exp_avg_sq_col" : "exp_avg_sq_row", t, t.rows);
      f.col = state(t.is_transposed() ? "exp_avg_sq_row" : "exp_avg_sq_col", t, t.cols);
    }
    factored_.push_back(f);
  }
}

void Optimizer::AddEightBit(const std::vector<TrainableTensor>& tensors) {
  for (const TrainableTensor& t : tensors) {
    const bool eight = IsEightBit(t);
    EightBit s{&t, {}, {}, {}, {}, DecayOf(t, arguments_), RateFactor(t, arguments_)};
    const auto add = [&](const char* name, Matrix* state, Matrix* absmax) {
      *state = Take(eight ? DType::kU8 : DType::kF32, t.rows, t.cols);
      states_.push_back({fmt::format("{}.{}", name, t.key), *state});
      if (!eight) return;
      *absmax = Take(DType::kF32, 1, Blocks(t.rows * t.cols));
      states_.push_back({fmt::format("{}_absmax.{}", name, t.key), *absmax});
    };
    add("exp_avg", &s.m, &s.absmax_m);
    add("exp_avg_sq", &s.v, &s.absmax_v);
    eight_bit_.push_back(s);
  }
}

void Optimizer::Step(double learning_rate, float gradient_scale, int64_t step) {
  for (const Group& group : groups_) StepGroup(group, learning_rate * group.rate_factor, gradient_scale, step);
  for (const Factored& f : factored_) StepFactored(f, learning_rate * f.rate_factor, gradient_scale, step);
  for (const EightBit& s : eight_bit_) StepEightBit(s, learning_rate * s.rate_factor, gradient_scale, step);
}

// Calls body(first, count) for the whole, or for paged states a stretch at a time, which then goes back to the file.
template <class Body>
void Optimizer::ForStretches(int64_t elements, const Body& body) {
  const int64_t step = file_ == nullptr ? std::max<int64_t>(1, elements) : kPagedStretch;
  for (int64_t first = 0; first < elements; first += step) {
    body(first, std::min(step, elements - first));
    DropPages();
  }
}

void Optimizer::StepFactored(const Factored& f, double learning_rate, float gradient_scale, int64_t step) {
  Adafactor op;
  op.weight = TrainableVectors::Of(vectors_.value(), *f.tensor);
  op.gradient = TrainableVectors::Of(vectors_.gradient(), *f.tensor);
  op.row = f.row;
  op.col = f.col;
  op.full = f.full;
  op.gradient_scale = gradient_scale;
  op.learning_rate = learning_rate;
  op.weight_decay = f.weight_decay;
  op.step = step;
  device_.Run(op);
}

void Optimizer::StepEightBit(const EightBit& s, double learning_rate, float gradient_scale, int64_t step) {
  const TrainingArguments& a = arguments_;
  ForStretches(s.tensor->rows * s.tensor->cols, [&](int64_t first, int64_t count) {
    const auto part = [&](const Matrix& m) {
      return DenseMatrix(m.data, m.dtype, 1, m.rows * m.cols).Columns(first, count);
    };
    const auto scales = [&](const Matrix& m) { return m.Columns(first / kAdamW8bitBlock, Blocks(count)); };
    const Matrix weight = part(TrainableVectors::Of(vectors_.value(), *s.tensor));
    const Matrix gradient = part(TrainableVectors::Of(vectors_.gradient(), *s.tensor));
    if (s.absmax_m) {
      device_.Run(AdamW8bit{weight, gradient, part(s.m), part(s.v), scales(s.absmax_m), scales(s.absmax_v),
                            gradient_scale, learning_rate, a.adam_beta1, a.adam_beta2, a.adam_epsilon, s.weight_decay,
                            step});
    } else {
      device_.Run(AdamW{weight, gradient, part(s.m), part(s.v), gradient_scale, learning_rate, a.adam_beta1,
                        a.adam_beta2, a.adam_epsilon, s.weight_decay, step});
    }
  });
}

void Optimizer::StepGroup(const Group& group, double learning_rate, float gradient_scale, int64_t step) {
  const TrainingArguments& a = arguments_;
  ForStretches(group.count, [&](int64_t first, int64_t count) {
    const auto part = [&](const Matrix& vector) { return vector.Columns(group.first + first, count); };
    const Matrix weight = part(vectors_.value()), gradient = part(vectors_.gradient());
    if (kind_ == Kind::kAdamW) {
      device_.Run(AdamW{weight, gradient, part(m_), part(v_), gradient_scale, learning_rate, a.adam_beta1, a.adam_beta2,
                        a.adam_epsilon, group.weight_decay, step});
    } else if (kind_ == Kind::kLion) {
      device_.Run(Lion{weight, gradient, part(m_), gradient_scale, learning_rate, a.adam_beta1, a.adam_beta2,
                       group.weight_decay});
    } else {
      device_.Run(Sgd{weight, gradient, m_ ? part(m_) : Matrix(), gradient_scale, learning_rate, group.weight_decay,
                      a.sgd.momentum, a.sgd.dampening, a.sgd.nesterov, step});
    }
  });
}

}  // namespace attune
