#include "curate/rules.h"

#include <array>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/nearest.h"

namespace attune {
namespace {

constexpr uint8_t kK = static_cast<uint8_t>(Action::kKeep), kM = static_cast<uint8_t>(Action::kMend),
                  kR = static_cast<uint8_t>(Action::kRedact), kD = static_cast<uint8_t>(Action::kDrop);
constexpr Severity kErr = Severity::kError, kWarn = Severity::kWarning;

constexpr std::array<RuleInfo, kRules> kRuleTable = {{
    {Rule::kBrokenRow, "broken-row", kErr, kD, Action::kDrop, "the row cannot be read"},
    {Rule::kInvalidUtf8, "invalid-utf8", kErr, kD | kM, Action::kDrop, "bytes that are no UTF-8"},
    {Rule::kUnknownFormat, "unknown-format", kErr, kK | kD, Action::kDrop, "no known row format in the keys"},
    {Rule::kWrongType, "wrong-type", kErr, kK | kD, Action::kDrop, "a key is missing or holds the wrong type"},
    {Rule::kUnknownRole, "unknown-role", kErr, kK | kD, Action::kDrop, "a role that is not known"},
    {Rule::kRoleOrder, "role-order", kErr, kK | kD, Action::kDrop,
     "turns in an order that a conversation does not have"},
    {Rule::kNoFinalAnswer, "no-final-answer", kErr, kK | kD, Action::kDrop, "the last turn is not the assistant's"},
    {Rule::kEmptyAnswer, "empty-answer", kErr, kK | kD, Action::kDrop, "an answer without text"},
    {Rule::kEmptyPrompt, "empty-prompt", kWarn, kK | kD, Action::kKeep, "a prompt without text"},
    {Rule::kAnswerIsPrompt, "answer-is-prompt", kErr, kK | kD, Action::kDrop, "the answer equals the prompt"},
    {Rule::kPromptEcho, "prompt-echo", kWarn, kK | kD, Action::kKeep, "the answer begins with the prompt"},
    {Rule::kTooLong, "too-long", kWarn, 0, Action::kKeep, "longer than the context: the end would be cut off"},
    {Rule::kMojibake, "mojibake", kErr, kK | kM | kD, Action::kMend, "UTF-8 that was read as Windows-1252"},
    {Rule::kControlCharacter, "control-character", kErr, kK | kM | kD, Action::kMend, "control characters"},
    {Rule::kReplacementCharacter, "replacement-character", kErr, kK | kD, Action::kKeep,
     "U+FFFD: a character was lost before"},
    {Rule::kOddUnicode, "odd-unicode", kWarn, kK | kM | kD, Action::kMend,
     "invisible, private or direction-changing characters"},
    {Rule::kNotNfc, "not-nfc", kWarn, kK | kM | kD, Action::kMend, "Unicode that is not in normal form C"},
    {Rule::kTruncatedAnswer, "truncated-answer", kWarn, kK | kD, Action::kKeep,
     "a long answer that stops within a sentence"},
    {Rule::kRefusal, "refusal", kWarn, kK | kD, Action::kKeep, "the answer refuses or speaks as a language model"},
    {Rule::kBoilerplate, "boilerplate", kWarn, kK | kD, Action::kKeep, "phrases that say nothing"},
    {Rule::kUnbalancedFence, "unbalanced-fence", kWarn, kK | kM | kD, Action::kKeep, "a code fence that is not closed"},
    {Rule::kHtml, "html", kWarn, kK | kM | kD, Action::kMend, "left-overs of HTML"},
    {Rule::kTemplateToken, "template-token", kWarn, kK | kD, Action::kKeep, "marks of a chat template within the text"},
    {Rule::kWhiteSpace, "white-space", kWarn, kK | kM, Action::kMend,
     "blanks at ends, foreign line ends, rows of empty lines"},
    {Rule::kEmail, "email", kErr, kK | kR | kD, Action::kRedact, "an e-mail address"},
    {Rule::kPhone, "phone", kErr, kK | kR | kD, Action::kRedact, "a telephone number"},
    {Rule::kCardNumber, "card-number", kErr, kK | kR | kD, Action::kRedact, "a payment card's number (Luhn)"},
    {Rule::kIban, "iban", kErr, kK | kR | kD, Action::kRedact, "a bank account (IBAN, mod 97)"},
    {Rule::kSecret, "secret", kErr, kK | kR | kD, Action::kRedact, "a key or token"},
    {Rule::kDuplicate, "duplicate", kWarn, 0, Action::kKeep, "the same prompt and answer again"},
    {Rule::kConflict, "conflict", kWarn, 0, Action::kKeep, "the same prompt with another answer"},
    {Rule::kMixedFormats, "mixed-formats", kWarn, 0, Action::kKeep, "rows of several formats or prompt templates"},
    {Rule::kLanguageMix, "language-mix", kWarn, 0, Action::kKeep, "rows in another language than most"},
    {Rule::kUnusualLength, "unusual-length", kWarn, 0, Action::kKeep, "far shorter or longer than the others"},
}};

}  // namespace

std::span<const RuleInfo> RuleTable() { return kRuleTable; }

const char* ActionName(Action action) {
  switch (action) {
    case Action::kKeep:
      return "keep";
    case Action::kMend:
      return "mend";
    case Action::kRedact:
      return "redact";
    default:
      return "drop";
  }
}

const char* SeverityName(Severity severity) { return severity == Severity::kError ? "error" : "warning"; }

Rule RuleNamed(std::string_view id) {
  std::vector<std::string> known;
  for (const RuleInfo& info : kRuleTable) {
    if (id == info.id) return info.rule;
    known.emplace_back(info.id);
  }
  const std::string near = NearestName(id, known);
  BadInput("no rule is called \"{}\"{}; `attune data clean --help` lists them", id,
           near.empty() ? "" : ", did you mean \"" + near + "\"?");
}

}  // namespace attune
