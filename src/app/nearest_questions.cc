#include "app/nearest_questions.h"

#include <algorithm>
#include <numeric>

#include "app/model_hash.h"
#include "base/error.h"
#include "base/hash.h"
#include "formats/safetensors.h"

namespace attune {
namespace {

constexpr const char* kIdentity = "attune.questions";

std::string IdentityOf(const ModelBundle& bundle, const std::vector<std::string>& questions) {
  Xxh3 hash;
  for (const std::string& question : questions) {
    const uint64_t size = question.size();
    hash.Add(std::as_bytes(std::span(&size, 1)));
    hash.Add(std::as_bytes(std::span(question)));
  }
  return QuickModelHash(bundle.files.path()).dump() + " " + hash.Hex();
}

std::span<const float> Floats(const TensorView& tensor) {
  return {reinterpret_cast<const float*>(tensor.bytes.data()), tensor.bytes.size() / sizeof(float)};
}

}  // namespace

NearestByMeaning::NearestByMeaning(const ModelBundle& bundle, const std::vector<std::string>& questions,
                                   const OnProgress& on_progress)
    : bundle_(bundle), identity_(IdentityOf(bundle, questions)), embedder_(std::make_unique<TextEmbedder>(bundle)) {
  vectors_ = embedder_->Embed(questions, on_progress);
  mean_ = CenterEmbeddings(&vectors_);
}

NearestByMeaning::NearestByMeaning(const ModelBundle& bundle, const std::vector<std::string>& questions,
                                   const std::string& path)
    : bundle_(bundle), identity_(IdentityOf(bundle, questions)) {
  const SafetensorsFile file(path);
  const TensorView *vectors = file.Find("questions"), *mean = file.Find("mean");
  const auto found = std::find_if(file.metadata().begin(), file.metadata().end(),
                                  [](const auto& entry) { return entry.first == kIdentity; });
  if (vectors == nullptr || mean == nullptr || found == file.metadata().end())
    BadInput("{}: holds no vectors of questions", path);
  const std::vector<int64_t> wanted = {std::ssize(questions), bundle.files.spec().hidden_size};
  if (found->second != identity_ || vectors->shape != wanted || vectors->dtype != DType::kF32 ||
      mean->dtype != DType::kF32 || mean->shape != std::vector<int64_t>{wanted[1]}) {
    BadInput("{}: its vectors are of another model or of other rows than now: run attune prompt again", path);
  }
  vectors_.width = static_cast<size_t>(wanted[1]);
  vectors_.values.assign(Floats(*vectors).begin(), Floats(*vectors).end());
  mean_.assign(Floats(*mean).begin(), Floats(*mean).end());
}

std::vector<float> NearestByMeaning::VectorOf(const std::string& question) const {
  const auto found = asked_.find(question);
  if (found != asked_.end()) return found->second;
  if (embedder_ == nullptr) embedder_ = std::make_unique<TextEmbedder>(bundle_);
  std::vector<float> vector = embedder_->Embed(std::span(&question, 1)).values;
  for (size_t i = 0; i < vector.size(); ++i) vector[i] -= mean_[i];
  return asked_[question] = vector;
}

std::vector<int64_t> NearestByMeaning::Nearest(const std::string& question, int64_t count) const {
  const std::vector<float> vector = VectorOf(question);
  std::vector<float> likeness;  // the cosine times the length of `vector`, which is the same for all
  for (size_t i = 0; i < vectors_.size(); ++i) likeness.push_back(Cosine(vectors_.Row(i), vector));
  std::vector<int64_t> order(likeness.size());
  std::iota(order.begin(), order.end(), int64_t{0});
  std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) {
    return likeness[static_cast<size_t>(a)] > likeness[static_cast<size_t>(b)];
  });
  order.resize(static_cast<size_t>(std::min(count, std::ssize(order))));
  return order;
}

void NearestByMeaning::Write(const std::string& path) const {
  const auto count = static_cast<int64_t>(vectors_.size()), width = static_cast<int64_t>(vectors_.width);
  SafetensorsWriter writer(path, {{"questions", DType::kF32, {count, width}}, {"mean", DType::kF32, {width}}},
                           {{kIdentity, identity_}});
  for (const TensorDeclaration& tensor : writer.order()) {
    writer.Write(tensor.name, std::as_bytes(std::span(tensor.name == "mean" ? mean_ : vectors_.values)));
  }
  writer.Commit();
}

}  // namespace attune
