// Renders a conversation as transformers' apply_chat_template does, and finds a model folder's template.
#pragma once

#include <ctime>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "text/chat_template.h"

namespace attune {

// Names such as bos_token and their texts: variables of every template.
using SpecialTokens = std::map<std::string, std::string>;

struct ChatOptions {
  // Lists, or null when there are none.
  nlohmann::ordered_json tools, documents;
  bool add_generation_prompt = false;
  // Ends the text where the last message's content ends, so that a model goes on with it.
  bool continue_final_message = false;
  // More variables by name (enable_thinking, date_string ...); an object or null. They win over special
  // tokens.
  nlohmann::ordered_json kwargs;
  SpecialTokens special_tokens;
  std::optional<std::tm> now;  // what strftime_now shows, the local time when not set
};

// `messages`: a list of objects. As in transformers, `tools` and `documents` are none when absent, and a
// message that carries its reasoning as `reasoning_content`, `thinking` or `reasoning` is given the first two
// of these names. Errors: Error{kBadInput} as ChatTemplate::Render; messages that are no list of objects.
RenderedChat RenderChat(const ChatTemplate& chat_template, const nlohmann::ordered_json& messages,
                        const ChatOptions& options);

// What a model folder says about chats.
struct FolderChat {
  std::optional<ChatTemplate> chat_template;
  SpecialTokens special_tokens;
};

// chat_template.jinja wins over `chat_template` in tokenizer_config.json (a text, or a list of {name,
// template} of which "default" counts). Special tokens are read from special_tokens_map.json and
// tokenizer_config.json (which wins), as texts or {content}. No file at all gives no template and no tokens.
// Errors: Error{kBadInput} naming the file.
FolderChat LoadFolderChat(const std::string& folder);

// The template alone.
std::optional<ChatTemplate> LoadChatTemplate(const std::string& folder);

}  // namespace attune
