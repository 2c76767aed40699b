// The device as a seam: every op runs on guarded memory with the result it has on plain memory, and guarded
// memory cannot be touched outside an op.
#include "ops/device.h"

#include <csetjmp>
#include <csignal>

#include "base/error.h"
#include "ops/test_operands.h"

namespace attune::device_test {

constexpr DType kF32 = DType::kF32, kBF16 = DType::kBF16, kF64 = DType::kF64, kU8 = DType::kU8;

// Copies of host operands on a guarded device.
class Guarded {
 public:
  Matrix Copy(const Matrix& host) {
    if (!host) return host;
    Matrix m = host;
    m.data = device_->Allocate(Operands::SizeOf(host), "operand");
    device_->Upload(m.data, Operands::Pointer(host), Operands::SizeOf(host));
    return m;
  }
  KeepMask Copy(const KeepMask& mask) { return {Copy(mask.bits), mask.scale}; }

  // Runs `here` on the device and `host` on plain memory; `results` pairs what must be equal afterwards.
  template <class Op>
  void Compare(const Op& here, const Op& host, const std::vector<std::pair<Matrix, Matrix>>& results) {
    SCOPED_TRACE(Op::kName);
    device_->Run(here);
    Cpu().Run(host);
    for (const auto& [mine, expected] : results) {
      std::vector<uint8_t> bytes(static_cast<size_t>(Operands::SizeOf(expected)));
      device_->Download(bytes.data(), mine.data, static_cast<int64_t>(bytes.size()));
      EXPECT_EQ(std::memcmp(bytes.data(), Operands::Pointer(expected), bytes.size()), 0);
    }
  }

 private:
  std::unique_ptr<Device> device_ = MakeCpuDevice({.threads = 2, .guarded = true, .emulate_bf16 = true});
};

TEST(GuardedDevice, Products) {
  Operands o;
  for (DType type : {kF32, kBF16}) {
    Guarded g;
    const Gemm host{.c = o.Make(30, 40),
                    .a = o.Random(30, 20, type),
                    .b = o.Random(40, 20, type),
                    .b_transposed = true,
                    .start = o.Random(30, 40),
                    .low_a = o.Random(30, 4, type),
                    .low_b = o.Random(4, 40, type),
                    .low_mask = o.Mask(30, 40)};
    Gemm here = host;
    for (Matrix* m : {&here.c, &here.a, &here.b, &here.start, &here.low_a, &here.low_b}) *m = g.Copy(*m);
    here.low_mask = g.Copy(host.low_mask);
    g.Compare(here, host, {{here.c, host.c}});

    const Gemm masked_host{.c = host.c, .a = host.a, .b = host.b, .b_transposed = true, .a_mask = o.Mask(30, 20)};
    Gemm masked = masked_host;
    for (Matrix* m : {&masked.c, &masked.a, &masked.b}) *m = g.Copy(*m);
    masked.a_mask = g.Copy(masked_host.a_mask);
    g.Compare(masked, masked_host, {{masked.c, masked_host.c}});
  }
  Guarded g;
  const std::vector<uint8_t> blocks(20 * 5 * 2);
  const StoredLinear host{o.Make(3, 5), o.Random(3, 64), o.Bytes(blocks.data(), 64, DType::kQ4_1, 5), o.Random(3, 5)};
  const StoredLinear here{g.Copy(host.y), g.Copy(host.x), g.Copy(host.w), g.Copy(host.start)};
  g.Compare(here, host, {{here.y, host.y}});
}

TEST(GuardedDevice, RowsOfABlock) {
  Operands o;
  Guarded g;
  {
    const Embedding host{o.Make(3, 20), o.Random(7, 20, kBF16), o.Ints({6, 0, 6})};
    const Embedding here{g.Copy(host.out), g.Copy(host.table), g.Copy(host.ids)};
    g.Compare(here, host, {{here.out, host.out}});
  }
  {
    const EmbeddingBackward host{o.Random(7, 20), o.Random(3, 20), o.Ints({6, 0, 6})};
    const EmbeddingBackward here{g.Copy(host.dtable), g.Copy(host.dx), g.Copy(host.ids)};
    g.Compare(here, host, {{here.dtable, host.dtable}});
  }
  {
    const RmsNorm host{o.Make(2, 20, kBF16), o.Random(5, 20), o.Random(1, 20), o.Make(1, 2), o.Ints({4, 1}), 1e-5f};
    const RmsNorm here{g.Copy(host.out),  g.Copy(host.x),    g.Copy(host.weight),
                       g.Copy(host.rstd), g.Copy(host.rows), 1e-5f};
    g.Compare(here, host, {{here.out, host.out}, {here.rstd, host.rstd}});
    const RmsNormBackward back{o.Random(5, 20), o.Make(5, 20, kBF16), o.Random(2, 20), host.x, host.weight, host.rstd,
                               host.rows};
    const RmsNormBackward back_here{
        g.Copy(back.dx), g.Copy(back.dx_copy), g.Copy(back.dy), here.x, here.weight, here.rstd, here.rows};
    g.Compare(back_here, back, {{back_here.dx, back.dx}, {back_here.dx_copy, back.dx_copy}});
  }
  {
    const Rope host{o.Random(3, 24), o.Ints({0, 2, 1}), o.Random(3, 4), o.Random(3, 4), 8, false};
    const Rope here{g.Copy(host.x), g.Copy(host.positions), g.Copy(host.cos), g.Copy(host.sin), 8, false};
    g.Compare(here, host, {{here.x, host.x}});
  }
  {
    const SwiGlu host{o.Make(3, 24), o.Random(3, 24), o.Random(3, 24)};
    const SwiGlu here{g.Copy(host.out), g.Copy(host.gate), g.Copy(host.up)};
    g.Compare(here, host, {{here.out, host.out}});
    const SwiGluBackward back{host.gate, host.up, o.Random(3, 24), host.out};
    const SwiGluBackward back_here{here.gate, here.up, g.Copy(back.dout), here.out};
    g.Compare(back_here, back, {{here.gate, host.gate}, {here.up, host.up}});
  }
}

TEST(GuardedDevice, SmallOps) {
  Operands o;
  Guarded g;
  {
    const std::vector<uint8_t> zeros(12);
    const DropoutMask host{o.Bytes(zeros.data(), 4, kU8, 3), o.Ints({1, 2, 3}), 4, 0.5f};
    const DropoutMask here{g.Copy(host.bits), g.Copy(host.keys), 4, 0.5f};
    g.Compare(here, host, {{here.bits, host.bits}});
  }
  {
    const EmbeddingNoise host{o.Random(3, 20), o.Ints({1, 2, 3}), o.Ints({0, 1, 3}), 5.0f};
    const EmbeddingNoise here{g.Copy(host.x), g.Copy(host.keys), g.Copy(host.starts), 5.0f};
    g.Compare(here, host, {{here.x, host.x}});
  }
  {
    const RmsNormWeightBackward host{o.Random(1, 20), o.Random(2, 20), o.Random(3, 20), o.Random(1, 2), o.Ints({2, 0})};
    const RmsNormWeightBackward here{g.Copy(host.dweight), g.Copy(host.dy), g.Copy(host.x), g.Copy(host.rstd),
                                     g.Copy(host.rows)};
    g.Compare(here, host, {{here.dweight, host.dweight}});
  }
  {
    const Copy host{o.Make(3, 20, kBF16), o.Random(3, 20), o.Random(3, 20)};
    const Copy here{g.Copy(host.out), g.Copy(host.x), g.Copy(host.add)};
    g.Compare(here, host, {{here.out, host.out}});
  }
  {
    const Fill host{o.Make(3, 20), 2.5f}, here{g.Copy(host.out), 2.5f};
    g.Compare(here, host, {{here.out, host.out}});
  }
  {
    const AddBias host{o.Random(3, 20), o.Random(1, 20)}, here{g.Copy(host.y), g.Copy(host.bias)};
    g.Compare(here, host, {{here.y, host.y}});
  }
  {
    const SumRows host{o.Random(1, 20), o.Random(3, 20)}, here{g.Copy(host.out), g.Copy(host.x)};
    g.Compare(here, host, {{here.out, host.out}});
  }
}

void CompareAttention(DType type) {
  Operands o;
  Guarded g;
  const AttentionShape shape{2, 1, 8, 0, 0.3f};
  const Attention host{
      o.Make(9, 16, type), o.Make(9, 2), o.Random(9, 16, type), o.Random(9, 8, type), o.Random(9, 8, type),
      o.Ints({0, 4, 9}),   shape};
  const Attention here{g.Copy(host.out), g.Copy(host.lse),    g.Copy(host.q), g.Copy(host.k),
                       g.Copy(host.v),   g.Copy(host.starts), shape};
  g.Compare(here, host, {{here.out, host.out}, {here.lse, host.lse}});
  AttentionBackward back{o.Make(9, 16, type), o.Make(9, 8, type), o.Make(9, 8, type)};
  AttentionBackward back_here{g.Copy(back.dq), g.Copy(back.dk), g.Copy(back.dv)};
  const Matrix dout = o.Random(9, 16, type), sums = o.Make(9, 8);
  for (auto [op, forward] : {std::pair{&back, &host}, std::pair{&back_here, &here}}) {
    const auto place = [&, mine = op == &back](const Matrix& m) { return mine ? o.Clone(m) : g.Copy(m); };
    op->dk_sum = type == kF32 ? op->dk : place(sums);
    op->dv_sum = type == kF32 ? op->dv : place(sums);
    op->out = forward->out;
    op->dout = place(dout);
    op->lse = forward->lse;
    op->q = forward->q;
    op->k = forward->k;
    op->v = forward->v;
    op->starts = forward->starts;
    op->shape = shape;
  }
  g.Compare(back_here, back, {{back_here.dq, back.dq}, {back_here.dk, back.dk}, {back_here.dv, back.dv}});
}

TEST(GuardedDevice, AttentionOps) {
  CompareAttention(kF32);
  CompareAttention(kBF16);
  Operands o;
  Guarded g;
  const AttentionCached cached{o.Make(2, 16), o.Random(2, 16), o.Random(9, 8), o.Random(9, 8), 3, {2, 1, 8, 0, 0.3f}};
  const AttentionCached cached_here{g.Copy(cached.out), g.Copy(cached.q), g.Copy(cached.k), g.Copy(cached.v), 3,
                                    cached.shape};
  g.Compare(cached_here, cached, {{cached_here.out, cached.out}});
}

TEST(GuardedDevice, LossAndOptimiser) {
  Operands o;
  Guarded g;
  {
    const CrossEntropy host{o.Random(2, 30), o.Ints({29, 0}), o.Make(1, 2), o.Make(1, 2), o.Make(2, 30, kBF16), 0.5f};
    const CrossEntropy here{g.Copy(host.logits),  g.Copy(host.targets),  g.Copy(host.losses),
                            g.Copy(host.correct), g.Copy(host.gradient), 0.5f};
    g.Compare(here, host, {{here.losses, host.losses}, {here.correct, host.correct}, {here.gradient, host.gradient}});
  }
  {
    const SumSquares host{o.Random(1, 30), o.Make(1, 1, kF64)}, here{g.Copy(host.x), g.Copy(host.out)};
    g.Compare(here, host, {{here.out, host.out}});
  }
  const AdamW host{.weight = o.Random(1, 30),
                   .gradient = o.Random(1, 30),
                   .m = o.Zeros(1, 30),
                   .v = o.Zeros(1, 30),
                   .learning_rate = 0.1};
  AdamW here = host;
  for (Matrix* m : {&here.weight, &here.gradient, &here.m, &here.v}) *m = g.Copy(*m);
  g.Compare(here, host, {{here.weight, host.weight}, {here.m, host.m}, {here.v, host.v}});
}

TEST(GuardedDevice, OtherOptimisers) {
  Operands o;
  Guarded g;
  {
    const FindNonFinite host{o.Random(1, 30), o.Zeros(1, 1, kF64)};
    const FindNonFinite here{g.Copy(host.x), g.Copy(host.out)};
    g.Compare(here, host, {{here.out, host.out}});
  }
  {
    const Sgd host{.weight = o.Random(1, 30), .gradient = o.Random(1, 30), .learning_rate = 0.1};
    Sgd here = host;
    for (Matrix* m : {&here.weight, &here.gradient}) *m = g.Copy(*m);
    g.Compare(here, host, {{here.weight, host.weight}});
  }
  {
    const Lion host{.weight = o.Random(1, 30), .gradient = o.Random(1, 30), .m = o.Zeros(1, 30), .learning_rate = 0.1};
    Lion here = host;
    for (Matrix* m : {&here.weight, &here.gradient, &here.m}) *m = g.Copy(*m);
    g.Compare(here, host, {{here.weight, host.weight}, {here.m, host.m}});
  }
  for (const bool vector : {false, true}) {
    const int64_t rows = vector ? 1 : 5;
    Adafactor host{.weight = o.Random(rows, 30), .gradient = o.Random(rows, 30), .learning_rate = 0.1};
    (vector ? host.full : host.col) = o.Zeros(1, 30);
    if (!vector) host.row = o.Zeros(1, rows);
    Adafactor here = host;
    for (Matrix* m : {&here.weight, &here.gradient, &here.row, &here.col, &here.full}) *m = g.Copy(*m);
    g.Compare(here, host, {{here.weight, host.weight}, {vector ? here.full : here.row, vector ? host.full : host.row}});
  }
}

sigjmp_buf fault;

// Whether reading the byte at an address faults.
bool ReadFaults(DeviceAddress address) {
  struct sigaction action = {}, before;
  action.sa_handler = [](int) { siglongjmp(fault, 1); };
  sigaction(SIGSEGV, &action, &before);
  volatile bool faulted = false;
  if (sigsetjmp(fault, 1) == 0) {
    [[maybe_unused]] const volatile uint8_t byte = *reinterpret_cast<const volatile uint8_t*>(address.value);
  } else {
    faulted = true;
  }
  sigaction(SIGSEGV, &before, nullptr);
  return faulted;
}

TEST(GuardedDevice, MemoryIsClosedOutsideAnOp) {
  const auto device = MakeCpuDevice({.threads = 1, .guarded = true});
  const DeviceAddress first = device->Allocate(100, "a"), second = device->Allocate(10000, "b");
  EXPECT_TRUE(ReadFaults(first));
  device->Run(Fill{DenseMatrix(second, kF32, 1, 2500), 3.0f});
  EXPECT_TRUE(ReadFaults(second));
  EXPECT_TRUE(ReadFaults(second.Plus(9999)));
  float value = 0;
  device->Download(&value, second.Plus(9996), 4);
  EXPECT_EQ(value, 3.0f);
  EXPECT_TRUE(ReadFaults(second));
}

TEST(GuardedDevice, MemoryIsClosedAfterAnOpThatFails) {
  const auto device = MakeCpuDevice({.threads = 1, .guarded = true});
  const DeviceAddress data = device->Allocate(64, "a");
  EXPECT_THROW(device->Run(Fill{DenseMatrix(data, DType::kI32, 1, 4), 0.0f}), Error);
  EXPECT_TRUE(ReadFaults(data));
}

TEST(PlainDevice, MemoryIsZeroedAndOpen) {
  const auto device = MakeCpuDevice({.threads = 1});
  const DeviceAddress data = device->Allocate(5000, "a");
  EXPECT_FALSE(ReadFaults(data));
  std::vector<uint8_t> bytes(5000, 1);
  device->Download(bytes.data(), data, 5000);
  for (uint8_t byte : bytes) ASSERT_EQ(byte, 0);
}

TEST(PlainDevice, SaysWhatItCannotDo) {
  const auto device = MakeCpuDevice({.threads = 1});
  EXPECT_THROW(device->Allocate(int64_t{1} << 60, "far too much"), Error);
  if (device->has_bf16()) return;
  Operands o;
  EXPECT_THROW(device->Run(Gemm{.c = o.Make(2, 2), .a = o.Random(2, 2, kBF16), .b = o.Random(2, 2, kBF16)}), Error);
}

TEST(PlainDevice, ProfileCountsCallsAndFlops) {
  const auto device = MakeCpuDevice({.threads = 1});
  Operands o;
  Profile profile;
  device->SetProfile(&profile);
  const Fill op{o.Make(3, 3), 1.0f};
  device->Run(op);
  device->Run(op);
  device->Run(op, "mine");
  device->Run(Gemm{.c = o.Make(2, 3), .a = o.Random(2, 5, kF32), .b = o.Random(5, 3, kF32)});
  EXPECT_EQ(profile.by_tag["fill"].calls, 2);
  EXPECT_EQ(profile.by_tag["mine"].calls, 1);
  EXPECT_EQ(profile.by_tag["mine"].bytes, 36);
  EXPECT_EQ(profile.by_tag["gemm"].flops, 60);
  EXPECT_EQ(profile.by_kind["element-wise"].calls, 3);
  EXPECT_EQ(profile.by_kind["element-wise"].bytes, 3 * 36);
  EXPECT_EQ(profile.by_kind["thin products"].flops, 60);
  device->SetProfile(nullptr);
  device->Run(op);
  EXPECT_EQ(profile.by_tag["fill"].calls, 2);
}

}  // namespace attune::device_test
