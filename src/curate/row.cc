#include "curate/row.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "text/unicode.h"

namespace attune {
namespace {

constexpr size_t kShortestEcho = 24;  // bytes; "Yes." before more of an answer is no echo

std::string_view Trimmed(std::string_view text) {
  const size_t begin = text.find_first_not_of(" \t\r\n");
  if (begin == text.npos) return {};
  return text.substr(begin, text.find_last_not_of(" \t\r\n") + 1 - begin);
}

void AddStructure(Row* row, Rule rule, std::string detail) {
  row->structure.push_back({rule, 0, 0, 0, std::move(detail)});
}

std::string_view JoinedParts(const Row& row, size_t begin, size_t end, std::string* scratch) {
  if (end - begin == 1) return row.parts[begin].text;
  scratch->clear();
  for (size_t i = begin; i < end; ++i) {
    if (row.parts[i].speaker == Speaker::kRejected) continue;
    if (!scratch->empty()) *scratch += '\n';
    *scratch += row.parts[i].text;
  }
  return *scratch;
}

bool HasText(const Row& row, const Turn& turn) {
  for (uint32_t i = 0; i < turn.parts; ++i) {
    if (!IsBlankText(row.parts[turn.first_part + i].text)) return true;
  }
  return false;
}

const char* SpeakerName(Speaker speaker) {
  static constexpr const char* kNames[] = {"system", "user", "assistant", "tool", "rejected", "document"};
  return kNames[static_cast<size_t>(speaker)];
}

void FindRoleOrder(Row* row) {
  const auto& turns = row->turns;
  for (size_t i = 0; i < turns.size(); ++i) {
    const Speaker now = turns[i].speaker;
    if (now == Speaker::kSystem && i > 0 && turns[i - 1].speaker != Speaker::kSystem)
      return AddStructure(row, Rule::kRoleOrder, fmt::format("turn {} is the system's, and not the first", i + 1));
    const bool first = i == 0 || turns[i - 1].speaker == Speaker::kSystem;
    // Of a preference pair the prompt may be part of both answers.
    const bool may_answer_first = row->format == RowFormat::kPreference && now != Speaker::kTool;
    if (first && now != Speaker::kSystem && now != Speaker::kUser && !may_answer_first)
      return AddStructure(row, Rule::kRoleOrder,
                          fmt::format("the first turn is the {}'s, not a user's", SpeakerName(now)));
    if (!first && now == turns[i - 1].speaker &&
        (now == Speaker::kUser || (now == Speaker::kAssistant && !turns[i - 1].has_calls)))
      return AddStructure(row, Rule::kRoleOrder,
                          fmt::format("turns {} and {} are both the {}'s", i, i + 1, SpeakerName(now)));
  }
}

}  // namespace

const char* RowFormatName(RowFormat format) {
  static constexpr const char* kNames[] = {"unknown",
                                           "input_ids",
                                           "messages",
                                           "conversations",
                                           "chosen + rejected",
                                           "prompt + completion",
                                           "instruction + output",
                                           "text"};
  return kNames[static_cast<size_t>(format)];
}

std::string WhyUnreadable(const Row& row) {
  const Finding& finding = row.structure[0];
  return finding.detail.empty() ? InfoOf(finding.rule).what : finding.detail;
}

PromptAnswer SplitPromptAnswer(const Row& row, PromptAnswerScratch* scratch) {
  if (row.turns.empty()) return {{}, JoinedParts(row, 0, row.parts.size(), &scratch->answer)};
  size_t answer = row.turns.size();
  while (answer > 0 && row.turns[answer - 1].speaker != Speaker::kAssistant) --answer;
  if (answer == 0) return {JoinedParts(row, 0, row.parts.size(), &scratch->prompt), {}};
  const Turn& turn = row.turns[answer - 1];
  return {JoinedParts(row, 0, turn.first_part, &scratch->prompt),
          JoinedParts(row, turn.first_part, turn.first_part + turn.parts, &scratch->answer)};
}

void FindStructure(Row* row) {
  if (row->format == RowFormat::kText && !row->parts.empty() && IsBlankText(row->parts[0].text))
    AddStructure(row, Rule::kEmptyAnswer, "\"text\" is empty");
  if (row->turns.empty()) return;
  FindRoleOrder(row);
  if (row->turns.back().speaker != Speaker::kAssistant && row->turns.back().speaker != Speaker::kRejected)
    AddStructure(row, Rule::kNoFinalAnswer,
                 fmt::format("the last turn is the {}'s", SpeakerName(row->turns.back().speaker)));
  std::optional<std::string_view> asked;  // last, without blanks around it
  for (const Turn& turn : row->turns) {
    const bool answers = turn.speaker == Speaker::kAssistant || turn.speaker == Speaker::kRejected;
    if (answers && !turn.has_calls && !HasText(*row, turn)) AddStructure(row, Rule::kEmptyAnswer, "");
    if (turn.speaker == Speaker::kUser && !HasText(*row, turn)) AddStructure(row, Rule::kEmptyPrompt, "");
    if (turn.speaker == Speaker::kUser)
      asked = turn.parts == 0 ? std::nullopt : std::optional(Trimmed(row->parts[turn.first_part].text));
    if (!answers || !asked || turn.parts == 0) continue;
    const std::string_view prompt = *asked;
    const std::string_view answer = Trimmed(row->parts[turn.first_part].text);
    if (prompt.empty() || !answer.starts_with(prompt)) continue;
    if (answer.size() == prompt.size()) {
      AddStructure(row, Rule::kAnswerIsPrompt, "");
    } else if (prompt.size() >= kShortestEcho) {
      AddStructure(row, Rule::kPromptEcho, "");
    }
  }
}

}  // namespace attune
