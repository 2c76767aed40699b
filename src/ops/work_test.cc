#include "ops/work.h"

#include <gtest/gtest.h>

#include "ops/device.h"

namespace attune::work_test {

TEST(Work, PairsAreThoseACausalWindowSees) {
  const int32_t starts[] = {0, 4, 4, 10};
  EXPECT_EQ(AttentionPairs(starts, 0), 10 + 0 + 21);
  EXPECT_EQ(AttentionPairs(starts, 100), 10 + 21);
  EXPECT_EQ(AttentionPairs(starts, 1), 4 + 6);
  EXPECT_EQ(AttentionPairs(starts, 3), (1 + 2 + 3 + 3) + (1 + 2 + 3 * 4));
  EXPECT_EQ(AttentionPairs({}, 0), 0);
}

TEST(Work, ProductsAreToldApartByTheirShapeAndTheirWeights) {
  const auto device = MakeCountingDevice();
  const auto matrix = [&](DType dtype, int64_t rows, int64_t cols) {
    return DenseMatrix(device->Allocate(64, ""), dtype, rows, cols);
  };
  Gemm op;
  op.c = matrix(DType::kF32, 100, 200);
  op.a = matrix(DType::kF32, 100, 300);
  op.b = matrix(DType::kF32, 300, 200);
  EXPECT_EQ(WorkOf(op).kind, "products");
  EXPECT_EQ(WorkOf(op).flops, 2.0 * 100 * 200 * 300);
  op.low_a = matrix(DType::kF32, 100, 16);
  EXPECT_EQ(WorkOf(op).flops, 2.0 * 100 * 200 * 316);
  op.low_a = {};
  op.b = matrix(DType::kQ4_K, 300, 200);
  EXPECT_EQ(WorkOf(op).kind, "products by Q4_K");
  op.b = matrix(DType::kF32, 300, 8);
  op.c = matrix(DType::kF32, 100, 8);
  EXPECT_EQ(WorkOf(op).kind, "thin products");
  op.a = matrix(DType::kF32, 8, 100);  // transposed: 8 is the length of the sums
  op.a_transposed = true;
  op.c = matrix(DType::kF32, 100, 200);
  EXPECT_EQ(WorkOf(op).kind, "thin products");
  EXPECT_EQ(WorkOf(op).flops, 2.0 * 100 * 200 * 8);
}

TEST(CountingDevice, CountsOpsOnMemoryThatIsNotThere) {
  const auto device = MakeCountingDevice();
  const DeviceAddress huge = device->Allocate(int64_t{1} << 50, "more than there is"),
                      next = device->Allocate(4, "some");
  EXPECT_NE(huge.value, next.value);
  Profile profile;
  device->SetProfile(&profile);
  device->Run(Fill{DenseMatrix(huge, DType::kF32, 1 << 20, 1 << 20), 1.0f});
  EXPECT_EQ(profile.by_kind["element-wise"].bytes, 0x1p42);
  float value = 3;
  device->Upload(next, &value, 4);
  device->Download(&value, next, 4);
  EXPECT_EQ(value, 3);
}

}  // namespace attune::work_test
