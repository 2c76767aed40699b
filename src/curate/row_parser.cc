#include "curate/row_parser.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <simdjson.h>

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "curate/csv.h"
#include "curate/json_lookup.h"
#include "curate/json_string.h"
#include "curate/json_writer.h"
#include "data/formats.h"
#include "text/unicode.h"

namespace attune {
namespace {

namespace dom = simdjson::dom;

constexpr size_t kDeepest = 256;  // as formats/json.h

Speaker SpeakerOf(std::string_view role) {
  if (role == "assistant") return Speaker::kAssistant;
  if (role == "tool") return Speaker::kTool;
  return role == "user" ? Speaker::kUser : Speaker::kSystem;
}

}  // namespace

struct RowParser::Impl {
  explicit Impl(const ColumnMap& map) : names(map) {}

  const ColumnMap& names;
  dom::parser parser;
  dom::object object;
  Row row;
  bool on_one_line = false;         // row.json has no line break between its values
  std::vector<std::string> fields;  // of a CSV record
  std::string made;                 // JSON of a record that was none, or with room behind it

  void Wrong(Rule rule, std::string detail) { row.structure.push_back({rule, 0, 0, 0, std::move(detail)}); }

  std::optional<dom::element> Find(std::string_view name) const {
    for (const auto& [known, column] : names) {
      if (name == known) return FindKey(object, column);
    }
    return FindKey(object, name);
  }

  bool MakeJson(const DataFile& file, std::string_view text);
  void ParseJson(const DataFile* file, const char* data, size_t size);
  bool CheckNames();
  void FindFormat();
  void AddPart(Speaker speaker, std::string_view text) { row.parts.push_back({speaker, text}); }
  bool AddText(const char* key, Speaker speaker, bool required);
  void AddTurnOf(const char* key, Speaker speaker, bool required);
  void AddSystem();
  void AddMessages(const dom::element& list, std::string_view key, bool rejected);
  struct Place {  // of a message: named only where something is wrong with it
    std::string_view list;
    size_t number;
    std::string Text() const { return fmt::format("{}[{}]", list, number); }
  };
  void AddMessage(const dom::element& message, const Place& place, bool rejected);
  void AddContent(const dom::element& content, const Place& place, Turn* turn);
  void ReadPreference();
  void ReadAlpaca();
  void ReadPromptCompletion();
  void ReadTokens();
};

RowParser::RowParser(const ColumnMap& names) : impl_(std::make_unique<Impl>(names)) {}
RowParser::~RowParser() = default;

const Row& RowParser::Parse(const DataFile& file, const RecordBlock& block, const Record& record) {
  Impl& my = *impl_;
  my.row = Row();
  const std::string_view text = block.text(record);
  my.row.json = text;
  my.on_one_line = file.container != Container::kJson;
  if (record.broken != nullptr) {
    my.Wrong(Rule::kBrokenRow, record.broken);
  } else if (file.container == Container::kJsonl || file.container == Container::kJson) {
    my.ParseJson(&file, text.data(), text.size());
  } else if (my.MakeJson(file, text)) {
    my.ParseJson(nullptr, my.made.data(), my.made.size());
    my.row.json = my.made;
  }
  return my.row;
}

const Row& RowParser::ParseText(const std::string& json) {
  Impl& my = *impl_;
  my.row = Row();
  my.made = json;
  my.made.reserve(json.size() + simdjson::SIMDJSON_PADDING);
  my.row.json = my.made;
  my.on_one_line = false;
  my.ParseJson(nullptr, my.made.data(), my.made.size());
  return my.row;
}

// A CSV record or a line of text as a JSON object.
bool RowParser::Impl::MakeJson(const DataFile& file, std::string_view text) {
  made.clear();
  if (file.container == Container::kText) {
    made += "{\"text\": ";
    AppendJsonString(text, &made);
  } else {
    if (const char* problem = SplitCsvRecord(text, file.container == Container::kCsv ? ',' : '\t', &fields)) {
      Wrong(Rule::kBrokenRow, problem);
      return false;
    }
    if (fields.size() != file.columns.size()) {
      Wrong(Rule::kBrokenRow, fmt::format("{} fields, and the header names {}", fields.size(), file.columns.size()));
      return false;
    }
    for (size_t i = 0; i < fields.size(); ++i) {
      made += i == 0 ? "{" : ", ";
      AppendJsonString(file.columns[i], &made);
      made += ": ";
      AppendJsonString(fields[i], &made);
    }
  }
  made += '}';
  made.reserve(made.size() + simdjson::SIMDJSON_PADDING);
  return true;
}

void RowParser::Impl::ParseJson(const DataFile* file, const char* data, size_t size) {
  if (size > parser.capacity() || parser.max_depth() != kDeepest) {
    if (parser.allocate(std::max<size_t>(2 * size, size_t{1} << 16), kDeepest) != simdjson::SUCCESS)
      throw std::bad_alloc();
  }
  dom::element element;
  const simdjson::error_code code = parser.parse(data, size, false).get(element);
  if (code == simdjson::UTF8_ERROR) return Wrong(Rule::kInvalidUtf8, "");
  if (code != simdjson::SUCCESS) return Wrong(Rule::kBrokenRow, JsonProblem(code, file, {data, size}));
  if (element.get(object) != simdjson::SUCCESS)
    return Wrong(Rule::kBrokenRow,
                 fmt::format("a row must be an object, found {}{}", TypeName(element),
                             file != nullptr && file->container == Container::kJsonl && element.is_array()
                                 ? "; a list of rows is read from a file named .json"
                                 : ""));
  if (!CheckNames()) return;
  FindFormat();
  FindStructure(&row);
}

bool RowParser::Impl::CheckNames() {
  for (const auto& [name, column] : names) {
    if (!FindKey(object, column)) {
      Wrong(Rule::kBrokenRow, fmt::format("--columns: has no \"{}\"", column));
      return false;
    }
    const bool taken = std::any_of(names.begin(), names.end(), [&](const auto& other) { return other.second == name; });
    if (name != column && !taken && FindKey(object, name)) {
      Wrong(Rule::kBrokenRow,
            fmt::format("--columns names \"{}\" as \"{}\", and the row has a \"{}\" of its own", column, name, name));
      return false;
    }
  }
  return true;
}

void RowParser::Impl::FindFormat() {
  const auto has = [&](const char* key) { return Find(key).has_value(); };
  if (has("input_ids")) {
    row.format = RowFormat::kTokens;
    ReadTokens();
  } else if (has("messages") || has("conversations")) {
    const char* key = has("messages") ? "messages" : "conversations";
    row.format = has("messages") ? RowFormat::kMessages : RowFormat::kShareGpt;
    AddSystem();
    AddMessages(*Find(key), key, false);
    const bool has_own = row.turns.size() > 1 && row.turns[1].speaker == Speaker::kSystem;
    if (has_own && row.turns[0].speaker == Speaker::kSystem) row.turns.erase(row.turns.begin());
  } else if (has("chosen") && has("rejected")) {
    row.format = RowFormat::kPreference;
    ReadPreference();
  } else if (has("prompt") && has("completion")) {
    row.format = RowFormat::kPromptCompletion;
    ReadPromptCompletion();
  } else if (has("instruction") && has("output")) {
    row.format = RowFormat::kAlpaca;
    ReadAlpaca();
  } else if (has("text")) {
    row.format = RowFormat::kText;
    AddText("text", Speaker::kDocument, true);
  } else {
    std::vector<std::string> keys;
    for (const auto field : object) {
      if (keys.size() < 8) keys.push_back(ShownText(field.key));
    }
    Wrong(Rule::kUnknownFormat,
          keys.empty() ? "the row is empty" : fmt::format("the keys are {}", fmt::join(keys, ", ")));
  }
}

bool RowParser::Impl::AddText(const char* key, Speaker speaker, bool required) {
  const auto value = Find(key);
  std::string_view text;
  if (value && value->get(text) == simdjson::SUCCESS) {
    AddPart(speaker, text);
    return true;
  }
  if (value || required)
    Wrong(Rule::kWrongType,
          fmt::format("\"{}\" must be a string, found {}", key, value ? TypeName(*value) : "nothing"));
  return false;
}

void RowParser::Impl::AddTurnOf(const char* key, Speaker speaker, bool required) {
  const auto first = static_cast<uint32_t>(row.parts.size());
  if (AddText(key, speaker, required)) row.turns.push_back({speaker, false, first, 1});
}

// A system text beside the turns.
void RowParser::Impl::AddSystem() {
  AddTurnOf("system", Speaker::kSystem, false);
  if (!row.turns.empty() && IsBlankText(row.parts.back().text)) row.turns.pop_back();  // an empty column
}

void RowParser::Impl::AddMessages(const dom::element& list, std::string_view key, bool rejected) {
  dom::array messages;
  if (list.get(messages) != simdjson::SUCCESS || messages.size() == 0) {
    return Wrong(Rule::kWrongType, fmt::format("\"{}\" must be a list of messages, found {}", key,
                                               list.is_array() ? "an empty one" : TypeName(list)));
  }
  size_t i = 0;
  for (const dom::element message : messages) AddMessage(message, {key, i++}, rejected);
}

void RowParser::Impl::AddMessage(const dom::element& message, const Place& place, bool rejected) {
  dom::object fields_of;
  if (message.get(fields_of) != simdjson::SUCCESS)
    return Wrong(Rule::kWrongType, fmt::format("{} must be an object, found {}", place.Text(), TypeName(message)));
  std::optional<dom::element> role_value = FindKey(fields_of, "role");
  const bool share_gpt = !role_value && FindKey(fields_of, "from");
  if (share_gpt) role_value = FindKey(fields_of, "from");
  std::string_view role;
  if (!role_value || role_value->get(role) != simdjson::SUCCESS)
    return Wrong(Rule::kWrongType, fmt::format("{}: the role must be a string, found {}", place.Text(),
                                               role_value ? TypeName(*role_value) : "nothing"));
  const std::string_view known = KnownRole(role);
  if (known.empty()) return Wrong(Rule::kUnknownRole, fmt::format("{}: {}", place.Text(), ShownText(role)));
  Turn turn{rejected ? Speaker::kRejected : SpeakerOf(known), FindKey(fields_of, "tool_calls").has_value(),
            static_cast<uint32_t>(row.parts.size()), 0};
  const auto content = FindKey(fields_of, share_gpt ? "value" : "content");
  if (content) {
    AddContent(*content, place, &turn);
  } else if (!turn.has_calls) {
    Wrong(Rule::kWrongType, fmt::format("{} has no \"{}\"", place.Text(), share_gpt ? "value" : "content"));
  }
  // Of a rejected conversation only the answer is a turn; the rest repeats the prompt.
  if (rejected && !row.turns.empty() && row.turns.back().speaker == Speaker::kRejected) row.turns.pop_back();
  row.turns.push_back(turn);
}

void RowParser::Impl::AddContent(const dom::element& content, const Place& place, Turn* turn) {
  std::string_view text;
  dom::array pieces;
  if (content.get(text) == simdjson::SUCCESS) {
    AddPart(turn->speaker, text);
    turn->parts = 1;
    return;
  }
  if (content.get(pieces) != simdjson::SUCCESS)
    return Wrong(Rule::kWrongType,
                 fmt::format("{}: the content must be a string, found {}", place.Text(), TypeName(content)));
  for (const dom::element piece : pieces) {
    dom::object object_of;
    const auto value = piece.get(object_of) == simdjson::SUCCESS ? FindKey(object_of, "text") : std::nullopt;
    const auto type = value ? FindKey(object_of, "type") : std::nullopt;
    std::string_view kind = "text";
    if (!value || value->get(text) != simdjson::SUCCESS || (type && type->get(kind) != simdjson::SUCCESS) ||
        kind != "text") {
      Wrong(Rule::kWrongType,
            fmt::format("{}: a content part that is no text; only text can be trained on", place.Text()));
      continue;
    }
    AddPart(turn->speaker, text);
    ++turn->parts;
  }
}

void RowParser::Impl::ReadPreference() {
  const dom::element chosen = *Find("chosen"), rejected = *Find("rejected");
  const auto prompt = Find("prompt");
  if (prompt && prompt->is_array()) {
    AddMessages(*prompt, "prompt", false);
  } else {
    AddTurnOf("prompt", Speaker::kUser, false);
  }
  if (chosen.is_array()) {
    AddMessages(chosen, "chosen", false);
  } else {
    AddTurnOf("chosen", Speaker::kAssistant, true);
  }
  if (rejected.is_array()) {
    AddMessages(rejected, "rejected", true);
  } else {
    AddTurnOf("rejected", Speaker::kRejected, true);
  }
}

void RowParser::Impl::ReadAlpaca() {
  AddSystem();
  AddTurnOf("instruction", Speaker::kUser, true);
  if (AddText("input", Speaker::kUser, false) && !row.turns.empty() && row.turns.back().speaker == Speaker::kUser)
    row.turns.back().parts = 2;
  AddTurnOf("output", Speaker::kAssistant, true);
}

void RowParser::Impl::ReadPromptCompletion() {
  const dom::element prompt = *Find("prompt"), completion = *Find("completion");
  if (prompt.is_array() && completion.is_array()) {
    AddMessages(prompt, "prompt", false);
    AddMessages(completion, "completion", false);
  } else if (prompt.is_string() && completion.is_string()) {
    AddTurnOf("prompt", Speaker::kUser, true);
    AddTurnOf("completion", Speaker::kAssistant, true);
  } else {
    Wrong(Rule::kWrongType,
          fmt::format("\"prompt\" and \"completion\" must be two strings or two lists of messages, found {} and {}",
                      TypeName(prompt), TypeName(completion)));
  }
}

void RowParser::Impl::ReadTokens() {
  // How many there are; `trained` of them are no -100. nullopt: they are no list of token ids.
  const auto count_ids = [&](const char* key, bool masked, size_t* trained) -> std::optional<size_t> {
    const auto value = Find(key);
    dom::array ids;
    if (!value || value->get(ids) != simdjson::SUCCESS) return std::nullopt;
    size_t count = 0;
    for (const dom::element id : ids) {
      int64_t number = 0;
      if (id.get(number) != simdjson::SUCCESS || number > INT32_MAX || (number < 0 && !(masked && number == -100)))
        return std::nullopt;
      ++count;
      *trained += number >= 0;
    }
    return count;
  };
  size_t trained = 0;
  const std::optional<size_t> ids = count_ids("input_ids", false, &trained);
  if (!ids || *ids == 0) return Wrong(Rule::kWrongType, "\"input_ids\" must be a list of token ids, of one or more");
  if (!Find("labels")) return;
  trained = 0;
  const std::optional<size_t> labels = count_ids("labels", true, &trained);
  if (!labels) return Wrong(Rule::kWrongType, "\"labels\" must be a list of token ids or -100");
  if (*labels != *ids) return Wrong(Rule::kWrongType, fmt::format("{} labels for {} input_ids", *labels, *ids));
  if (trained == 0) Wrong(Rule::kEmptyAnswer, "every label is -100");
}

std::optional<std::string> RowParser::Value(std::string_view key) const {
  const auto value = impl_->row.readable() ? impl_->Find(key) : std::nullopt;
  if (!value || value->is_array() || value->is_object()) return std::nullopt;
  std::string_view text;
  if (value->get(text) == simdjson::SUCCESS) return std::string(text);
  return simdjson::minify(*value);
}

void RowParser::Write(std::span<const std::optional<std::string>> texts, std::string* out) const {
  const Impl& my = *impl_;
  ReplacedStrings replaced;
  for (size_t i = 0; i < texts.size(); ++i) {
    if (texts[i]) replaced.emplace_back(my.row.parts[i].text.data(), &*texts[i]);
  }
  if (replaced.empty() && my.on_one_line && my.names.empty()) {
    *out += my.row.json;
    return;
  }
  std::sort(replaced.begin(), replaced.end());
  AppendJsonObject(my.object, my.names, replaced, out);
}

}  // namespace attune
