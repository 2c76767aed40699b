// The CPU as a device, plain and guarded. The guarded one proves in the tests that nothing outside ops/ touches tensor
// memory: its allocations are inaccessible except while an op runs.
#include <omp.h>
#include <sys/mman.h>

#include <cerrno>
#include <cstring>
#include <mutex>
#include <utility>

#include "base/error.h"
#include "ops/cpu/gemm.h"
#include "ops/cpu/kernels.h"
#include "ops/cpu/raw.h"

namespace attune {

void CpuGemm(void* state, const Gemm& op) {
  const CpuState& cpu = *static_cast<CpuState*>(state);
  const GemmKernel* kernel = op.a.dtype == DType::kBF16 ? cpu.bf16 : cpu.f32;
  if (kernel == nullptr) Failed("gemm: this machine has no bf16 products; compute in f32");
  RunGemm(*kernel, cpu.scratch, op);
}

namespace {

class CpuDevice : public Device {
 public:
  explicit CpuDevice(const DeviceOptions& options) : guarded_(options.guarded) {
    threads_ = options.threads > 0 ? options.threads : omp_get_max_threads();
    name_ = guarded_ ? "cpu (guarded)" : "cpu";
    scratch_bytes_ = ScratchBytes(threads_);
    cpu_.f32 = &F32GemmKernel();
    cpu_.bf16 = options.emulate_bf16 ? EmulatedBf16GemmKernel() : NativeBf16GemmKernel();
    cpu_.bf16_attention = options.emulate_bf16 ? EmulatedBf16AttentionKernel() : NativeBf16AttentionKernel();
    has_bf16_ = cpu_.bf16 != nullptr;
    cpu_.scratch.threads = threads_;
    cpu_.scratch.base = Raw<std::byte>(Allocate(scratch_bytes_, "scratch"));
    state_ = &cpu_;
    table_ = {{CpuGemm},
              {CpuEmbedding},
              {CpuEmbeddingBackward},
              {CpuRmsNorm},
              {CpuRmsNormBackward},
              {CpuRmsNormWeightBackward},
              {CpuHeadNorm},
              {CpuHeadNormBackward},
              {CpuHeadNormWeightBackward},
              {CpuRope},
              {CpuSwiGlu},
              {CpuSwiGluBackward},
              {CpuDropoutMask},
              {CpuEmbeddingNoise},
              {CpuCopy},
              {CpuFill},
              {CpuAddBias},
              {CpuSumRows},
              {CpuAttention},
              {CpuAttentionBackward},
              {CpuAttentionCached},
              {CpuCrossEntropy},
              {CpuSumSquares},
              {CpuFindNonFinite},
              {CpuAdamW},
              {CpuAdamW8bit},
              {CpuSgd},
              {CpuLion},
              {CpuAdafactor},
              {CpuStoredLinear},
              {CpuRowSquares},
              {CpuDoraFactors},
              {CpuScaleColumns},
              {CpuColumnProducts},
              {CpuSelectScale},
              {CpuGatherColumns}};
  }

  ~CpuDevice() override {
    for (const auto& [data, bytes] : regions_) ::munmap(data, bytes);
  }

  DeviceAddress Allocate(int64_t bytes, const std::string& what) override {
    const size_t size = (static_cast<size_t>(bytes > 0 ? bytes : 1) + kAlignment - 1) / kAlignment * kAlignment;
    if (size >= kHugePage) return {reinterpret_cast<uintptr_t>(Map(size, bytes, what))};
    // Small ones, a layer's weights among them, share huge pages.
    if (size > room_left_) {
      room_ = Map(kRoom, bytes, what);
      room_left_ = kRoom;
    }
    std::byte* data = room_;
    room_ += size;
    room_left_ -= size;
    return {reinterpret_cast<uintptr_t>(data)};
  }

  DeviceAddress Adopt(const std::byte* memory) override { return {reinterpret_cast<uintptr_t>(memory)}; }

  void Upload(DeviceAddress to, const void* from, int64_t bytes) override {
    std::unique_lock lock(upload_, std::defer_lock);
    if (guarded_) lock.lock();  // its memory is opened to one copy at a time
    Enter();
    std::memcpy(Raw<void>(to), from, static_cast<size_t>(bytes));
    Leave();
  }

  void Download(void* to, DeviceAddress from, int64_t bytes) override {
    Enter();
    std::memcpy(to, Raw<const void>(from), static_cast<size_t>(bytes));
    Leave();
  }

 protected:
  void Enter() override {
    if (guarded_) Protect(PROT_READ | PROT_WRITE);
  }
  void Leave() override {
    if (guarded_) Protect(PROT_NONE);
  }

 private:
  static constexpr size_t kHugePage = size_t{2} << 20, kRoom = 8 * kHugePage, kAlignment = 64;

  // Weights and activations are read in strides of whole rows; with 4 KiB pages every row would be a TLB miss. So
  // memory begins where a huge page does.
  std::byte* Map(size_t size, int64_t bytes, const std::string& what) {
    const size_t mapped = size + kHugePage;
    void* data =
        ::mmap(nullptr, mapped, guarded_ ? PROT_NONE : PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (data == MAP_FAILED) Failed("{} bytes for {} cannot be allocated: {}", bytes, what, std::strerror(errno));
    regions_.emplace_back(data, mapped);
    const uintptr_t begin = (reinterpret_cast<uintptr_t>(data) + kHugePage - 1) / kHugePage * kHugePage;
    std::byte* aligned = reinterpret_cast<std::byte*>(begin);
    ::madvise(aligned, size, MADV_HUGEPAGE);
    return aligned;
  }

  void Protect(int access) {
    for (const auto& [data, bytes] : regions_) {
      if (::mprotect(data, bytes, access) != 0) Failed("guarded device: mprotect: {}", std::strerror(errno));
    }
  }

  bool guarded_;
  std::mutex upload_;
  CpuState cpu_;
  std::vector<std::pair<void*, size_t>> regions_;
  std::byte* room_ = nullptr;  // for small allocations
  size_t room_left_ = 0;
};

}  // namespace

std::unique_ptr<Device> MakeCpuDevice(const DeviceOptions& options) { return std::make_unique<CpuDevice>(options); }

}  // namespace attune
