#include "data/chat_spans.h"

#include <algorithm>
#include <ctime>
#include <string_view>
#include <utility>

#include "base/error.h"

namespace attune {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::string_view kSpace = " \t\r\n\v\f";

bool IsBlank(std::string_view text) { return text.find_first_not_of(kSpace) == std::string_view::npos; }

std::string_view Trimmed(std::string_view text) {
  const size_t first = text.find_first_not_of(kSpace);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(kSpace) + 1 - first);
}

Json FirstMessages(const Json& messages, size_t count) {
  return Json(Json::array_t(messages.begin(), messages.begin() + static_cast<std::ptrdiff_t>(count)));
}

// Where each special token of `text` ends, in order.
std::vector<size_t> SpecialTokenEnds(std::string_view text, const Tokenizer& tokenizer, const std::string& eos_token) {
  std::vector<size_t> ends;
  size_t position = 0;
  for (int32_t id : tokenizer.Encode(text, false)) {
    const std::string token = tokenizer.IdToToken(id);
    if (token.empty() || !(tokenizer.IsSpecial(id) || token == eos_token)) continue;
    const size_t found = text.find(token, position);
    if (found == std::string_view::npos) continue;
    position = found + token.size();
    ends.push_back(position);
  }
  return ends;
}

// Finds the span of message `index` within one rendering of the conversation.
class TurnFinder {
 public:
  TurnFinder(const DataRow& row, const std::string& full, const ChatFormat& chat, const Tokenizer& tokenizer,
             const std::string& eos_token)
      : row_(row), full_(full), chat_(chat), tokenizer_(tokenizer), eos_token_(eos_token) {}

  ByteSpan Find(size_t index) const {
    const std::string upto = index + 1 == row_.messages.size() ? full_ : Render(index + 1, false);
    // Before the first message there is nothing to render: many templates look at messages[0].
    const std::string header = index == 0 ? "" : Render(index, true);
    if (!upto.starts_with(header)) Refuse(index, "its generation prompt is not how an answer begins");
    size_t start = header.size();

    const Json& message = row_.messages[index];
    const bool has_calls = message.contains("tool_calls") && !message["tool_calls"].is_null();
    const std::string_view answer =
        has_calls ? std::string_view() : Trimmed(message["content"].get_ref<const std::string&>());
    const size_t found = answer.empty() ? std::string::npos : upto.find(answer, start);
    if (found != std::string::npos) {
      const std::string_view between = std::string_view(upto).substr(start, found - start);
      // Text between is the template's own (an empty thought, say) unless there was no generation prompt to
      // skip.
      if (!IsBlank(between) && (index == 0 || header == Render(index, false))) start = found;
    } else if (index == 0) {
      Refuse(index, "it changes the answer that opens the conversation");
    }
    const size_t end = TurnEnd(upto, start, found == std::string::npos ? found : found + answer.size());
    if (full_.compare(0, end, upto, 0, end) != 0) Refuse(index, "it writes that turn differently once more follows");
    return {start, end};
  }

 private:
  std::string Render(size_t count, bool add_generation_prompt) const {
    return chat_.render(FirstMessages(row_.messages, count), row_, add_generation_prompt).text;
  }

  // `answer_end`: where the answer as the row has it ends in `upto`, or npos where the template changed it.
  size_t TurnEnd(const std::string& upto, size_t start, size_t answer_end) const {
    const size_t from = answer_end == std::string::npos ? start : answer_end;
    const std::vector<size_t> ends = SpecialTokenEnds(std::string_view(upto).substr(from), tokenizer_, eos_token_);
    if (answer_end != std::string::npos && !ends.empty()) return from + ends.front();
    // Special tokens may stand inside a changed answer (tool calls): its end is the last one that stays when
    // more follows.
    for (auto it = ends.rbegin(); it != ends.rend(); ++it) {
      if (full_.compare(0, from + *it, upto, 0, from + *it) == 0) return from + *it;
    }
    const size_t last = upto.find_last_not_of(kSpace);
    return last == std::string::npos ? start : std::max(start, last + 1);
  }

  [[noreturn]] void Refuse(size_t index, const char* reason) const {
    BadInput(
        "{}: message {}: the chat template does not let the answer be told from the rest ({}); set "
        "assistant_only_loss with a template that has {{% generation %}} blocks, end the conversation there, "
        "or train "
        "on all tokens with completion_only_loss: false",
        row_.where, index + 1, reason);
  }

  const DataRow& row_;
  const std::string& full_;
  const ChatFormat& chat_;
  const Tokenizer& tokenizer_;
  const std::string& eos_token_;
};

}  // namespace

ChatFormat MakeChatFormat(std::shared_ptr<const ChatTemplate> chat_template, SpecialTokens special_tokens) {
  const std::time_t seconds = std::time(nullptr);
  std::tm now = {};
  localtime_r(&seconds, &now);
  const bool has_generation_blocks = chat_template->HasGenerationBlocks();
  auto render = [chat_template = std::move(chat_template), special_tokens = std::move(special_tokens), now](
                    const Json& messages, const DataRow& row, bool add_generation_prompt) {
    ChatOptions options;
    options.tools = row.tools;
    options.add_generation_prompt = add_generation_prompt;
    options.kwargs = row.template_kwargs;
    options.special_tokens = special_tokens;
    options.now = now;
    return RenderChat(*chat_template, messages, options);
  };
  return {.render = std::move(render), .has_generation_blocks = has_generation_blocks};
}

std::vector<ByteSpan> AssistantSpans(const DataRow& row, const std::string& full, const ChatFormat& chat,
                                     const Tokenizer& tokenizer, const std::string& eos_token) {
  const TurnFinder finder(row, full, chat, tokenizer, eos_token);
  std::vector<ByteSpan> spans;
  for (size_t i = row.prompt_messages; i < row.messages.size(); ++i) {
    if (row.messages[i]["role"] == "assistant") spans.push_back(finder.Find(i));
  }
  return spans;
}

}  // namespace attune
