// Generation's own path (stored weights, a cache, pieces of a prompt) against the decoder that trains.
#include "models/inference.h"

#include <gtest/gtest.h>

#include <cmath>

#include "models/adapter_model.h"
#include "models/decoder.h"

namespace attune::inference_test {

const std::string kData = ATTUNE_TEST_DATA;

std::vector<float> LastLogits(const ModelFiles& files, const AdapterValues& adapter, const std::vector<int32_t>& ids) {
  const auto device = MakeCpuDevice({.threads = 2});
  const ModelWeights weights(*device, files, adapter.spec, BaseStorage(DType::kF32));
  const TrainableVectors vectors(*device, adapter.tensors, TrainableVectors::Purpose::kUse);
  LoadTrained(*device, vectors, adapter.tensors, adapter.values);
  const auto length = static_cast<int64_t>(ids.size());
  DecoderSettings settings;
  settings.policy = KeepPolicy::kNothing;
  settings.max_tokens = settings.max_length = settings.max_labelled = length;
  settings.max_sequences = 1;
  Decoder decoder(*device, files.spec(), weights, adapter.spec, adapter.tensors, &vectors, settings);
  PackedBatch batch;
  batch.Append(ids, ids);
  batch.rows = {static_cast<int32_t>(length) - 1};
  batch.targets = {0};
  std::vector<float> logits;
  decoder.Logits(batch, [&](int64_t, std::span<const float> piece) { logits.assign(piece.begin(), piece.end()); });
  return logits;
}

void ExpectSame(const std::string& model, const std::string& adapter_folder) {
  const ModelFiles files = ModelFiles::Open(model);
  AdapterValues adapter;
  if (!adapter_folder.empty()) {
    adapter.spec =
        BuildAdapterSpec(files.spec(), AdapterFolder::Open(adapter_folder).config, "test", UnknownTargets::kIgnore);
    adapter.tensors = AdapterTrainables(adapter.spec);
    adapter.values = ReadTrainedValues(adapter.tensors,
                                       OpenTrainedFile(adapter.tensors, AdapterFolder::WeightsPath(adapter_folder)));
  }
  std::vector<int32_t> ids;
  for (int t = 0; t < 150; ++t) ids.push_back(static_cast<int32_t>((t * 37 + 11) % (files.spec().vocab_size - 5)));
  const std::vector<float> expected = LastLogits(files, adapter, ids);
  const auto device = MakeCpuDevice({.threads = 2});
  InferenceModel inference(*device, files, adapter_folder.empty() ? nullptr : &adapter, 160);
  // A long piece, a long piece behind a cache, a few rows, one row; then again from the middle.
  for (const size_t begin : {size_t{0}, size_t{70}}) {
    inference.Truncate(static_cast<int64_t>(begin));
    std::span<const float> got;
    size_t at = begin;
    for (const size_t count : {size_t{70}, size_t{75}, size_t{4}, size_t{1}}) {
      if (at + count > ids.size()) continue;
      got = inference.Append(std::span(ids).subspan(at, count));
      at += count;
    }
    while (at < ids.size()) got = inference.Append(std::span(ids).subspan(at++, 1));
    for (size_t v = 0; v < expected.size(); ++v) {
      ASSERT_NEAR(got[v], expected[v], 2e-4 + 2e-4 * std::fabs(expected[v])) << "logit " << v;
    }
  }
}

TEST(Inference, AgreesWithTheDecoder) { ExpectSame(kData + "/models/llama", ""); }
TEST(Inference, WithAnAdapter) { ExpectSame(kData + "/models/llama", kData + "/lora/llama_all7_r16"); }
TEST(Inference, WithAWeightDecomposedAdapter) { ExpectSame(kData + "/models/llama", kData + "/lora/llama_dora"); }
TEST(Inference, WithTrainedTokens) { ExpectSame(kData + "/models/llama", kData + "/lora/llama_trainable_tokens"); }
TEST(Inference, WithTrainedBiases) {
  ExpectSame(kData + "/models/llama_tied_bias", kData + "/lora/llama_bias_lora_only");
}
TEST(Inference, WithBiasesOfB) { ExpectSame(kData + "/models/llama_tied_bias", kData + "/lora/llama_lora_bias"); }
TEST(Inference, WithATrainedHead) { ExpectSame(kData + "/models/llama", kData + "/lora/llama_modules_to_save"); }
TEST(Inference, WithASlidingWindow) { ExpectSame(kData + "/models/mistral", ""); }
TEST(Inference, WithNormsOnQueriesAndKeys) { ExpectSame(kData + "/models/qwen3", ""); }
TEST(Inference, FromPackedCodes) {
  ExpectSame(kData + "/nf4/llama_nf4_dq", "");
  ExpectSame(kData + "/nf4/llama_fp4", "");
}
TEST(Inference, FromQuantisedBlocks) { ExpectSame(kData + "/gguf/tiny_llama_mixed.gguf", ""); }

}  // namespace attune::inference_test
