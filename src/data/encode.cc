#include "data/encode.h"

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "data/token_spans.h"

namespace attune {
namespace {

using Json = nlohmann::ordered_json;

std::string WithEnd(std::string text, const std::string& eos_token) {
  if (!text.ends_with(eos_token)) text += eos_token;
  return text;
}

Example Masked(std::vector<int32_t> ids, const std::vector<bool>& trained) {
  Example example;
  example.labels.reserve(ids.size());
  for (size_t i = 0; i < ids.size(); ++i) example.labels.push_back(trained[i] ? ids[i] : kIgnoredLabel);
  example.input_ids = std::move(ids);
  return example;
}

Example AllTrained(std::vector<int32_t> ids) {
  Example example;
  example.labels = ids;
  example.input_ids = std::move(ids);
  return example;
}

}  // namespace

int64_t TrainedTokens(std::span<const int32_t> labels) {
  // PackExamples leaves no label on the first token of those sequences that begin within a row.
  return labels.empty() ? 0 : std::ssize(labels) - 1 - std::count(labels.begin() + 1, labels.end(), kIgnoredLabel);
}

std::pair<size_t, size_t> Truncation::Kept(size_t length) const {
  const auto limit = static_cast<size_t>(max_length);
  if (limit == 0 || length <= limit) return {0, length};
  return mode == TruncationMode::kKeepEnd ? std::pair(length - limit, length) : std::pair(size_t{0}, limit);
}

Example RowEncoder::Encode(const DataRow& row) const {
  if (options_.assistant_only_loss && row.kind != DataRow::Kind::kMessages && row.kind != DataRow::Kind::kTokens)
    BadInput("{}: assistant_only_loss needs conversations, and this row has none: leave it out", row.where);
  Example example;
  switch (row.kind) {
    case DataRow::Kind::kText:
      example = EncodeText(row);
      break;
    case DataRow::Kind::kPromptCompletion:
      example = EncodePromptCompletion(row);
      break;
    case DataRow::Kind::kMessages:
      example = EncodeMessages(row);
      break;
    case DataRow::Kind::kTokens:
      example = EncodeTokens(row);
      break;
  }
  Truncate(example);
  return example;
}

Example RowEncoder::EncodeText(const DataRow& row) const {
  if (options_.completion_only_loss.value_or(false))
    BadInput("{}: completion_only_loss needs prompt and completion, and this row is plain text: leave it out",
             row.where);
  return AllTrained(tokenizer_.Encode(WithEnd(row.text, eos_token_), true));
}

Example RowEncoder::EncodePromptCompletion(const DataRow& row) const {
  std::vector<int32_t> ids = tokenizer_.Encode(row.prompt + WithEnd(row.completion, eos_token_), true);
  if (!options_.completion_only_loss.value_or(true)) return AllTrained(std::move(ids));
  // A token may reach over the seam: the completion starts where the two encodings part.
  const size_t seam = CommonPrefix(ids, tokenizer_.Encode(row.prompt, true));
  std::vector<bool> trained(ids.size(), false);
  std::fill(trained.begin() + static_cast<std::ptrdiff_t>(seam), trained.end(), true);
  return Masked(std::move(ids), trained);
}

Example RowEncoder::EncodeMessages(const DataRow& row) const {
  if (!chat_) {
    BadInput(
        "{}: a conversation needs a chat template and this model has none: use an instruct model, set "
        "model.chat_template to a .jinja file, or write rows of prompt and completion",
        row.where);
  }
  try {
    const RenderedChat full = chat_.render(row.messages, row, false);
    std::vector<int32_t> ids = tokenizer_.Encode(full.text, false);  // the text carries BOS where it wants one
    const std::vector<bool> trained = ChatMask(row, full, ids);
    return Masked(std::move(ids), trained);
  } catch (const Error& error) {  // a template's own complaint does not know the row
    if (std::string_view(error.what()).starts_with(row.where)) throw;
    throw Error(error.kind(), fmt::format("{}: {}", row.where, error.what()));
  }
}

std::vector<bool> RowEncoder::ChatMask(const DataRow& row, const RenderedChat& full,
                                       const std::vector<int32_t>& ids) const {
  const bool whole_completion = options_.completion_only_loss.value_or(true);
  std::vector<bool> trained(ids.size(), true);
  if (options_.assistant_only_loss && chat_.has_generation_blocks) {
    trained = TokensIn(tokenizer_, full.text, ids, full.assistant_spans);
    if (options_.mask_rule == MaskRule::kTrl && std::find(trained.begin(), trained.end(), true) == trained.end())
      BadInput("{}: assistant_only_loss finds nothing the template marks as the assistant's: take this row out",
               row.where);
  } else if (options_.mask_rule == MaskRule::kAttune && (whole_completion || options_.assistant_only_loss)) {
    return TokensIn(tokenizer_, full.text, ids, AssistantSpans(row, full.text, chat_, tokenizer_, eos_token_));
  } else if (options_.assistant_only_loss) {
    BadInput("{}: assistant_only_loss needs a chat template with {{% generation %}} blocks", row.where);
  }
  if (row.prompt_messages == 0 || !whole_completion) return trained;
  const Json prompt(
      Json::array_t(row.messages.begin(), row.messages.begin() + static_cast<std::ptrdiff_t>(row.prompt_messages)));
  const size_t seam = CommonPrefix(ids, tokenizer_.Encode(chat_.render(prompt, row, true).text, false));
  std::fill(trained.begin(), trained.begin() + static_cast<std::ptrdiff_t>(seam), false);
  return trained;
}

Example RowEncoder::EncodeTokens(const DataRow& row) const {
  const auto highest = std::max_element(row.input_ids.begin(), row.input_ids.end());
  const auto highest_label = std::max_element(row.labels.begin(), row.labels.end());
  if (options_.vocab_size > 0 && std::max(*highest, *highest_label) >= options_.vocab_size) {
    BadInput("{}: token id {} lies outside the model's vocabulary of {}: these tokens were made for another model",
             row.where, std::max(*highest, *highest_label), options_.vocab_size);
  }
  return {.input_ids = row.input_ids, .labels = row.labels};
}

void RowEncoder::Truncate(Example& example) const {
  const auto [begin, end] = options_.truncation().Kept(example.input_ids.size());
  if (end - begin == example.input_ids.size()) return;
  for (std::vector<int32_t>* list : {&example.input_ids, &example.labels}) {
    list->erase(list->begin(), list->begin() + static_cast<std::ptrdiff_t>(begin));
    list->resize(end - begin);
    list->shrink_to_fit();
  }
  example.truncated = true;
}

}  // namespace attune
