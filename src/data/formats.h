// What a training row says, whichever of the usual formats it is written in. Detection is per row, by its
// keys, so that files of different origin can be joined.
//
//   input_ids [, labels]            ready tokens
//   messages                        [{"role", "content", ...}]
//   conversations                   ShareGPT: [{"from", "value"}]
//   prompt + completion             two strings, or two lists of messages
//   instruction [+ input] + output  Alpaca [, system]
//   text                            plain text
//
// The first of these that a row has wins. A key whose value is null counts as absent. `tools` (a list, or
// that list as a JSON string) and `chat_template_kwargs` beside any of the conversational formats reach the
// chat template.
#pragma once

#include <cstddef>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace attune {

struct DataRow {
  enum class Kind { kMessages, kPromptCompletion, kText, kTokens };

  Kind kind = Kind::kText;
  std::string where;  // "train.jsonl:12", for errors

  // kMessages: role is system, developer, user, assistant or tool, content a string (null or absent only
  // beside tool_calls); further keys are kept. Of a conversational prompt + completion, `prompt_messages` are
  // the prompt.
  nlohmann::ordered_json messages;
  size_t prompt_messages = 0;
  nlohmann::ordered_json tools;            // null when absent
  nlohmann::ordered_json template_kwargs;  // null when absent

  std::string prompt, completion;  // kPromptCompletion
  std::string text;                // kText

  std::vector<int32_t> input_ids, labels;  // kTokens; labels as long as input_ids, -100 where not trained
};

// system, developer, user, assistant or tool, as which a role of that name counts ("human" is a user); empty: none.
std::string_view KnownRole(std::string_view name);

// Alpaca rows become messages where there is a chat template (instruction and input, a blank line between,
// are the user's turn) and otherwise prompt and completion in Stanford Alpaca's wording. Errors:
// Error{kBadInput} starting with `where`: no known format (names the keys the row has, and the nearest known
// one), an unknown role, content that is not text, an empty answer, ids that are not int32, labels of another
// length.
DataRow ParseRow(nlohmann::ordered_json row, bool has_chat_template, const std::string& where);

}  // namespace attune
