#include "models/trainable.h"

#include <algorithm>

namespace attune {
int64_t AssignTrainableOffsets(std::vector<TrainableTensor>& tensors) {
  int64_t next = 0;
  for (TrainableTensor& tensor : tensors) {
    tensor.offset = next;
    next += AlignedBytes(tensor.rows * tensor.cols * 4) / 4;
  }
  return next;
}

int64_t TrainableVectors::Elements(const std::vector<TrainableTensor>& tensors) {
  return tensors.empty() ? 0 : tensors.back().offset + AlignedBytes(tensors.back().rows * tensors.back().cols * 4) / 4;
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
