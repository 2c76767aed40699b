// Using a model: evaluate, generate, logits, tokenize.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "app/bundle.h"
#include "base/progress.h"
#include "eval/generate.h"
#include "models/decoder.h"
#include "ops/device.h"
#include "train/trainer.h"

namespace attune {

struct EvalJob {
  std::string model, adapter, data;
  std::string prompt;  // a prompt.json to put before every row; empty: none
  int64_t max_length = 1024;
  int64_t tokens_in_flight = 1024;
  bool bf16 = false;
};
EvalMetrics RunEval(const EvalJob& job, const OnProgress& on_progress);

// What examples are run through.
struct EvalSystem {
  std::string adapter;  // a folder; empty: the model alone
  int64_t tokens_in_flight = 1024;
  bool bf16 = false;
  bool is_qlora = false;  // the base in 4 bits, as qlora trains on it
};

// Loss of examples by token. `of_each` and `on_evaluated` as Evaluate's.
EvalMetrics EvaluateExamples(const ModelBundle& bundle, const EvalSystem& system, const std::vector<Example>& examples,
                             std::vector<RowLoss>* of_each = nullptr, const OnEvaluated& on_evaluated = {});

struct LogitsJob {
  std::string model, adapter;
  std::string input_ids;  // a JSON file: [[ids], [ids], ...]
  std::string output;     // safetensors: logits.0, logits.1, ... (tokens, vocab) f32
  bool bf16 = false;
  OnProgress on_progress;  // may be empty
};
// Returns the number of sequences. Errors: Error{kBadInput} naming the file, the sequence and the id.
int64_t RunLogits(const LogitsJob& job);

// A model ready to generate, with the conversation its cache holds.
class ChatSession {
 public:
  // `max_length`: the most tokens a conversation may take; 0: what the model was made for, at most 8192.
  ChatSession(const std::string& model, const std::string& adapter, int64_t max_length);
  ~ChatSession();

  // The messages that a conversation begins with: those of a prompt.json (empty: none) for a question, or a system
  // prompt. Errors: Error{kBadInput} when both are given.
  nlohmann::ordered_json Start(const std::string& prompt_file, const std::string& system,
                               const std::string& question) const;

  // Answers a list of messages by the model's chat template. Errors: Error{kBadInput} when there is no template.
  Generation Answer(const nlohmann::ordered_json& messages, const SamplingOptions& options,
                    const std::function<void(const std::string&)>& on_text);
  // Goes on from plain text.
  Generation Continue(const std::string& text, const SamplingOptions& options,
                      const std::function<void(const std::string&)>& on_text);
  bool has_chat_template() const { return bundle_.chat_template != nullptr; }

 private:
  Generation Run(const std::vector<int32_t>& ids, const SamplingOptions& options,
                 const std::function<void(const std::string&)>& on_text);

  ModelBundle bundle_;
  std::unique_ptr<Device> device_;
  std::unique_ptr<InferenceModel> model_;
  std::vector<int32_t> cached_;  // tokens in the cache
};

// {"ids": [...], "tokens": [...]} of a text, or of a conversation with the user's text when `chat`.
nlohmann::ordered_json TokenizeText(const std::string& model, const std::string& text, bool chat);

}  // namespace attune
