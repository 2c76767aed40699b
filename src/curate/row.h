// A row as the data commands see it: its texts with who says them, and what is wrong with its structure.
// Unlike data/formats.h, which is strict and made for training, this takes any row and complains without
// stopping.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "curate/rules.h"

namespace attune {

enum class RowFormat : uint8_t {
  kUnknown,
  kTokens,
  kMessages,
  kShareGpt,
  kPreference,
  kPromptCompletion,
  kAlpaca,
  kText
};
inline constexpr size_t kRowFormats = static_cast<size_t>(RowFormat::kText) + 1;
const char* RowFormatName(RowFormat format);  // "messages", "prompt + completion" ...

enum class Speaker : uint8_t { kSystem, kUser, kAssistant, kTool, kRejected, kDocument };

// One string of the row that somebody wrote. The text lives in the parser.
struct TextPart {
  Speaker speaker = Speaker::kDocument;
  std::string_view text;
};

struct Turn {
  Speaker speaker = Speaker::kUser;
  bool has_calls = false;              // tool calls: it may be without text
  uint32_t first_part = 0, parts = 0;  // in Row::parts
};

// Whatever is found in a row. [begin, end) are bytes of that part's text; equal where the finding is about
// the row.
struct Finding {
  Rule rule;
  uint32_t part = 0;
  size_t begin = 0, end = 0;
  std::string detail;  // one clause; empty: the rule says it all
};

struct Row {
  std::string_view json;  // as JSON, not always on one line
  RowFormat format = RowFormat::kUnknown;
  std::vector<TextPart> parts;
  std::vector<Turn> turns;         // in order; empty for plain text and tokens
  std::vector<Finding> structure;  // kBrokenRow or kInvalidUtf8 stand alone
  bool readable() const {
    return structure.empty() || (structure[0].rule != Rule::kBrokenRow && structure[0].rule != Rule::kInvalidUtf8);
  }
};

// Of a row that is not readable(): what is wrong, as a clause.
std::string WhyUnreadable(const Row& row);

// The answer is the last turn of the assistant, the whole of a document; the prompt is all before it, a line
// break between its texts. `scratch` holds them where there are several.
struct PromptAnswer {
  std::string_view prompt, answer;
};
struct PromptAnswerScratch {
  std::string prompt, answer;
};
PromptAnswer SplitPromptAnswer(const Row& row, PromptAnswerScratch* scratch);

// Roles in a wrong order, no answer at the end, empty texts, answers that repeat their prompt; added to
// row.structure.
void FindStructure(Row* row);

}  // namespace attune
