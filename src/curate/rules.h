// What can be wrong with a row: one table for what `check` finds and what `clean` does about it. docs/data.md
// explains them.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

namespace attune {

enum class Rule : uint8_t {
  // The row as a whole.
  kBrokenRow,
  kInvalidUtf8,
  kUnknownFormat,
  kWrongType,
  kUnknownRole,
  kRoleOrder,
  kNoFinalAnswer,
  kEmptyAnswer,
  kEmptyPrompt,
  kAnswerIsPrompt,
  kPromptEcho,
  kTooLong,
  // Its text.
  kMojibake,
  kControlCharacter,
  kReplacementCharacter,
  kOddUnicode,
  kNotNfc,
  kTruncatedAnswer,
  kRefusal,
  kBoilerplate,
  kUnbalancedFence,
  kHtml,
  kTemplateToken,
  kWhiteSpace,
  // What must not be learned by heart.
  kEmail,
  kPhone,
  kCardNumber,
  kIban,
  kSecret,
  // The rows beside one another.
  kDuplicate,
  kConflict,
  kMixedFormats,
  kLanguageMix,
  kUnusualLength,
};
inline constexpr size_t kRules = static_cast<size_t>(Rule::kUnusualLength) + 1;

enum class Severity : uint8_t { kError, kWarning };

// What clean can do: leave it, put the text right, put a mark in its place, take the row out.
enum class Action : uint8_t { kKeep = 1, kMend = 2, kRedact = 4, kDrop = 8 };

struct RuleInfo {
  Rule rule;
  const char* id;
  Severity severity;
  uint8_t actions;   // of clean: those that it can take, or-ed; 0: none, only check knows the rule
  Action usual;      // what clean does unless told otherwise
  const char* what;  // one clause for people
};

// In the order of Rule.
std::span<const RuleInfo> RuleTable();
inline const RuleInfo& InfoOf(Rule rule) { return RuleTable()[static_cast<size_t>(rule)]; }

const char* ActionName(Action action);
const char* SeverityName(Severity severity);

// Errors: Error{kBadInput} naming the nearest id.
Rule RuleNamed(std::string_view id);

}  // namespace attune
