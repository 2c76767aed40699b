#include "app/eval_rows.h"

#include <algorithm>

#include "app/prompt_file.h"
#include "base/error.h"
#include "data/each_line.h"

namespace attune {
namespace {

using Json = nlohmann::ordered_json;

bool HasKey(const Json& json, const char* key) { return json.contains(key) && !json[key].is_null(); }

std::string TextUnder(const Json& json, const char* key, const std::string& where) {
  if (!json[key].is_string() || json[key].get_ref<const std::string&>().empty())
    BadInput("{}: \"{}\" must be a text that is not empty", where, key);
  return json[key].get<std::string>();
}

std::vector<std::string> TextsUnder(const Json& json, const char* key, const std::string& where) {
  const Json& list = json[key];
  if (!list.is_array() || list.empty() ||
      !std::all_of(list.begin(), list.end(), [](const Json& t) { return t.is_string(); })) {
    BadInput("{}: \"{}\" must be a list of texts that is not empty", where, key);
  }
  return list.get<std::vector<std::string>>();
}

void ReadChoices(const Json& json, EvalRow* row, const std::string& where) {
  row->choices = TextsUnder(json, "choices", where);
  const auto count = std::ssize(row->choices);
  if (count < 2) BadInput("{}: \"choices\" must be two or more", where);
  const Json answer = HasKey(json, "answer") ? json["answer"] : Json();
  if (answer.is_number_integer() && answer >= 0 && answer < count) {
    row->right_choice = answer.get<size_t>();
  } else {
    const auto found =
        std::find(row->choices.begin(), row->choices.end(), answer.is_string() ? answer.get<std::string>() : "");
    if (!answer.is_string() || found == row->choices.end()) {
      BadInput("{}: \"answer\" must be one of the choices, or its place from 0 to {}", where, count - 1);
    }
    row->right_choice = static_cast<size_t>(found - row->choices.begin());
  }
  row->references = {row->choices[row->right_choice]};
}

void ReadReferences(const Json& json, EvalRow* row, const std::string& where) {
  if (HasKey(json, "choices")) return ReadChoices(json, row, where);
  if (HasKey(json, "references")) {
    row->references = TextsUnder(json, "references", where);
  } else if (HasKey(json, "answer")) {
    const Json& answer = json["answer"];
    if (!answer.is_string() && !answer.is_number()) BadInput("{}: \"answer\" must be a text or a number", where);
    row->references = {answer.is_string() ? answer.get<std::string>() : answer.dump()};
  }
}

// A question that stands alone becomes a conversation; one that ends without an answer gets the first reference.
Json WithItsAnswer(Json json, const std::vector<std::string>& references, const std::string& where) {
  if (!HasKey(json, "messages") && !HasKey(json, "conversations") && !HasKey(json, "completion") &&
      !HasKey(json, "output")) {
    for (const char* key : {"question", "prompt"}) {
      if (!HasKey(json, key) || HasKey(json, "messages")) continue;
      json["messages"] =
          json[key].is_array() ? json[key] : Json{{{"role", "user"}, {"content", TextUnder(json, key, where)}}};
    }
  }
  if (!HasKey(json, "messages")) return json;
  Json& messages = json["messages"];
  if (messages.is_array() && !messages.empty() && messages.back().is_object() &&
      messages.back().value("role", Json()) != "assistant" && !references.empty()) {
    messages.push_back({{"role", "assistant"}, {"content", references.front()}});
  }
  return json;
}

EvalRow ReadEvalRow(const JsonlLine& line, const std::string& file, bool has_chat_template) {
  EvalRow row;
  if (IsPlainText(file)) {
    row.row = ReadDataRow(line, file, has_chat_template);
    return row;
  }
  const std::string where = fmt::format("{}:{}", file, line.number);
  Json json = ParseJsonlLine(line, file);
  ReadReferences(json, &row, where);
  if (HasKey(json, "pattern")) row.pattern = TextUnder(json, "pattern", where);
  if (HasKey(json, "test")) row.test = TextUnder(json, "test", where);
  if (HasKey(json, "schema")) row.schema = json["schema"];
  row.row = ParseRow(WithItsAnswer(std::move(json), row.references, where), has_chat_template, where);
  if (has_chat_template) MakeConversation(&row.row);
  DataRow& data = row.row;
  if (data.kind == DataRow::Kind::kPromptCompletion) {
    row.question = data.prompt;
    if (row.references.empty()) row.references = {data.completion};
  } else if (data.kind == DataRow::Kind::kMessages) {
    row.messages = data.messages;
    if (row.messages.back()["role"] == "assistant") {
      const Json content = row.messages.back().value("content", Json());
      if (row.references.empty() && content.is_string()) row.references = {content.get<std::string>()};
      row.messages.erase(row.messages.size() - 1);
    }
    if (row.messages.empty()) BadInput("{}: has no question before its answer", where);
    const Json content = row.messages.back().value("content", Json());
    row.question = content.is_string() ? content.get<std::string>() : "";
  }
  return row;
}

}  // namespace

std::vector<EvalRow> ReadEvalRows(const std::string& path, bool has_chat_template) {
  std::vector<EvalRow> rows;
  ForEachLine(path, [&](const JsonlLine& line, const std::string& file) {
    rows.push_back(ReadEvalRow(line, file, has_chat_template));
  });
  return rows;
}

DataRow WithAnswer(const EvalRow& row, const std::string& answer) {
  DataRow out = row.row;
  if (out.kind == DataRow::Kind::kPromptCompletion) {
    out.completion = answer;
    return out;
  }
  out.messages = row.messages;
  out.prompt_messages = out.messages.size();  // of earlier answers nothing is scored
  out.messages.push_back({{"role", "assistant"}, {"content", answer}});
  return out;
}

}  // namespace attune
