#include "app/prompt_file.h"

#include <algorithm>

#include "base/error.h"
#include "base/file.h"
#include "base/nearest.h"
#include "data/each_line.h"
#include "data/encode.h"
#include "formats/json.h"

namespace attune {
namespace {

using Json = nlohmann::ordered_json;

void CheckConversation(const Json& messages, const std::string& where) {
  const auto is_message = [](const Json& m) {
    return m.is_object() && m.contains("role") && m["role"].is_string() && m.contains("content") &&
           m["content"].is_string();
  };
  if (!messages.is_array() || messages.empty() || !std::all_of(messages.begin(), messages.end(), is_message)) {
    BadInput("{}: must be a list of messages with role and content", where);
  }
}

}  // namespace

PromptFile ReadPromptFile(const std::string& path) {
  const Json json = ParseOrderedJsonFile(path);
  const std::vector<std::string> keys = {"system", "examples", "similar", "made_by"};
  if (!json.is_object()) BadInput("{}: must hold an object, as attune prompt writes it", path);
  for (const auto& [key, value] : json.items()) {
    if (std::find(keys.begin(), keys.end(), key) != keys.end()) continue;
    const std::string nearest = NearestName(key, keys);
    BadInput("{}: unknown key \"{}\"{}", path, key, nearest.empty() ? "" : "; did you mean \"" + nearest + "\"?");
  }
  PromptFile prompt;
  if (json.contains("system")) {
    if (!json["system"].is_string()) BadInput("{}: system: must be a text", path);
    prompt.system = json["system"].get<std::string>();
  }
  if (json.contains("examples")) {
    if (!json["examples"].is_array()) BadInput("{}: examples: must be a list of conversations", path);
    for (const Json& example : json["examples"]) {
      CheckConversation(example, fmt::format("{}: examples: {}", path, prompt.examples.size()));
      prompt.examples.push_back(example);
    }
  }
  if (json.contains("similar")) {
    const Json& similar = json["similar"];
    if (!similar.is_object() || !similar.value("data", Json()).is_string() ||
        !similar.value("shots", Json()).is_number_integer() || similar["shots"].get<int64_t>() < 1) {
      BadInput("{}: similar: must hold data, a path, and shots, a number above 0", path);
    }
    prompt.similar_data = similar["data"].get<std::string>();
    prompt.similar_shots = similar["shots"].get<int64_t>();
    if (similar.contains("vectors")) {
      if (!similar["vectors"].is_string()) BadInput("{}: similar: vectors: must be a path", path);
      prompt.similar_vectors = similar["vectors"].get<std::string>();
    }
  }
  return prompt;
}

Json ToJson(const PromptFile& prompt) {
  Json json = Json::object();
  if (!prompt.system.empty()) json["system"] = prompt.system;
  if (!prompt.examples.empty()) json["examples"] = prompt.examples;
  if (prompt.similar_shots > 0) json["similar"] = {{"data", prompt.similar_data}, {"shots", prompt.similar_shots}};
  if (!prompt.similar_vectors.empty()) json["similar"]["vectors"] = prompt.similar_vectors;
  return json;
}

void MakeConversation(DataRow* row) {
  if (row->kind != DataRow::Kind::kPromptCompletion) return;
  row->kind = DataRow::Kind::kMessages;
  row->messages = {{{"role", "user"}, {"content", row->prompt}}, {{"role", "assistant"}, {"content", row->completion}}};
}

std::vector<DataRow> ReadConversations(const std::string& path) {
  std::vector<DataRow> rows;
  ForEachLine(path, [&](const JsonlLine& line, const std::string& file) {
    DataRow row = ReadDataRow(line, file, true);
    MakeConversation(&row);
    if (row.kind != DataRow::Kind::kMessages)
      BadInput("{}: has no question and answer, which a prompt needs", row.where);
    rows.push_back(std::move(row));
  });
  return rows;
}

std::string QuestionOf(const Json& messages) {
  std::string question;
  for (const Json& message : messages) {
    if (message["role"] == "assistant") break;
    if (message["role"] == "user" && message["content"].is_string())
      question += message["content"].get<std::string>() + "\n";
  }
  return question;
}

std::vector<std::string> QuestionsOf(const std::vector<DataRow>& rows) {
  std::vector<std::string> questions;
  for (const DataRow& row : rows) questions.push_back(QuestionOf(row.messages));
  return questions;
}

Prompter::Prompter(PromptFile prompt, const ModelBundle& bundle) : prompt_(std::move(prompt)) {
  if (prompt_.similar_shots == 0) return;
  Keep(ReadConversations(prompt_.similar_data));
  if (prompt_.similar_vectors.empty()) {
    nearest_ = std::make_shared<NearestByWords>(questions_);
  } else {
    nearest_ = std::make_shared<NearestByMeaning>(bundle, questions_, prompt_.similar_vectors);
  }
}

Prompter::Prompter(PromptFile prompt, const std::vector<DataRow>& rows, std::shared_ptr<const NearestQuestions> nearest)
    : prompt_(std::move(prompt)) {
  if (prompt_.similar_shots == 0) return;
  Keep(rows);
  nearest_ = std::move(nearest);
}

void Prompter::Keep(const std::vector<DataRow>& rows) {
  for (const DataRow& row : rows) conversations_.push_back(row.messages);
  questions_ = QuestionsOf(rows);
}

Json Prompter::Start(const std::string& question) const {
  Json start = Json::array();
  if (!prompt_.system.empty()) start.push_back({{"role", "system"}, {"content", prompt_.system}});
  const auto show = [&](const Json& conversation) {
    for (const Json& message : conversation) {
      if (message["role"] != "system") start.push_back(message);  // one system prompt is enough
    }
  };
  for (const Json& example : prompt_.examples) show(example);
  if (nearest_ == nullptr) return start;
  std::vector<int64_t> chosen;
  for (const int64_t row : nearest_->Nearest(question, 2 * prompt_.similar_shots + 8)) {
    if (questions_[static_cast<size_t>(row)] != question && std::ssize(chosen) < prompt_.similar_shots)
      chosen.push_back(row);
  }
  for (auto row = chosen.rbegin(); row != chosen.rend(); ++row)
    show(conversations_[static_cast<size_t>(*row)]);  // the likest last
  return start;
}

DataRow Prompter::Prompted(const DataRow& row) const {
  DataRow prompted = row;
  Json messages = Start(QuestionOf(row.messages));
  const bool has_system = !prompt_.system.empty();
  size_t dropped = 0;
  prompted.prompt_messages += messages.size();
  for (const Json& message : row.messages) {
    // The prompt's own system message takes the place of the row's; else the row's goes first, where templates want it.
    if (message["role"] == "system" && has_system) {
      ++dropped;
    } else if (message["role"] == "system") {
      messages.insert(messages.begin(), message);
      if (row.prompt_messages == 0) ++prompted.prompt_messages;
    } else {
      messages.push_back(message);
    }
  }
  if (row.prompt_messages > 0) prompted.prompt_messages -= dropped;
  prompted.messages = std::move(messages);
  return prompted;
}

RowEncoder WholeRowEncoder(const ModelBundle& bundle, const NoTokenizer& none) {
  EncodeOptions options;
  options.max_length = 0;
  options.vocab_size = bundle.files.spec().vocab_size;
  const Tokenizer& tokenizer = bundle.tokenizer != nullptr ? *bundle.tokenizer : static_cast<const Tokenizer&>(none);
  return RowEncoder(tokenizer, bundle.chat_format(), bundle.eos_token(), options);
}

std::vector<Example> EncodePrompted(const ModelBundle& bundle, const Prompter& prompter,
                                    const std::vector<DataRow>& rows) {
  if (bundle.chat_template == nullptr)
    BadInput("{}: has no chat template, so a prompt cannot be put before a question", bundle.files.path());
  const NoTokenizer none(bundle.files.path());
  const RowEncoder encoder = WholeRowEncoder(bundle, none);
  std::vector<Example> examples;
  for (const DataRow& row : rows) examples.push_back(encoder.Encode(prompter.Prompted(row)));
  std::erase_if(examples, [](const Example& e) { return TrainedTokens(e) == 0; });
  return examples;
}

}  // namespace attune
