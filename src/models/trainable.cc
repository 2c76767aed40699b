#include "models/trainable.h"

#include <algorithm>

namespace attune {
namespace {

constexpr int64_t kAlignment = 16;  // elements: one cache line

int64_t Aligned(int64_t elements) { return (elements + kAlignment - 1) / kAlignment * kAlignment; }

}  // namespace

int64_t AssignTrainableOffsets(std::vector<TrainableTensor>& tensors) {
  int64_t next = 0;
  for (TrainableTensor& tensor : tensors) {
    tensor.offset = next;
    next += Aligned(tensor.rows * tensor.cols);
  }
  return next;
}

int64_t TrainableVectors::Elements(const std::vector<TrainableTensor>& tensors) {
  return tensors.empty() ? 0 : tensors.back().offset + Aligned(tensors.back().rows * tensors.back().cols);
}

TrainableVectors::TrainableVectors(Device& device, const std::vector<TrainableTensor>& tensors, Purpose purpose)
    : elements_(Elements(tensors)) {
  const auto vector = [&](const char* what) {
    return DenseMatrix(device.Allocate(elements_ * 4, what), DType::kF32, 1, elements_);
  };
  value_ = vector("the trained weights");
  if (purpose == Purpose::kUse) return;
  gradient_ = vector("their gradients");
}

Matrix TrainableVectors::Of(const Matrix& vector, const TrainableTensor& tensor) {
  if (!vector) return {};
  return DenseMatrix(vector.data.Plus(tensor.offset * 4), DType::kF32, tensor.rows, tensor.cols);
}

}  // namespace attune
