// Which bytes of a rendered conversation are the assistant's own: its answers and the token that ends each
// turn, not the headers and not the line break after. Found by rendering prefixes of the conversation, so
// that any template works whose text only grows as messages are added; one that does not is refused rather
// than masked wrongly.
#pragma once

#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "data/formats.h"
#include "data/token_spans.h"
#include "text/chat_renderer.h"
#include "text/chat_template.h"
#include "text/tokenizer.h"

namespace attune {

// A model's chat template as the encoder uses it. Safe to use from several threads.
struct ChatFormat {
  // Renders these messages with the row's tools and template arguments. Errors: Error{kBadInput}.
  std::function<RenderedChat(const nlohmann::ordered_json& messages, const DataRow& row, bool add_generation_prompt)>
      render;
  bool has_generation_blocks = false;  // the template marks the assistant's text itself, {% generation %}

  explicit operator bool() const { return render != nullptr; }
};

// Rows' tools and chat_template_kwargs are passed on; the date a template may print is the one of this call,
// so that a run that passes midnight stays of one piece.
ChatFormat MakeChatFormat(std::shared_ptr<const ChatTemplate> chat_template, SpecialTokens special_tokens);

// Byte spans within `full`, the rendering of all of row.messages, of each assistant turn from message
// row.prompt_messages on. The end-of-turn token is the first special token (or `eos_token`) behind the
// answer; where a template writes none, a turn ends with its last visible character. Errors: Error{kBadInput}
// naming the row and the message where the template rewrites earlier text.
std::vector<ByteSpan> AssistantSpans(const DataRow& row, const std::string& full, const ChatFormat& chat,
                                     const Tokenizer& tokenizer, const std::string& eos_token);

}  // namespace attune
