#include "app/quantize_job.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <set>
#include <span>

#include "app/bundle.h"
#include "app/merged_model.h"
#include "base/error.h"
#include "base/file.h"
#include "base/system.h"
#include "base/threads.h"
#include "formats/durable_folder.h"
#include "formats/json.h"
#include "formats/safetensors_shards.h"
#include "models/damaged_weights.h"
#include "models/hf_config.h"
#include "models/quantized_layers.h"
#include "quant/float16.h"
#include "quant/int8_rows.h"

namespace attune {
namespace {

constexpr int64_t kKeptPiece = int64_t{1} << 20;  // elements of a kept tensor converted and written at a time

// As the model is stored; blocks of a GGUF file become bfloat16.
DType PlainType(const ModelFiles& files) {
  const DType type = files.Find("model.layers.0.self_attn.q_proj.weight")->dtype;
  return type == DType::kF32 || type == DType::kF16 ? type : DType::kBF16;
}

void RefuseQuantized(const ModelFiles& files) {
  for (const ExpectedTensor& t : ExpectedTensors(files.spec())) {
    const StoredTensor& stored = *files.Find(t.name);
    if (IsQuantized(stored)) {
      BadInput("{}: \"{}\" is {} already; quantise the 16-bit model it was made from", files.path(), t.name,
               NameOf(stored.dtype));
    }
  }
}

// Rows of a stored tensor in a plain type, in Hugging Face's order.
void ReadRowsAs(const ModelFiles& files, const StoredTensor& stored, int64_t first, int64_t rows, DType dtype,
                std::byte* out) {
  if (dtype == DType::kBF16) return files.ReadRowsBf16(stored, first, rows, reinterpret_cast<uint16_t*>(out));
  if (dtype == DType::kF32) return files.ReadRows(stored, first, rows, reinterpret_cast<float*>(out));
  std::vector<float> values(static_cast<size_t>(rows * stored.columns()));
  files.ReadRows(stored, first, rows, values.data());
  NarrowFloats(values.data(), std::ssize(values), dtype, reinterpret_cast<uint16_t*>(out));
}

class Quantization {
 public:
  // `adapter` may be null.
  Quantization(const ModelFiles& files, const QuantizeJob& job, DType dtype, const AdapterValues* adapter)
      : files_(files),
        config_(job.config),
        dtype_(dtype),
        adapter_(adapter),
        tensors_(ExpectedTensors(files.spec())),
        linear_(QuantizedLayers(files.spec(), job.config)) {
    for (const ExpectedTensor& t : tensors_) {
      groups_.push_back(linear_.contains(t.name) ? Declare(t) : TensorGroup{{{t.name, dtype_, t.shape}}, {}});
    }
  }

  const std::vector<TensorGroup>& groups() const { return groups_; }
  size_t tensors() const { return tensors_.size(); }
  int64_t quantized() const { return std::ssize(linear_); }

  void Write(size_t index, std::vector<std::byte>& room, ShardedSafetensorsWriter& writer) const {
    const StoredTensor& stored = *files_.Find(tensors_[index].name);
    if (!linear_.contains(stored.name)) {
      WriteKept(stored, room, writer);
    } else if (config_.load_in_8bit) {
      Write8bit(stored, Plain(stored, room), writer);
    } else {
      Write4bit(index, Plain(stored, room), writer);
    }
    files_.DropPages(stored);
  }

 private:
  Bnb4Encoder EncoderOf(const ExpectedTensor& t) const { return {config_.Settings(), t.name, dtype_, t.shape}; }

  // The tensors that stand for a quantised weight, as bitsandbytes names them. 8-bit ones also say how they are laid
  // out: weight_format 0 is by rows.
  TensorGroup Declare(const ExpectedTensor& t) const {
    if (!config_.load_in_8bit) return EncoderOf(t).Declare();
    const std::string module = ModuleOf(t.name);
    return {{{t.name, DType::kI8, t.shape},
             {module + ".SCB", DType::kF32, {t.shape[0]}},
             {module + ".weight_format", DType::kU8, {}}},
            {}};
  }

  // The whole tensor in the plain type: where it is stored, or in `room`.
  const std::byte* Plain(const StoredTensor& stored, std::vector<std::byte>& room) const {
    if (adapter_ != nullptr) {
      FillMerged(stored, room);
    } else if (stored.dtype == dtype_ && stored.permuted_head_dim == 0) {
      return stored.bytes.data();
    } else {
      room.resize(static_cast<size_t>(BytesOf(dtype_, stored.rows() * stored.columns())));
      ReadRowsAs(files_, stored, 0, stored.rows(), dtype_, room.data());
    }
    return room.data();
  }

  void Write8bit(const StoredTensor& stored, const std::byte* plain, ShardedSafetensorsWriter& writer) const {
    const int64_t rows = stored.rows(), columns = stored.columns();
    std::vector<int8_t> codes(static_cast<size_t>(rows * columns));
    std::vector<float> scales(static_cast<size_t>(rows));
    EncodeInt8Rows(dtype_, plain, rows, columns, codes.data(), scales.data());
    for (size_t row = 0; row < scales.size(); ++row) {
      if (!std::isfinite(scales[row])) {
        BadInput(
            "{}: \"{}\" row {} holds a value that is not finite, or not in float16, through which 8-bit weights pass",
            files_.path(), stored.name, row);
      }
    }
    const std::string module = ModuleOf(stored.name);
    const uint8_t by_rows = 0;
    writer.WriteAt(stored.name, 0, std::as_bytes(std::span(codes)));
    writer.WriteAt(module + ".SCB", 0, std::as_bytes(std::span(scales)));
    writer.WriteAt(module + ".weight_format", 0, std::as_bytes(std::span(&by_rows, 1)));
  }

  void Write4bit(size_t index, const std::byte* plain, ShardedSafetensorsWriter& writer) const {
    Bnb4Encoder encoder = EncoderOf(tensors_[index]);
    encoder.EncodeBlocks(plain, 0, encoder.blocks());
    for (const Bnb4Encoder::Part& part : encoder.Finish()) {
      const std::string& name = part.declaration.name;
      name == groups_[index].late.name ? writer.WriteLate(name, part.bytes) : writer.WriteAt(name, 0, part.bytes);
    }
  }

  // The whole tensor with the adapter folded in, in the plain type.
  void FillMerged(const StoredTensor& stored, std::vector<std::byte>& room) const {
    const std::vector<float> values = MergedValues(files_, *adapter_, stored.name);
    room.resize(static_cast<size_t>(BytesOf(dtype_, std::ssize(values))));
    if (dtype_ == DType::kF32) {
      std::memcpy(room.data(), values.data(), room.size());
    } else {
      NarrowFloats(values.data(), std::ssize(values), dtype_, reinterpret_cast<uint16_t*>(room.data()));
    }
  }

  void WriteKept(const StoredTensor& stored, std::vector<std::byte>& room, ShardedSafetensorsWriter& writer) const {
    if (adapter_ != nullptr) {
      FillMerged(stored, room);
      RequireFinite(stored, room);
      return writer.WriteAt(stored.name, 0, room);
    }
    const int64_t piece = std::max<int64_t>(1, kKeptPiece / stored.columns());
    for (int64_t row = 0; row < stored.rows(); row += piece) {
      const int64_t rows = std::min(piece, stored.rows() - row);
      room.resize(static_cast<size_t>(BytesOf(dtype_, rows * stored.columns())));
      ReadRowsAs(files_, stored, row, rows, dtype_, room.data());
      RequireFinite(stored, room);
      writer.WriteAt(stored.name, BytesOf(dtype_, row * stored.columns()), room);
      files_.DropPages(stored);
    }
  }

  void RequireFinite(const StoredTensor& stored, const std::vector<std::byte>& plain) const {
    if (AllFinite(plain, dtype_)) return;
    BadInput("{}: \"{}\" holds a value that is not finite, or not in {}", files_.path(), stored.name,
             TorchName(dtype_));
  }

  const ModelFiles& files_;
  const BnbConfig& config_;
  DType dtype_;
  const AdapterValues* adapter_;
  std::vector<ExpectedTensor> tensors_;
  std::set<std::string> linear_;  // what is quantised
  std::vector<TensorGroup> groups_;
};

}  // namespace

QuantizeResult RunQuantize(const QuantizeJob& job) {
  const auto start = std::chrono::steady_clock::now();
  RequireNewFolder(job.output);
  const ModelBundle bundle = OpenModel(job.model);
  const ModelFiles& files = bundle.files;
  RefuseQuantized(files);
  RequireItsBase(files, job.model, job.adapter, job.any_base);
  const DType dtype = job.dtype.value_or(PlainType(files));
  std::optional<AdapterValues> adapter;
  if (!job.adapter.empty()) adapter = ReadAdapterToMerge(files, job.adapter);
  if (adapter && files.spec().tie_word_embeddings && UntiesHead(*adapter)) {
    BadInput(
        "{}: trains its own head or embedding, which a tied quantised model has no place for; merge first, then "
        "quantise the result",
        job.adapter);
  }
  const Quantization quantization(files, job, dtype, adapter ? &*adapter : nullptr);
  QuantizeResult result{job.output, quantization.quantized(), 0, 0, 0, 0, 0, {}};
  for (const ExpectedTensor& t : ExpectedTensors(files.spec()))
    result.source_bytes += std::ssize(files.Find(t.name)->bytes);
  result.kept = static_cast<int64_t>(quantization.tensors()) - result.quantized;

  DurableFolder folder(job.output);
  const LaterSync later;
  ShardedSafetensorsWriter writer(folder.partial(), quantization.groups());
  RequireDiskSpace(job.output, "the result", writer.bytes());
  SharedProgress progress(job.on_progress, "writing tensors", static_cast<int64_t>(quantization.tensors()));
  InThreads<std::vector<std::byte>>(CpuCount(), quantization.tensors(), [&](size_t i, std::vector<std::byte>& room) {
    quantization.Write(i, room, writer);
    progress.Add(1);
  });
  writer.Commit();
  const nlohmann::ordered_json source =
      files.is_gguf() ? nlohmann::ordered_json::object() : ParseOrderedJsonFile(files.path() + "/config.json");
  nlohmann::ordered_json config = HfConfig(files.spec(), source, dtype, files.spec().tie_word_embeddings);
  config["quantization_config"] = job.config.ToJson();
  WriteFileAtomic(folder.partial() + "/config.json", config.dump(2) + "\n");
  WriteTextFiles(bundle, folder.partial());
  if (adapter) {
    result.difference =
        CompareModels(files, job.adapter, ModelFiles::Open(folder.partial()), TokensToCompare(bundle, ""));
  }
  folder.Commit();
  result.bytes = writer.bytes();
  result.files = writer.files();
  result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return result;
}

}  // namespace attune
