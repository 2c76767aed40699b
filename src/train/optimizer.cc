#include "train/optimizer.h"

#include <algorithm>
#include <cctype>

#include "base/error.h"

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

double DecayOf(const TrainableTensor& t, const TrainingArguments& a) { return DecaysByName(t.key) ? a.weight_decay : 0; }

}  // namespace

bool DecaysByName(const std::string& key) {
  std::string name = key;
  std::transform(name.begin(), name.end(), name.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
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

const std::vector<std::string>& Optimizer::Names() {
  static const std::vector<std::string> names = {"adamw_torch", "adamw_torch_fused", "adamw_hf", "sgd",
                                                 "adafactor",   "lion_32bit",        "lion"};
  return names;
}

Optimizer::Kind Optimizer::KindOf(const std::string& optim) {
  if (optim == "sgd") return Kind::kSgd;
  if (optim == "adafactor") return Kind::kAdafactor;
  if (optim == "lion_32bit" || optim == "lion") return Kind::kLion;
  return Kind::kAdamW;
}

int64_t Optimizer::PlannedBytes(const std::vector<TrainableTensor>& tensors, const TrainingArguments& arguments) {
  const int64_t vector = TrainableVectors::Elements(tensors) * 4;
  switch (KindOf(arguments.optim)) {
    case Kind::kSgd: return 0;
    case Kind::kLion: return vector;
    case Kind::kAdamW: return 2 * vector;
    case Kind::kAdafactor: break;
  }
  int64_t bytes = 0;
  for (const TrainableTensor& t : tensors)
    bytes += t.is_vector() ? AlignedBytes(t.cols * 4) : AlignedBytes(t.rows * 4) + AlignedBytes(t.cols * 4);
  return bytes;
}

Optimizer::Optimizer(Device& device, const TrainableVectors& vectors, const std::vector<TrainableTensor>& tensors,
                     const TrainingArguments& arguments)
    : device_(device), vectors_(vectors), arguments_(arguments), kind_(KindOf(arguments.optim)) {
  switch (kind_) {
    case Kind::kAdamW:
      AddMoment("exp_avg", tensors, &m_);
      AddMoment("exp_avg_sq", tensors, &v_);
      break;
    case Kind::kLion:
      AddMoment("exp_avg", tensors, &m_);
      break;
    case Kind::kSgd:
      break;
    case Kind::kAdafactor:
      AddFactored(tensors);
      return;
  }
  AddGroups(tensors);
}

void Optimizer::AddMoment(const char* name, const std::vector<TrainableTensor>& tensors, Matrix* vector) {
  const int64_t elements = vectors_.elements();
  *vector = DenseMatrix(device_.Allocate(elements * 4, "an optimiser state"), DType::kF32, 1, elements);
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
    const Matrix values = DenseMatrix(device_.Allocate(AlignedBytes(size * 4), "an optimiser state"), DType::kF32, 1, size);
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

void Optimizer::Step(double learning_rate, float gradient_scale, int64_t step) {
  for (const Group& group : groups_) StepGroup(group, learning_rate * group.rate_factor, gradient_scale, step);
  for (const Factored& f : factored_) {
    Adafactor op;
    op.weight = TrainableVectors::Of(vectors_.value(), *f.tensor);
    op.gradient = TrainableVectors::Of(vectors_.gradient(), *f.tensor);
    op.row = f.row;
    op.col = f.col;
    op.full = f.full;
    op.gradient_scale = gradient_scale;
    op.learning_rate = learning_rate * f.rate_factor;
    op.weight_decay = f.weight_decay;
    op.step = step;
    device_.Run(op);
  }
}

void Optimizer::StepGroup(const Group& group, double learning_rate, float gradient_scale, int64_t step) {
  const auto part = [&](const Matrix& vector) { return vector.Columns(group.first, group.count); };
  const Matrix weight = part(vectors_.value()), gradient = part(vectors_.gradient());
  const TrainingArguments& a = arguments_;
  switch (kind_) {
    case Kind::kAdamW:
      device_.Run(AdamW{weight, gradient, part(m_), part(v_), gradient_scale, learning_rate, a.adam_beta1, a.adam_beta2,
                        a.adam_epsilon, group.weight_decay, step});
      break;
    case Kind::kLion:
      device_.Run(Lion{weight, gradient, part(m_), gradient_scale, learning_rate, a.adam_beta1, a.adam_beta2,
                       group.weight_decay});
      break;
    case Kind::kSgd:
      device_.Run(Sgd{weight, gradient, gradient_scale, learning_rate, group.weight_decay});
      break;
    case Kind::kAdafactor:
      break;  // it has no groups
  }
}

}  // namespace attune
