// From a row to token ids and labels: how text is put together, which tokens carry loss, and what is cut off.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "data/chat_spans.h"
#include "data/formats.h"
#include "text/tokenizer.h"

namespace attune {

inline constexpr int32_t kIgnoredLabel = -100;

// One training example. labels are aligned with input_ids, not shifted (as in transformers): labels[i] is
// input_ids[i] where that token carries loss and -100 where it does not; the model predicts labels[i] from
// the tokens before i.
struct Example {
  std::vector<int32_t> input_ids;
  std::vector<int32_t> labels;
  // Where its sequences start, the first at 0: several share one packed example (data/packed_dataset.h). Empty: one.
  std::vector<int32_t> starts;
  int32_t file = 0;        // where it came from: the place in Dataset::files,
  int64_t row_line = 0;    // and the line in that file
  bool truncated = false;  // something was cut off
};

// Labels that carry loss: those that are not -100, less the first of a sequence, before which there is nothing to
// predict it from.
int64_t TrainedTokens(std::span<const int32_t> labels);
inline int64_t TrainedTokens(const Example& example) { return TrainedTokens(std::span(example.labels)); }

enum class MaskRule {
  kAttune,  // conversations: the assistant's answers and the token that ends each turn
  kTrl,     // conversations: every token; of prompt + completion every token from the completion on
};

enum class TruncationMode { kKeepStart, kKeepEnd };

// What is left of a row that is too long.
struct Truncation {
  int64_t max_length = 0;  // tokens; 0: no limit
  TruncationMode mode = TruncationMode::kKeepStart;

  // Tokens [first, second) of `length` stay.
  std::pair<size_t, size_t> Kept(size_t length) const;
};

struct EncodeOptions {
  // false: loss on every token. true or unset: of prompt + completion, only on the completion.
  std::optional<bool> completion_only_loss;
  // Use the template's {% generation %} blocks. Without them kAttune finds the answers itself and kTrl
  // refuses.
  bool assistant_only_loss = false;
  MaskRule mask_rule = MaskRule::kAttune;
  int64_t max_length = 1024;  // tokens; 0: no limit
  TruncationMode truncation_mode = TruncationMode::kKeepStart;
  int64_t vocab_size = 0;  // of the model: ready tokens must lie below it; 0: not checked

  Truncation truncation() const { return {max_length, truncation_mode}; }
};

// Immutable and safe to use from several threads; keeps references to the tokenizer and to what `chat`
// renders with.
class RowEncoder {
 public:
  // `chat` is empty for a model without a chat template; `eos_token` ends text and completions, "" for none.
  RowEncoder(const Tokenizer& tokenizer, ChatFormat chat, std::string eos_token, EncodeOptions options)
      : tokenizer_(tokenizer), chat_(std::move(chat)), eos_token_(std::move(eos_token)), options_(options) {}

  bool has_chat_template() const { return static_cast<bool>(chat_); }

  // Encodes, masks, then truncates. A row may come out with no trained token. row_line is left 0.
  // Errors: Error{kBadInput} starting with row.where.
  Example Encode(const DataRow& row) const;

 private:
  Example EncodeText(const DataRow& row) const;
  Example EncodePromptCompletion(const DataRow& row) const;
  Example EncodeMessages(const DataRow& row) const;
  Example EncodeTokens(const DataRow& row) const;
  std::vector<bool> ChatMask(const DataRow& row, const RenderedChat& full, const std::vector<int32_t>& ids) const;
  void Truncate(Example& example) const;

  const Tokenizer& tokenizer_;
  ChatFormat chat_;
  std::string eos_token_;
  EncodeOptions options_;
};

}  // namespace attune
