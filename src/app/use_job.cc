#include "app/use_job.h"

#include <algorithm>

#include "app/forward_model.h"
#include "app/output_dir.h"
#include "app/prompt_file.h"
#include "base/error.h"
#include "base/file.h"
#include "data/dataset.h"
#include "formats/json.h"
#include "formats/safetensors.h"
#include "models/adapter_model.h"
#include "train/chunks.h"
#include "train/run_plan.h"

namespace attune {
namespace {

std::vector<std::vector<int32_t>> ReadSequences(const std::string& path, int64_t vocab) {
  const nlohmann::json json = ParseJsonFile(path);
  if (!json.is_array() || json.empty()) BadInput("{}: must hold lists of token ids: [[1, 2], [3]]", path);
  std::vector<std::vector<int32_t>> sequences;
  for (const auto& list : json) {
    const size_t index = sequences.size();
    if (!list.is_array() || list.empty())
      BadInput("{}: sequence {} must be a list of token ids that is not empty", path, index);
    std::vector<int32_t>& ids = sequences.emplace_back();
    for (const auto& id : list) {
      if (!id.is_number_integer() || id.get<int64_t>() < 0 || id.get<int64_t>() >= vocab) {
        BadInput("{}: sequence {} position {}: {} is not a token id below {}", path, index, ids.size(), id.dump(),
                 vocab);
      }
      ids.push_back(id.get<int32_t>());
    }
  }
  return sequences;
}

}  // namespace

EvalMetrics EvaluateExamples(const ModelBundle& bundle, const EvalSystem& system, const std::vector<Example>& examples,
                             std::vector<RowLoss>* of_each, const OnEvaluated& on_evaluated) {
  const std::vector<RowShape> shapes = ShapesOf(examples);
  ChunkLimits limits;
  for (const Chunk& chunk : CutAllIntoChunks(shapes, system.tokens_in_flight)) limits.Include(chunk, shapes);
  const auto model = MakeForwardModel(bundle.files, {system.adapter, system.bf16, false, system.is_qlora}, limits);
  return model->Loss(examples, system.tokens_in_flight, of_each, on_evaluated);
}

EvalMetrics RunEval(const EvalJob& job, const OnProgress& on_progress) {
  const ModelBundle bundle = OpenModel(job.model);
  const EvalSystem system{job.adapter, job.tokens_in_flight, job.bf16};
  const auto evaluate = [&](const std::vector<Example>& examples) {
    return EvaluateExamples(bundle, system, examples, nullptr, [&](int64_t done) {
      if (on_progress) on_progress("rows", done, std::ssize(examples));
    });
  };
  if (!job.prompt.empty()) {
    const Prompter prompter(ReadPromptFile(job.prompt), bundle);
    const std::vector<Example> examples = EncodePrompted(bundle, prompter, ReadConversations(job.data));
    if (examples.empty()) BadInput("{}: holds no answer to score", job.data);
    return evaluate(examples);
  }
  const NoTokenizer none(bundle.files.path());
  const Tokenizer& tokenizer = bundle.tokenizer != nullptr ? *bundle.tokenizer : static_cast<const Tokenizer&>(none);
  EncodeOptions options;
  options.max_length = job.max_length;
  options.vocab_size = bundle.files.spec().vocab_size;
  const RowEncoder encoder(tokenizer, bundle.chat_format(), bundle.eos_token(), options);
  return evaluate(LoadDataset(job.data, encoder).examples);
}

nlohmann::ordered_json ChatSession::Start(const std::string& prompt_file, const std::string& system,
                                          const std::string& question) const {
  if (!prompt_file.empty() && !system.empty())
    BadInput("--system and a prompt file exclude each other: the file has its own");
  if (!prompt_file.empty()) return Prompter(ReadPromptFile(prompt_file), bundle_).Start(question + "\n");
  nlohmann::ordered_json messages = nlohmann::ordered_json::array();
  if (!system.empty()) messages.push_back({{"role", "system"}, {"content", system}});
  return messages;
}

int64_t RunLogits(const LogitsJob& job) {
  RequireFolderOf(job.output);
  const ModelFiles files = ModelFiles::Open(job.model);
  const int64_t vocab = files.spec().vocab_size;
  const std::vector<std::vector<int32_t>> sequences = ReadSequences(job.input_ids, vocab);
  ChunkLimits limits;
  std::vector<TensorDeclaration> declarations;
  for (size_t i = 0; i < sequences.size(); ++i) {
    const auto length = static_cast<int64_t>(sequences[i].size());
    limits.tokens = limits.length = limits.labelled = std::max(limits.tokens, length);
    declarations.push_back({"logits." + std::to_string(i), DType::kF32, {length, vocab}});
  }
  const auto model = MakeForwardModel(files, {job.adapter, job.bf16}, limits);
  SafetensorsWriter writer(job.output, declarations);
  int64_t done = 0;
  for (const TensorDeclaration& declared : writer.order()) {
    const auto& ids = sequences[static_cast<size_t>(std::stoll(declared.name.substr(7)))];
    model->AllLogits(ids, [&](std::span<const float> piece) { writer.Write(declared.name, std::as_bytes(piece)); });
    if (job.on_progress) job.on_progress("sequences", ++done, std::ssize(sequences));
  }
  writer.Commit();
  return static_cast<int64_t>(sequences.size());
}

ChatSession::ChatSession(const std::string& model, const std::string& adapter, int64_t max_length)
    : bundle_(OpenModel(model)), device_(MakeCpuDevice({})) {
  bundle_.RequireTokenizer();
  AdapterValues values;
  if (!adapter.empty()) values = ReadAdapter(bundle_.files, adapter);
  const int64_t made_for = bundle_.files.spec().max_position_embeddings;
  const int64_t capacity = max_length > 0 ? max_length : std::min<int64_t>(made_for > 0 ? made_for : 2048, 8192);
  model_ = std::make_unique<InferenceModel>(*device_, bundle_.files, adapter.empty() ? nullptr : &values, capacity);
}

ChatSession::~ChatSession() = default;

Generation ChatSession::Run(const std::vector<int32_t>& ids, const SamplingOptions& options,
                            const std::function<void(const std::string&)>& on_text) {
  // What the cache already holds of these tokens need not run again; the last one must, for its logits.
  size_t common = 0;
  while (common + 1 < ids.size() && common < cached_.size() && ids[common] == cached_[common]) ++common;
  model_->Truncate(static_cast<int64_t>(common));
  Generation result =
      Generate(*model_, *bundle_.tokenizer, std::span(ids).subspan(common), bundle_.eos_ids, options, on_text);
  result.prompt_tokens = static_cast<int64_t>(ids.size());
  cached_ = ids;
  cached_.insert(cached_.end(), result.ids.begin(), result.ids.end());
  cached_.resize(static_cast<size_t>(model_->length()));
  return result;
}

Generation ChatSession::Answer(const nlohmann::ordered_json& messages, const SamplingOptions& options,
                               const std::function<void(const std::string&)>& on_text) {
  if (bundle_.chat_template == nullptr)
    BadInput("{}: has no chat template; use --raw to go on from plain text", bundle_.files.path());
  ChatOptions chat;
  chat.add_generation_prompt = true;
  chat.special_tokens = bundle_.special_tokens;
  const std::string text = RenderChat(*bundle_.chat_template, messages, chat).text;
  return Run(bundle_.tokenizer->Encode(text, false), options, on_text);
}

Generation ChatSession::Continue(const std::string& text, const SamplingOptions& options,
                                 const std::function<void(const std::string&)>& on_text) {
  return Run(bundle_.tokenizer->Encode(text, true), options, on_text);
}

nlohmann::ordered_json TokenizeText(const std::string& model, const std::string& text, bool chat) {
  const ModelBundle bundle = OpenModel(model);
  const Tokenizer& tokenizer = bundle.RequireTokenizer();
  std::string whole = text;
  if (chat) {
    if (bundle.chat_template == nullptr) BadInput("{}: has no chat template", bundle.files.path());
    ChatOptions options;
    options.add_generation_prompt = true;
    options.special_tokens = bundle.special_tokens;
    const nlohmann::ordered_json messages = {{{"role", "user"}, {"content", text}}};
    whole = RenderChat(*bundle.chat_template, messages, options).text;
  }
  nlohmann::ordered_json result;
  result["ids"] = tokenizer.Encode(whole, !chat);
  result["tokens"] = nlohmann::ordered_json::array();
  for (const auto& id : result["ids"]) result["tokens"].push_back(tokenizer.IdToToken(id.get<int32_t>()));
  return result;
}

}  // namespace attune
