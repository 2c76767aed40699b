#include "data/formats.h"

#include <fmt/ranges.h>

#include <limits>
#include <optional>
#include <string_view>
#include <utility>

#include "base/error.h"
#include "base/nearest.h"
#include "formats/json.h"
#include "text/unicode.h"

namespace attune {
namespace {

using Json = nlohmann::ordered_json;

// A value as it may stand in a one-line message: control characters escaped, cut when long.
std::string Shown(const Json& value) {
  constexpr size_t kLongest = 60;
  if (value.is_array() || value.is_object()) return value.type_name();
  const std::string text = value.is_string() ? Json(value.get_ref<const std::string&>().substr(0, kLongest))
                                                   .dump(-1, ' ', false, Json::error_handler_t::replace)
                                             : value.dump();
  return text;
}

const Json* Find(const Json& object, const char* key) {
  const auto it = object.find(key);
  return it == object.end() || it->is_null() ? nullptr : &*it;
}

// The string under `key`, which must be there.
const std::string& Text(const Json& object, const char* key, const std::string& where) {
  const Json* value = Find(object, key);
  if (value == nullptr || !value->is_string())
    BadInput("{}: \"{}\" must be a string, found {}", where, key, value == nullptr ? "null" : Shown(*value));
  return value->get_ref<const std::string&>();
}

// ---------------------------------------------------------------- messages

const std::vector<std::string>& Roles() {
  static const std::vector<std::string> roles = {"system", "developer", "user", "assistant", "tool"};
  return roles;
}

const std::vector<std::pair<std::string, const char*>>& RoleAliases() {
  static const std::vector<std::pair<std::string, const char*>> aliases = {{"human", "user"},
                                                                           {"gpt", "assistant"},
                                                                           {"chatgpt", "assistant"},
                                                                           {"bot", "assistant"},
                                                                           {"model", "assistant"},
                                                                           {"observation", "tool"},
                                                                           {"function_response", "tool"},
                                                                           {"function", "tool"},
                                                                           {"function_call", "assistant"}};
  return aliases;
}

std::string RoleOf(const std::string& name, const std::string& where) {
  if (const std::string_view role = KnownRole(name); !role.empty()) return std::string(role);
  std::vector<std::string> known = Roles();
  for (const auto& alias : RoleAliases()) known.push_back(alias.first);
  const std::string near = NearestName(name, known);
  if (!near.empty()) BadInput("{}: unknown role {}; did you mean \"{}\"?", where, Shown(name), near);
  BadInput("{}: unknown role {}; known: {}", where, Shown(name), fmt::join(Roles(), ", "));
}

// A content of text parts, [{"type": "text", "text": ...}], as one string; templates of text models expect
// one.
std::string JoinParts(const Json& parts, const std::string& where) {
  std::string text;
  for (const Json& part : parts) {
    const Json* type = part.is_object() ? Find(part, "type") : nullptr;
    const Json* piece = part.is_object() ? Find(part, "text") : nullptr;
    if (type != nullptr && *type != "text")
      BadInput("{}: a content part of type {}: only text can be trained on", where, Shown(*type));
    if (piece == nullptr || !piece->is_string())
      BadInput("{}: a content part must be {{\"type\": \"text\", \"text\": ...}}", where);
    text += piece->get_ref<const std::string&>();
  }
  return text;
}

// Renames from/value to role/content where the row uses them.
void RenameKeys(Json& message) {
  Json renamed = Json::object();
  const bool share_gpt = !message.contains("role") && message.contains("from");
  if (!share_gpt) return;
  for (auto& [key, value] : message.items()) {
    renamed[key == "from" ? "role" : key == "value" ? "content" : key] = std::move(value);
  }
  message = std::move(renamed);
}

void NormaliseMessage(Json& message, const std::string& where) {
  if (!message.is_object()) BadInput("{}: must be an object with role and content, found {}", where, Shown(message));
  RenameKeys(message);
  const std::string role = RoleOf(Text(message, "role", where), where);
  message["role"] = role;
  const bool has_calls = Find(message, "tool_calls") != nullptr;
  const auto content = message.find("content");
  if (content == message.end() || content->is_null()) {
    if (role == "assistant" && has_calls) return;
    BadInput("{}: has no \"content\"", where);
  }
  if (content->is_array()) *content = JoinParts(*content, where);
  if (!content->is_string()) BadInput("{}: \"content\" must be a string, found {}", where, Shown(*content));
  if (role == "assistant" && !has_calls && IsBlankText(content->get_ref<const std::string&>()))
    BadInput("{}: the assistant's answer is empty; give it text or remove the row", where);
}

Json Messages(Json list, const char* key, const std::string& where) {
  if (!list.is_array() || list.empty())
    BadInput("{}: \"{}\" must be a list of messages, found {}", where, key,
             list.is_array() ? "an empty one" : Shown(list));
  for (size_t i = 0; i < list.size(); ++i) NormaliseMessage(list[i], fmt::format("{}: {}[{}]", where, key, i));
  return list;
}

void ReadTemplateInputs(const Json& row, DataRow& out) {
  if (const Json* tools = Find(row, "tools")) {
    out.tools =
        tools->is_string() ? ParseOrderedJson(tools->get_ref<const std::string&>(), out.where + ": \"tools\"") : *tools;
    if (!out.tools.is_array() && !out.tools.is_null())
      BadInput("{}: \"tools\" must be a list, found {}", out.where, Shown(out.tools));
  }
  if (const Json* kwargs = Find(row, "chat_template_kwargs")) {
    if (!kwargs->is_object())
      BadInput("{}: \"chat_template_kwargs\" must be an object, found {}", out.where, Shown(*kwargs));
    out.template_kwargs = *kwargs;
  }
}

// ---------------------------------------------------------------- the formats

std::vector<int32_t> Ids(const Json& list, const char* key, bool may_be_masked, const std::string& where) {
  if (!list.is_array()) BadInput("{}: \"{}\" must be a list of integers, found {}", where, key, Shown(list));
  std::vector<int32_t> ids;
  ids.reserve(list.size());
  for (size_t i = 0; i < list.size(); ++i) {
    const Json& id = list[i];
    const bool masked = may_be_masked && id == -100;
    const bool in_range = id.is_number_integer() && id >= 0 && id <= std::numeric_limits<int32_t>::max();
    if (!masked && !in_range) {
      BadInput("{}: {}[{}] is {}: it must be a token id{}", where, key, i, Shown(id), may_be_masked ? " or -100" : "");
    }
    ids.push_back(id.get<int32_t>());
  }
  return ids;
}

void ReadTokens(Json& row, bool, DataRow& out) {
  out.kind = DataRow::Kind::kTokens;
  out.input_ids = Ids(row["input_ids"], "input_ids", false, out.where);
  if (out.input_ids.empty()) BadInput("{}: \"input_ids\" is empty", out.where);
  const Json* labels = Find(row, "labels");
  out.labels = labels == nullptr ? out.input_ids : Ids(*labels, "labels", true, out.where);
  if (out.labels.size() != out.input_ids.size()) {
    BadInput("{}: {} labels for {} input_ids: there must be one a token, -100 where it is not trained", out.where,
             out.labels.size(), out.input_ids.size());
  }
}

void ReadMessages(Json& row, bool, DataRow& out) {
  out.kind = DataRow::Kind::kMessages;
  const char* key = Find(row, "messages") != nullptr ? "messages" : "conversations";
  out.messages = Messages(std::move(row[key]), key, out.where);
  const std::string system = Find(row, "system") == nullptr ? "" : Text(row, "system", out.where);
  const bool has_own = out.messages[0]["role"] == "system" || out.messages[0]["role"] == "developer";
  if (!IsBlankText(system) && !has_own)
    out.messages.insert(out.messages.begin(), Json{{"role", "system"}, {"content", system}});
  ReadTemplateInputs(row, out);
}

void ReadPromptCompletion(Json& row, bool, DataRow& out) {
  Json& prompt = row["prompt"];
  Json& completion = row["completion"];
  if (prompt.is_array() && completion.is_array()) {
    out.kind = DataRow::Kind::kMessages;
    out.messages = Messages(std::move(prompt), "prompt", out.where);
    out.prompt_messages = out.messages.size();
    for (Json& message : Messages(std::move(completion), "completion", out.where)) {
      out.messages.push_back(std::move(message));
    }
    ReadTemplateInputs(row, out);
    return;
  }
  if (!prompt.is_string() || !completion.is_string()) {
    BadInput("{}: \"prompt\" and \"completion\" must be two strings or two lists of messages, found {} and {}",
             out.where, prompt.type_name(), completion.type_name());
  }
  out.kind = DataRow::Kind::kPromptCompletion;
  out.prompt = prompt;
  out.completion = completion;
  if (IsBlankText(out.completion)) BadInput("{}: \"completion\" is empty; give it text or remove the row", out.where);
}

void ReadAlpaca(Json& row, bool has_chat_template, DataRow& out) {
  const std::string instruction = Text(row, "instruction", out.where);
  const std::string input = Find(row, "input") == nullptr ? "" : Text(row, "input", out.where);
  const std::string system = Find(row, "system") == nullptr ? "" : Text(row, "system", out.where);
  const std::string output = Text(row, "output", out.where);
  if (IsBlankText(output)) BadInput("{}: \"output\" is empty; give it text or remove the row", out.where);
  if (has_chat_template) {
    out.kind = DataRow::Kind::kMessages;
    out.messages = Json::array();
    if (!IsBlankText(system)) out.messages.push_back({{"role", "system"}, {"content", system}});
    out.messages.push_back(
        {{"role", "user"}, {"content", IsBlankText(input) ? instruction : instruction + "\n\n" + input}});
    out.messages.push_back({{"role", "assistant"}, {"content", output}});
    return;
  }
  out.kind = DataRow::Kind::kPromptCompletion;
  if (!IsBlankText(system)) out.prompt = system + "\n\n";
  out.prompt += IsBlankText(input)
                    ? "Below is an instruction that describes a task. Write a response that appropriately "
                      "completes the request."
                    : "Below is an instruction that describes a task, paired with an input that provides "
                      "further context. Write a response that appropriately completes the request.";
  out.prompt += "\n\n### Instruction:\n" + instruction;
  if (!IsBlankText(input)) out.prompt += "\n\n### Input:\n" + input;
  out.prompt += "\n\n### Response:\n";
  out.completion = output;
}

void ReadText(Json& row, bool, DataRow& out) {
  out.kind = DataRow::Kind::kText;
  out.text = Text(row, "text", out.where);
}

struct Format {
  std::vector<std::string> keys;  // all of them must be there
  void (*read)(Json& row, bool has_chat_template, DataRow& out);
};

const std::vector<Format>& Formats() {
  static const std::vector<Format> formats = {
      {{"input_ids"}, ReadTokens},
      {{"messages"}, ReadMessages},
      {{"conversations"}, ReadMessages},
      {{"prompt", "completion"}, ReadPromptCompletion},
      {{"instruction", "output"}, ReadAlpaca},
      {{"text"}, ReadText},
  };
  return formats;
}

[[noreturn]] void UnknownFormat(const Json& row, const std::string& where) {
  constexpr size_t kShownKeys = 8;
  std::vector<std::string> present, known;
  for (const Format& format : Formats()) known.insert(known.end(), format.keys.begin(), format.keys.end());
  std::string hint;
  for (const auto& [key, value] : row.items()) {
    if (present.size() < kShownKeys) present.push_back(Shown(key));
    for (const Format& format : Formats()) {
      if (format.keys.size() == 2 && !value.is_null() && (key == format.keys[0] || key == format.keys[1]))
        hint = fmt::format("\"{}\" also needs \"{}\"; ", key, format.keys[key == format.keys[0]]);
    }
  }
  for (const auto& [key, value] : row.items()) {
    const std::string near = NearestName(std::string_view(key).substr(0, 64), known);
    if (near.empty() || Find(row, near.c_str()) != nullptr) continue;
    hint = near == key ? fmt::format("\"{}\" is null; ", key) : fmt::format("did you mean \"{}\"? ", near);
    break;
  }
  if (row.size() > kShownKeys) present.push_back("...");
  BadInput(
      "{}: no known row format in the keys {}; {}known formats: messages, conversations, prompt + "
      "completion, "
      "instruction + output, text, input_ids",
      where, present.empty() ? "(none)" : fmt::to_string(fmt::join(present, ", ")), hint);
}

}  // namespace

std::string_view KnownRole(std::string_view name) {
  for (const std::string& role : Roles()) {
    if (name == role) return role;
  }
  for (const auto& [alias, role] : RoleAliases()) {
    if (name == alias) return role;
  }
  return {};
}

DataRow ParseRow(Json row, bool has_chat_template, const std::string& where) {
  DataRow out;
  out.where = where;
  for (const Format& format : Formats()) {
    bool complete = true;
    for (const std::string& key : format.keys) complete = complete && Find(row, key.c_str()) != nullptr;
    if (!complete) continue;
    format.read(row, has_chat_template, out);
    return out;
  }
  UnknownFormat(row, where);
}

}  // namespace attune
