#include "ops/work.h"

#include <gtest/gtest.h>

#include "ops/device.h"

namespace attune::work_test {

TEST(Work, PairsAreThoseACausalWindowSees) {
  const int32_t starts[] = {0, 4, 4, 10};
  EXPECT_EQ(CountPairs(starts, 0).seen, 10 + 0 + 21);
  EXPECT_EQ(CountPairs(starts, 100).seen, 10 + 21);
  EXPECT_EQ(CountPairs(starts, 1).seen, 4 + 6);
  EXPECT_EQ(CountPairs(starts, 3).seen, (1 + 2 + 3 + 3) + (1 + 2 + 3 * 4));
  EXPECT_EQ(CountPairs({}, 0).seen, 0);
}

// What attention of a token takes: short rows more than their pairs say.
TEST(Work, AttentionRunsWholeTilesOf64) {
  const int32_t one[] = {0, 1}, tile[] = {0, 64}, two[] = {0, 128}, both[] = {0, 64, 192};
  EXPECT_EQ(CountPairs(one, 0).run, 1.5 * 64 * 64);
  EXPECT_EQ(CountPairs(tile, 0).run, 1.5 * 64 * 64);
  EXPECT_EQ(CountPairs(two, 0).run, (1.5 + 2.5) * 64 * 64);
  EXPECT_EQ(CountPairs(both, 0).run, (1.5 + 1.5 + 2.5) * 64 * 64);
  EXPECT_EQ(CountPairs(two, 1).run, (1.5 + 1.5) * 64 * 64);  // no tile before the window's first key
  EXPECT_EQ(CountPairs(two, 65).run, (1.5 + 2.5) * 64 * 64);
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
  const double packing = WorkOf(op).amount / WorkOf(op).flops - 1;
  EXPECT_GT(packing, 0);
  op.low_a = matrix(DType::kF32, 100, 16);
  EXPECT_EQ(WorkOf(op).flops, 2.0 * 100 * 200 * 316);
  op.low_a = {};
  op.b = matrix(DType::kQ4_K, 300, 200);
  EXPECT_EQ(WorkOf(op).kind, "products by Q4_K");
  EXPECT_NEAR(WorkOf(op).amount / WorkOf(op).flops - 1, 3 * packing, 1e-12);
  op.b = matrix(DType::kF32, 300, 8);
  op.c = matrix(DType::kF32, 100, 8);
  EXPECT_EQ(WorkOf(op).kind, "thin products");
  op.a = matrix(DType::kF32, 8, 100);  // transposed: 8 is the length of the sums
  op.a_transposed = true;
  op.c = matrix(DType::kF32, 100, 200);
  EXPECT_EQ(WorkOf(op).kind, "thin products");
  EXPECT_EQ(WorkOf(op).flops, 2.0 * 100 * 200 * 8);
  EXPECT_EQ(WorkOf(op).amount, 2.0 * 100 * 200 * (8 + kReadingSide));
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
