// A prompt as a method: a system prompt, and examples that are always shown or that are chosen for each question.
// prompt.json keeps it, and eval, generate and chat use it.
#pragma once

#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "app/bundle.h"
#include "app/nearest_questions.h"
#include "data/formats.h"

namespace attune {

struct PromptFile {
  std::string system;                            // empty: none
  std::vector<nlohmann::ordered_json> examples;  // conversations that are always shown
  std::string similar_data;                      // rows to choose from, by likeness to the question
  int64_t similar_shots = 0;                     // how many; 0: none
  std::string similar_vectors;                   // NearestByMeaning's file of those rows; empty: likeness goes by words

  bool operator==(const PromptFile&) const = default;
};

// Errors: Error{kBadInput} naming the file and the key.
PromptFile ReadPromptFile(const std::string& path);
nlohmann::ordered_json ToJson(const PromptFile& prompt);

// Conversations of a file or folder of rows (a prompt with its completion is one of two messages). Errors:
// Error{kBadInput} naming the row: text or tokens, which have no question.
std::vector<DataRow> ReadConversations(const std::string& path);

// Of prompt and completion the two messages of a conversation; other rows stay as they are.
void MakeConversation(DataRow* row);

// What the user says before the first answer.
std::string QuestionOf(const nlohmann::ordered_json& messages);

std::vector<std::string> QuestionsOf(const std::vector<DataRow>& rows);

// Puts a prompt before conversations. Rows to choose from are read once.
class Prompter {
 public:
  // `bundle`: of the model that is prompted; must outlive it.
  Prompter(PromptFile prompt, const ModelBundle& bundle);
  // `rows`: those of similar_data, read already; `nearest`: of their questions, may be null where none are chosen.
  Prompter(PromptFile prompt, const std::vector<DataRow>& rows, std::shared_ptr<const NearestQuestions> nearest);

  // The messages to show before a conversation that asks `question`. A row with exactly this question is not shown: it
  // would give the answer away.
  nlohmann::ordered_json Start(const std::string& question) const;

  // The row behind its start, of which no token is trained or scored.
  DataRow Prompted(const DataRow& row) const;

 private:
  void Keep(const std::vector<DataRow>& rows);

  PromptFile prompt_;
  std::vector<nlohmann::ordered_json> conversations_;
  std::vector<std::string> questions_;
  std::shared_ptr<const NearestQuestions> nearest_;  // null: no examples are chosen
};

// Encodes rows with nothing cut; ready tokens need no tokenizer. `bundle` and `none` must outlive it.
RowEncoder WholeRowEncoder(const ModelBundle& bundle, const NoTokenizer& none);

// Rows as the model sees them behind a prompt, nothing cut. Errors: Error{kBadInput} for a model without a chat
// template.
std::vector<Example> EncodePrompted(const ModelBundle& bundle, const Prompter& prompter,
                                    const std::vector<DataRow>& rows);

}  // namespace attune
