// Rows that answers are judged by. A row of any format of data/formats.h holds its own reference: the last answer.
// Beside it, or with a question alone ("question", "prompt", or "messages" that end with the user), a row may have
//
//   answer        what is right: a text or a number; beside choices one of them, or its place from 0
//   references    several texts that are right
//   choices       texts, one of which is right
//   pattern       a regular expression that the answer must hold
//   schema        a JSON schema that the answer must be of
//   test          code that is run behind the answer and must end with status 0
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "data/formats.h"

namespace attune {

struct EvalRow {
  DataRow row;                          // with the right answer as its end, where one is known
  nlohmann::ordered_json messages;      // what stands before it; null for a row that is no conversation
  std::string question;                 // to show: the last message, or the raw prompt
  std::vector<std::string> references;  // may be empty
  std::vector<std::string> choices;
  size_t right_choice = 0;
  std::string pattern, test;  // empty: none
  nlohmann::json schema;      // null: none
};

// With a chat template prompt and completion become a conversation, as in attune prompt. Errors: Error{kBadInput}
// naming file, line and key; and a path that holds no row.
std::vector<EvalRow> ReadEvalRows(const std::string& path, bool has_chat_template);

// The row with `answer` as its end instead.
DataRow WithAnswer(const EvalRow& row, const std::string& answer);

}  // namespace attune
