// The seam between the engine and the machine it runs on: a device owns memory and one table of ops. Everything above
// sees addresses and plain structs; only code under ops/ touches the bytes.
//
// A device runs one op at a time, to its end, from one engine thread; the op uses as many workers as the device has.
// Ops allocate nothing: their working memory is part of the device and stands in the step plan.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <tuple>
#include <vector>

#include "ops/attention.h"
#include "ops/dora.h"
#include "ops/gemm.h"
#include "ops/linear.h"
#include "ops/loss.h"
#include "ops/optimizer.h"
#include "ops/pointwise.h"
#include "ops/work.h"

namespace attune {

template <class Op>
struct Kernel {
  void (*run)(void* state, const Op& op) = nullptr;
};

using OpTable = std::tuple<
    Kernel<Gemm>, Kernel<Embedding>, Kernel<EmbeddingBackward>, Kernel<RmsNorm>, Kernel<RmsNormBackward>,
    Kernel<RmsNormWeightBackward>, Kernel<HeadNorm>, Kernel<HeadNormBackward>, Kernel<HeadNormWeightBackward>,
    Kernel<Rope>, Kernel<SwiGlu>, Kernel<SwiGluBackward>, Kernel<DropoutMask>, Kernel<EmbeddingNoise>, Kernel<Copy>,
    Kernel<Fill>, Kernel<AddBias>, Kernel<SumRows>, Kernel<Attention>, Kernel<AttentionBackward>,
    Kernel<AttentionCached>, Kernel<CrossEntropy>, Kernel<SumSquares>, Kernel<FindNonFinite>, Kernel<AdamW>,
    Kernel<AdamW8bit>, Kernel<Sgd>, Kernel<Lion>, Kernel<Adafactor>, Kernel<StoredLinear>, Kernel<RowSquares>,
    Kernel<DoraFactors>, Kernel<ScaleColumns>, Kernel<ColumnProducts>, Kernel<SelectScale>, Kernel<GatherColumns>>;

// Where the time of a step goes, by tag and by kind of work: filled while a profile is set on the device.
struct OpCost {
  int64_t calls = 0;
  double seconds = 0, flops = 0, bytes = 0, amount = 0;  // amount: OpWork's

  void Add(double took, const OpWork& work) {
    calls += 1;
    seconds += took;
    flops += work.flops;
    bytes += work.bytes;
    amount += work.amount;
  }
};
struct Profile {
  std::map<std::string, OpCost> by_tag, by_kind;
  std::function<void()> before_op;  // called outside its time; may be empty
};

struct DeviceOptions {
  int threads = 0;            // 0: as many as the process may use
  bool guarded = false;       // memory is inaccessible except during an op (tests)
  bool emulate_bf16 = false;  // bf16 products without AVX512-BF16, for tests of the bf16 path on any machine
};

class Device {
 public:
  virtual ~Device() = default;

  // Zeroed memory that lives as long as the device. Errors: Error{kFailed} naming the bytes.
  virtual DeviceAddress Allocate(int64_t bytes, const std::string& what) = 0;
  // Memory that somebody else keeps (a file's pages), as the device sees it.
  virtual DeviceAddress Adopt(const std::byte* memory) = 0;
  virtual void Upload(DeviceAddress to, const void* from, int64_t bytes) = 0;  // from any thread, while no op runs
  virtual void Download(void* to, DeviceAddress from, int64_t bytes) = 0;

  int threads() const { return threads_; }
  bool has_bf16() const { return has_bf16_; }               // bf16 products at their full rate
  int64_t scratch_bytes() const { return scratch_bytes_; }  // working memory of the ops
  const std::string& name() const { return name_; }

  void SetProfile(Profile* profile) { profile_ = profile; }

  // Runs an op to its end. `tag` names the row of the profile it is counted in.
  template <class Op>
  void Run(const Op& op, const char* tag = nullptr) {
    if (profile_ != nullptr && profile_->before_op) profile_->before_op();
    const auto begin = profile_ != nullptr ? std::chrono::steady_clock::now() : std::chrono::steady_clock::time_point();
    Enter();
    try {
      std::get<Kernel<Op>>(table_).run(state_, op);
    } catch (...) {
      Leave();
      throw;
    }
    Leave();
    if (profile_ != nullptr) {
      const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
      const OpWork work = WorkOf(op);
      profile_->by_tag[tag != nullptr ? tag : NameOfOp<Op>()].Add(seconds, work);
      profile_->by_kind[work.kind].Add(seconds, work);
    }
  }

 protected:
  virtual void Enter() {}
  virtual void Leave() {}

  OpTable table_;
  void* state_ = nullptr;
  int threads_ = 1;
  bool has_bf16_ = false;
  int64_t scratch_bytes_ = 0;
  std::string name_;

 private:
  template <class Op>
  static constexpr const char* NameOfOp() {
    return Op::kName;
  }

  Profile* profile_ = nullptr;
};

std::unique_ptr<Device> MakeCpuDevice(const DeviceOptions& options);

// A device whose memory is addresses alone and whose ops do nothing: while a profile is set it counts what they would
// ask of a machine. What is downloaded from it stays as it was.
std::unique_ptr<Device> MakeCountingDevice();

}  // namespace attune
