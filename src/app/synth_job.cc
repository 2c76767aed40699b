#include "app/synth_job.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <span>

#include "base/error.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/system.h"
#include "base/threads.h"
#include "formats/durable_folder.h"
#include "formats/safetensors_shards.h"
#include "models/hf_config.h"
#include "models/model_shapes.h"
#include "models/model_spec.h"
#include "quant/float16.h"
#include "quant/random_weights.h"
#include "text/byte_level.h"
#include "text/tokenizer_export.h"

namespace attune {
namespace {

constexpr int64_t kSynthPiece = int64_t{1} << 20;  // elements made and written at a time

struct SynthPiece {
  const ExpectedTensor* tensor;
  int64_t first, count;
};

uint64_t KeyOfTensor(uint64_t seed, const std::string& name) {
  return std::stoull(Sha256OfText(fmt::format("{} {}", seed, name)).substr(0, 16), nullptr, 16);
}

// Norms are 1 and biases 0; both are short.
void FillVector(const ExpectedTensor& tensor, DType dtype, int64_t count, std::byte* out) {
  const std::vector<float> values(static_cast<size_t>(count), tensor.name.ends_with(".bias") ? 0.0f : 1.0f);
  if (dtype != DType::kF32) return NarrowFloats(values.data(), count, dtype, reinterpret_cast<uint16_t*>(out));
  std::memcpy(out, values.data(), values.size() * sizeof(float));
}

void WritePiece(const SynthPiece& piece, const SynthJob& job, double stddev, std::vector<std::byte>& room,
                ShardedSafetensorsWriter& writer) {
  room.resize(static_cast<size_t>(BytesOf(job.dtype, piece.count)));
  if (piece.tensor->shape.size() == 1) {
    FillVector(*piece.tensor, job.dtype, piece.count, room.data());
  } else {
    FillNormalWeights(KeyOfTensor(job.seed, piece.tensor->name), static_cast<float>(stddev), job.dtype, piece.first,
                      piece.count, room.data());
  }
  writer.WriteAt(piece.tensor->name, BytesOf(job.dtype, piece.first), room);
}

// A token for the end of padding, the beginning and the end of a text, then one a byte.
void WriteByteTokenizer(const std::string& folder) {
  std::vector<std::string> texts = {"<pad>", "<s>", "</s>"};
  for (int byte = 0; byte < 256; ++byte)
    AppendByteLevel(std::string(1, static_cast<char>(byte)), &texts.emplace_back());
  const std::vector<std::string_view> tokens(texts.begin(), texts.end());
  GgufVocabulary vocabulary;
  vocabulary.where = "the tokenizer of bytes";
  vocabulary.model = "gpt2";
  vocabulary.pre = "gpt-2";
  vocabulary.tokens = tokens;
  vocabulary.token_types.assign(texts.size(), 1);     // normal
  std::fill_n(vocabulary.token_types.begin(), 3, 3);  // control
  vocabulary.bos_id = 1;
  vocabulary.eos_id = 2;
  vocabulary.add_bos_token = false;
  WriteTokenizerJson(vocabulary, folder + "/tokenizer.json");
  const nlohmann::ordered_json config = {{"tokenizer_class", "PreTrainedTokenizerFast"},
                                         {"bos_token", "<s>"},
                                         {"eos_token", "</s>"},
                                         {"pad_token", "<pad>"},
                                         {"clean_up_tokenization_spaces", false}};
  WriteFileAtomic(folder + "/tokenizer_config.json", config.dump(2) + "\n");
}

}  // namespace

SynthResult RunSynth(const SynthJob& job) {
  const auto start = std::chrono::steady_clock::now();
  const nlohmann::ordered_json shape = ModelShapeConfig(job.shape);
  const ModelSpec spec = ModelSpec::FromConfig(nlohmann::json(shape), job.shape);
  RequireNewFolder(job.output);
  const std::vector<ExpectedTensor> tensors = ExpectedTensors(spec);
  SynthResult result{job.output, std::ssize(tensors), 0, 0, 0, 0};
  std::vector<TensorGroup> groups;
  std::vector<SynthPiece> pieces;
  for (const ExpectedTensor& t : tensors) {
    groups.push_back({{{t.name, job.dtype, t.shape}}, {}});
    const int64_t elements = *ElementCount(t.shape);
    result.parameters += elements;
    for (int64_t first = 0; first < elements; first += kSynthPiece)
      pieces.push_back({&t, first, std::min(kSynthPiece, elements - first)});
  }
  RequireDiskSpace(job.output, job.shape, BytesOf(job.dtype, result.parameters) + (int64_t{16} << 20));
  DurableFolder folder(job.output);
  const LaterSync later;
  ShardedSafetensorsWriter writer(folder.partial(), groups);
  const double stddev = shape["initializer_range"].get<double>();
  SharedProgress progress(job.on_progress, "writing parameters", result.parameters);
  InThreads<std::vector<std::byte>>(CpuCount(), pieces.size(), [&](size_t i, std::vector<std::byte>& room) {
    WritePiece(pieces[i], job, stddev, room, writer);
    progress.Add(pieces[i].count);
  });
  writer.Commit();
  WriteFileAtomic(folder.partial() + "/config.json",
                  HfConfig(spec, shape, job.dtype, spec.tie_word_embeddings).dump(2) + "\n");
  WriteByteTokenizer(folder.partial());
  folder.Commit();
  result.bytes = writer.bytes();
  result.files = writer.files();
  result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return result;
}

}  // namespace attune
