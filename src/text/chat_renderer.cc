#include "text/chat_renderer.h"

#include <algorithm>
#include <initializer_list>
#include <utility>

#include "base/error.h"
#include "base/file.h"
#include "formats/json.h"
#include "text/jinja_string.h"

namespace attune {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::string_view kReasoningNames[] = {"reasoning_content", "thinking", "reasoning"};
constexpr std::string_view kContinueMark = "CONTINUE_FINAL_MESSAGE_TAG ";

const Json* FindReasoning(const Json& message) {
  for (const std::string_view name : kReasoningNames) {
    const auto found = message.find(name);
    if (found != message.end() && !found->is_null()) return &*found;
  }
  return nullptr;
}

bool HasReasoning(const Json& message) { return FindReasoning(message) != nullptr; }

// Old and new names of the reasoning, filled from whichever is there. `thinking` comes first in the object
// when it is new, which shows where a template prints a whole message.
Json WithReasoning(const Json& message) {
  const Json* reasoning = FindReasoning(message);
  if (!reasoning) return message;
  Json out = Json::object();
  const auto thinking = message.find("thinking");
  out["thinking"] = thinking == message.end() ? *reasoning : *thinking;
  for (const auto& [key, value] : message.items())
    if (key != "thinking") out[key] = value;
  out["reasoning_content"] = *reasoning;
  return out;
}

// Puts the mark behind the last text of the last message and gives that text.
std::string MarkFinalMessage(Json* messages) {
  if (messages->empty()) BadInput("continue_final_message is set but the conversation is empty");
  Json& message = messages->back();
  const auto content = message.find("content");
  if (content == message.end() || content->is_null())
    BadInput("continue_final_message is set but the final message has no \"content\" to continue");
  Json* text = content->is_string() ? &*content : nullptr;
  if (content->is_array()) {
    for (Json& part : *content)
      if (part.is_object() && part.contains("text") && part["text"].is_string()) text = &part["text"];
  }
  if (!text) BadInput("continue_final_message is set but the final message has no text to continue");
  std::string final_text = text->get<std::string>();
  *text = final_text + std::string(kContinueMark);
  return final_text;
}

void CutAtMark(const std::string& final_text, RenderedChat* chat) {
  const std::string_view bare = kContinueMark.substr(0, kContinueMark.size() - 1);
  std::string& text = chat->text;
  const size_t mark = text.rfind(bare);
  if (mark == text.npos || text.find(jinja::Strip(final_text, true, true)) == text.npos)
    BadInput(
        "continue_final_message is set but the final message does not appear in the rendered chat; does the "
        "chat "
        "template drop or change it?");
  const bool whole = std::string_view(text).substr(mark, kContinueMark.size()) == kContinueMark;
  text.resize(mark);
  if (!whole) text.resize(jinja::Strip(text, false, true).size());  // the template trims, so does what is left
  for (auto& [start, end] : chat->assistant_spans) {
    start = std::min(start, text.size());
    end = std::min(end, text.size());
  }
}

void CheckList(const Json& list, std::string_view what) {
  if (!list.is_array()) BadInput("{} of a chat must be a list of objects, not {}", what, list.type_name());
  for (const Json& item : list)
    if (!item.is_object()) BadInput("{} of a chat must be objects, not {}", what, item.type_name());
}

// The text of a special token: a string, or an AddedToken's content.
void AddSpecialToken(const std::string& name, const nlohmann::json& value, SpecialTokens* tokens) {
  if (!name.ends_with("_token")) return;
  if (value.is_string()) (*tokens)[name] = value.get<std::string>();
  if (value.is_object() && value.contains("content") && value["content"].is_string())
    (*tokens)[name] = value["content"].get<std::string>();
}

// What a file of a model's folder holds; nothing where there is none.
nlohmann::json ObjectOf(const std::string& path) {
  return FileExists(path) ? ParseJsonObjectFile(path) : nlohmann::json::object();
}

void AddSpecialTokens(const nlohmann::json& config, SpecialTokens* tokens) {
  for (const auto& [name, value] : config.items()) AddSpecialToken(name, value, tokens);
}

std::optional<ChatTemplate> TemplateOf(const nlohmann::json& config, const std::string& path) {
  const auto found = config.find("chat_template");
  if (found == config.end() || found->is_null()) return std::nullopt;
  const std::string where = path + " (chat_template)";
  if (found->is_string()) return ChatTemplate::Parse(found->get_ref<const std::string&>(), where);
  if (!found->is_array()) BadInput("{}: chat_template must be a text or a list of {{name, template}}", path);
  std::string names;
  for (const auto& entry : *found) {
    if (!entry.is_object() || !entry.contains("name") || !entry["name"].is_string() || !entry.contains("template") ||
        !entry["template"].is_string())
      BadInput("{}: an entry of the chat_template list is not {{name, template}}", path);
    const auto& name = entry["name"].get_ref<const std::string&>();
    if (name == "default") return ChatTemplate::Parse(entry["template"].get_ref<const std::string&>(), where);
    names += (names.empty() ? "" : ", ") + name;
  }
  BadInput("{}: none of the chat templates ({}) is named \"default\"", path, names);
}

}  // namespace

RenderedChat RenderChat(const ChatTemplate& chat_template, const Json& messages, const ChatOptions& options) {
  CheckList(messages, "the messages");
  if (!options.tools.is_null()) CheckList(options.tools, "the tools");
  if (!options.documents.is_null()) CheckList(options.documents, "the documents");
  if (options.continue_final_message && options.add_generation_prompt)
    BadInput("continue_final_message and add_generation_prompt exclude each other");
  // Messages are copied only where something is added to them.
  Json chat;
  const bool copies = options.continue_final_message || std::any_of(messages.begin(), messages.end(), HasReasoning);
  if (copies) {
    chat = Json::array();
    for (const Json& message : messages) chat.push_back(WithReasoning(message));
  }
  const std::string final_text = options.continue_final_message ? MarkFinalMessage(&chat) : std::string();

  const Json add_generation_prompt = options.add_generation_prompt;
  std::vector<Json> tokens;
  tokens.reserve(options.special_tokens.size());
  ChatVariables variables;
  for (const auto& [name, text] : options.special_tokens) variables.emplace_back(name, &tokens.emplace_back(text));
  variables.emplace_back("messages", copies ? &chat : &messages);
  variables.emplace_back("tools", &options.tools);
  variables.emplace_back("documents", &options.documents);
  variables.emplace_back("add_generation_prompt", &add_generation_prompt);
  if (options.kwargs.is_object())
    for (const auto& [name, value] : options.kwargs.get_ref<const Json::object_t&>())
      variables.emplace_back(name, &value);

  RenderedChat rendered = chat_template.Render(variables, options.now ? &*options.now : nullptr);
  if (options.continue_final_message) CutAtMark(final_text, &rendered);
  return rendered;
}

FolderChat LoadFolderChat(const std::string& folder) {
  FolderChat chat;
  const std::string jinja = folder + "/chat_template.jinja", config_path = folder + "/tokenizer_config.json",
                    map_path = folder + "/special_tokens_map.json";
  AddSpecialTokens(ObjectOf(map_path), &chat.special_tokens);
  const nlohmann::json config = ObjectOf(config_path);
  AddSpecialTokens(config, &chat.special_tokens);
  if (FileExists(jinja)) {
    chat.chat_template = ChatTemplate::Parse(ReadFile(jinja), jinja);
  } else {
    chat.chat_template = TemplateOf(config, config_path);
  }
  return chat;
}

std::optional<ChatTemplate> LoadChatTemplate(const std::string& folder) { return LoadFolderChat(folder).chat_template; }

}  // namespace attune
