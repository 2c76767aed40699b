// In which type a base is held, to the byte and to the value: as torch_dtype says, packed from values that passed
// through it, or where it lies in its files.
#include "models/base_storage.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "base/error.h"
#include "base/file.h"
#include "formats/safetensors.h"
#include "models/weights.h"
#include "quant/float16.h"

namespace attune::base_storage_test {

const std::string kData = ATTUNE_TEST_DATA;
const std::string kLlama = kData + "/models/llama";
const std::string kTable = "model.embed_tokens.weight", kUp = "model.layers.1.mlp.up_proj.weight";

std::vector<float> Values(const ModelFiles& files, const std::string& name) {
  const StoredTensor& stored = *files.Find(name);
  std::vector<float> values(static_cast<size_t>(stored.rows() * stored.columns()));
  files.ReadRows(stored, 0, stored.rows(), values.data());
  return values;
}

std::vector<float> Rounded(std::vector<float> values, DType type) {
  for (float& value : values) {
    if (type == DType::kBF16) value = Bf16ToFloat(FloatToBf16(value));
    if (type == DType::kF16) value = HalfToFloat(FloatToHalf(value));
  }
  return values;
}

// The llama fixture with every value in `type`; `first` takes the place of the first of kTable.
std::string WriteLlama(const std::string& name, DType type, float first) {
  const ModelFiles files = ModelFiles::Open(kLlama);
  const std::string folder = testing::TempDir() + "/" + name;
  std::filesystem::remove_all(folder);
  std::filesystem::create_directories(folder);
  std::filesystem::copy(kLlama + "/config.json", folder + "/config.json");
  std::vector<TensorDeclaration> tensors;
  for (const ExpectedTensor& t : ExpectedTensors(files.spec())) tensors.push_back({t.name, type, t.shape});
  SafetensorsWriter writer(folder + "/model.safetensors", tensors);
  for (const TensorDeclaration& t : writer.order()) {
    std::vector<float> values = Values(files, t.name);
    if (t.name == kTable) values[0] = first;
    std::vector<uint16_t> narrow(values.size());
    if (type == DType::kF32) {
      writer.Write(t.name, std::as_bytes(std::span(values)));
    } else {
      NarrowFloats(values.data(), std::ssize(values), type, narrow.data());
      writer.Write(t.name, std::as_bytes(std::span(narrow)));
    }
  }
  writer.Commit();
  return folder;
}

// Every value of a matrix in device memory, read as a lookup reads it.
std::vector<float> Held(Device& device, const Matrix& w) {
  std::vector<int32_t> ids(static_cast<size_t>(w.rows));
  for (size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<int32_t>(i);
  const Matrix rows = DenseMatrix(device.Allocate(w.rows * 4, "ids"), DType::kI32, 1, w.rows);
  const Matrix out = DenseMatrix(device.Allocate(w.rows * w.cols * 4, "rows"), DType::kF32, w.rows, w.cols);
  device.Upload(rows.data, ids.data(), w.rows * 4);
  device.Run(Embedding{out, w, rows});
  std::vector<float> values(static_cast<size_t>(w.rows * w.cols));
  device.Download(values.data(), out.data, std::ssize(values) * 4);
  return values;
}

int64_t Matrices(const ModelSpec& spec) {
  int64_t elements = 0;
  for (const ExpectedTensor& t : ExpectedTensors(spec)) elements += t.shape.size() == 2 ? t.shape[0] * t.shape[1] : 0;
  return elements;
}

TEST(TorchDtype, IsHowMatricesAreHeld) {
  const ModelFiles files = ModelFiles::Open(kLlama);
  const auto planned = [&](const BaseStorage& storage) {
    return ModelWeights::PlannedBytes(files.spec(), {}, storage);
  };
  for (const DType compute : {DType::kF32, DType::kBF16}) {
    for (const DType type : {DType::kF32, DType::kF16, DType::kBF16}) {
      SCOPED_TRACE(fmt::format("{} computed in {}", NameOf(type), NameOf(compute)));
      const BaseStorage storage(files, compute, {.torch_dtype = type});
      const auto device = MakeCpuDevice({.threads = 2, .guarded = true});
      const ModelWeights weights(*device, files, {}, storage);
      for (const std::string& name : {kTable, kUp}) {
        EXPECT_EQ(weights.Find(name).dtype, type);
        EXPECT_EQ(Held(*device, weights.Find(name)), Rounded(Values(files, name), type)) << name;
      }
      EXPECT_EQ(weights.Find("model.norm.weight").dtype, DType::kF32);
      const int64_t less = Matrices(files.spec()) * (4 - BytesOf(type, 1));
      EXPECT_NEAR(planned(BaseStorage(DType::kF32)) - planned(storage), less, 64 * 20);
      EXPECT_GT(ModelWeights::BytesHeldAs(type, files.spec(), {}, storage), 0);
    }
  }
  EXPECT_EQ(BaseStorage(files, DType::kBF16).FormatOf({kUp, "", {40, 36}}).dtype, DType::kBF16);  // auto: the smaller
}

TEST(TorchDtype, LeavesWhatIsQuantisedAsItIs) {
  const ModelFiles files = ModelFiles::Open(kData + "/nf4/llama_nf4_dq");
  const BaseStorage storage(files, DType::kF32, {.torch_dtype = DType::kF16});
  EXPECT_EQ(storage.FormatOf({kUp, "", files.Find(kUp)->shape}).dtype, DType::kBnb4);
  EXPECT_EQ(storage.FormatOf({kTable, "", files.Find(kTable)->shape}).dtype, DType::kF16);
}

TEST(TorchDtype, IsWhatIsPacked) {
  BnbConfig nf4;
  nf4.load_in_4bit = true;
  BnbConfig int8;
  int8.load_in_8bit = true;
  const ModelFiles wide = ModelFiles::Open(kLlama);
  for (const DType type : {DType::kBF16, DType::kF16}) {
    const ModelFiles narrow = ModelFiles::Open(WriteLlama("narrow", type, 0));
    for (const BnbConfig& config : {nf4, int8}) {
      const auto device = MakeCpuDevice({.threads = 2});
      const auto packed = [&](const ModelFiles& files, std::optional<DType> asked) {
        const BaseStorage storage(files, DType::kF32, {.is_qlora = true, .quantization = config, .torch_dtype = asked});
        const ModelWeights weights(*device, files, {}, storage);
        return Held(*device, weights.Find(kUp));
      };
      EXPECT_EQ(packed(wide, type), packed(narrow, std::nullopt));
      EXPECT_EQ(packed(narrow, DType::kF32), packed(narrow, std::nullopt));
      if (config.load_in_4bit) {
        EXPECT_NE(packed(wide, type), packed(wide, std::nullopt));
      }
    }
  }
}

TEST(TorchDtype, RefusesWhatFloat16CannotHold) {
  const ModelFiles files = ModelFiles::Open(WriteLlama("large", DType::kF32, 70000));
  const auto device = MakeCpuDevice({.threads = 1});
  try {
    const ModelWeights weights(*device, files, {}, BaseStorage(files, DType::kF32, {.torch_dtype = DType::kF16}));
    FAIL() << "70000 was taken for a float16";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kBadInput);
    EXPECT_EQ(std::string(error.what()),
              "\"" + kTable + "\" holds 70000, beyond float16: use torch_dtype bfloat16 or float32");
  }
}

// Codes, scales and maps where they lie in the file, whatever their places there.
TEST(Offload, PackedWeightsStayInTheirFiles) {
  for (const std::string name : {"llama_fp4", "llama_nf4_dq", "llama_nf4_dq_blocks_cross_rows"}) {
    const ModelFiles files = ModelFiles::Open(kData + "/nf4/" + name);
    const BaseStorage storage(files, DType::kF32, {.offload = true});
    const auto device = MakeCpuDevice({.threads = 2, .guarded = true});
    const ModelWeights mapped(*device, files, {}, storage), held(*device, files, {}, BaseStorage(files, DType::kF32));
    int packed = 0;
    for (const ExpectedTensor& t : ExpectedTensors(files.spec())) {
      if (files.Find(t.name)->dtype != DType::kBnb4) continue;
      EXPECT_TRUE(storage.IsMapped(t));
      EXPECT_LE(storage.BytesOfTensor(t) - storage.MappedBytesOf(t), 128) << "only a header is in memory";
      EXPECT_EQ(Held(*device, mapped.Find(t.name)), Held(*device, held.Find(t.name))) << t.name;
      ++packed;
    }
    EXPECT_GT(packed, 0);
  }
}

}  // namespace attune::base_storage_test
