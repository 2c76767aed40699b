#include "curate/check.h"

#include <fmt/format.h>
#include <xxhash.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <span>

#include "base/error.h"
#include "curate/check_tally.h"
#include "curate/language.h"
#include "curate/row_parser.h"
#include "curate/text_scan.h"

namespace attune {
namespace {

constexpr int64_t kBytesAToken = 4;  // of English with the usual vocabularies

uint64_t HashOf(std::string_view text) {
  const size_t begin = text.find_first_not_of(" \t\r\n");
  if (begin == text.npos) return 0;
  text = text.substr(begin, text.find_last_not_of(" \t\r\n") + 1 - begin);
  return XXH3_64bits(text.data(), text.size());
}

class BlockChecker {
 public:
  BlockChecker(const CheckSettings& settings, const DataFile& file, const RecordBlock& block, RowParser& parser)
      : settings_(settings), file_(file), block_(block), parser_(parser) {}

  CheckTally Check() {
    for (const Record& record : block_.records) CheckRecord(record);
    KeepLengths(tally_.shortest, true);
    KeepLengths(tally_.longest, false);
    return std::move(tally_);
  }

 private:
  std::string Where() const { return fmt::format("{}:{}", file_.path, line_); }

  void CheckRecord(const Record& record) {
    line_ = record.line;
    ++tally_.rows;
    tally_.bytes += static_cast<int64_t>(record.size);
    const Row& row = parser_.Parse(file_, block_, record);
    seen_ = 0;
    for (const Finding& finding : row.structure) Count(finding.rule, finding.detail);
    if (!row.readable()) {
      if (!tally_.broken) {
        const Finding& why = row.structure[0];
        tally_.broken = fmt::format("{}: {}", Where(), why.detail.empty() ? InfoOf(why.rule).what : why.detail);
      }
      return;
    }
    uint32_t templates = 0;
    findings_.clear();
    ScanTexts(row, &findings_, &templates);
    for (const Finding& finding : findings_) Count(finding, row);
    CountFormat(row, templates);
    const PromptAnswer split = SplitPromptAnswer(row, &scratch_);
    // What a row with keys of wrong types says is not known as a whole.
    const bool whole = std::none_of(row.structure.begin(), row.structure.end(), [](const Finding& finding) {
      return finding.rule == Rule::kWrongType || finding.rule == Rule::kUnknownRole;
    });
    if (!row.parts.empty() && whole) {
      tally_.prompts.push_back({HashOf(split.prompt), HashOf(split.answer), static_cast<uint32_t>(block_.file), line_});
      CountLanguage(split.answer);
      CountLength(static_cast<int64_t>(split.answer.size()));
    }
    if (settings_.max_length > 0) CheckLength(row);
  }

  // Once a row.
  bool Counted(Rule rule) {
    const uint64_t bit = uint64_t{1} << static_cast<unsigned>(rule);
    if ((seen_ & bit) != 0) return true;
    seen_ |= bit;
    ++tally_.rules[static_cast<size_t>(rule)].rows;
    return false;
  }
  bool Full(Rule rule) const { return tally_.rules[static_cast<size_t>(rule)].examples.size() >= settings_.examples; }
  void Count(Rule rule, const std::string& detail) {
    if (!Counted(rule) && !Full(rule)) tally_.rules[static_cast<size_t>(rule)].examples.push_back({Where(), detail});
  }
  void Count(const Finding& finding, const Row& row) {
    if (!Counted(finding.rule) && !Full(finding.rule))
      tally_.rules[static_cast<size_t>(finding.rule)].examples.push_back({Where(), Excerpt(row, finding)});
  }

  void CountFormat(const Row& row, uint32_t templates) {
    const auto format = static_cast<size_t>(row.format);
    ++tally_.formats[format];
    size_t family = 0;
    while (family < kTemplateFamilies && (templates >> family & 1) == 0) ++family;
    if (family == kTemplateFamilies) family = 0;
    ++tally_.templates[format][family];
    std::string& first = tally_.first_with[format][family];
    if (first.empty()) first = Where();
  }

  void CountLanguage(std::string_view answer) {
    const std::string_view language = LanguageOf(answer);
    ++tally_.languages[language];
    if (language.empty()) return;
    auto& rows = tally_.language_rows[language];
    if (rows.size() < settings_.examples) rows.push_back(Where());
  }

  void CountLength(int64_t length) {
    tally_.lengths.Add(length);
    for (auto* kept : {&tally_.shortest, &tally_.longest}) {
      kept->push_back({length, static_cast<uint32_t>(block_.file), line_});
      if (kept->size() >= 8 * kKeptLengths) KeepLengths(*kept, kept == &tally_.shortest);
    }
  }

  void CheckLength(const Row& row) {
    int64_t tokens = 0;
    for (const TextPart& part : row.parts) tokens += static_cast<int64_t>(part.text.size()) / kBytesAToken;
    if (settings_.count_tokens) {
      line_json_.clear();
      parser_.Write(&line_json_);
      try {
        tokens = settings_.count_tokens(line_json_, Where());
      } catch (const Error&) {
        return;  // a row that training would refuse has been counted above
      }
    }
    if (tokens > settings_.max_length)
      Count(Rule::kTooLong, fmt::format("{}{} tokens, the limit is {}", settings_.count_tokens ? "" : "about ", tokens,
                                        settings_.max_length));
  }

  const CheckSettings& settings_;
  const DataFile& file_;
  const RecordBlock& block_;
  RowParser& parser_;
  CheckTally tally_;
  int64_t line_ = 0;
  uint64_t seen_ = 0;  // rules of this row
  std::vector<Finding> findings_;
  PromptAnswerScratch scratch_;
  std::string line_json_;
};

int64_t CountOf(const CheckResult& result, Severity severity) {
  int64_t rows = 0;
  for (const RuleInfo& info : RuleTable()) {
    if (info.severity == severity) rows += result.rules[static_cast<size_t>(info.rule)].rows;
  }
  return rows;
}

}  // namespace

int64_t CheckResult::Errors() const { return CountOf(*this, Severity::kError); }
int64_t CheckResult::Warnings() const { return CountOf(*this, Severity::kWarning); }

CheckResult CheckData(const CheckSettings& settings) {
  RowSource source(settings.input, settings.columns, settings.shard);
  CheckResult result = CheckRows(source, settings);
  if (result.rows == 0 && !settings.shard.is_part()) BadInput("{}: holds no rows", fmt::join(settings.input, ", "));
  return result;
}

CheckResult CheckRows(RowSource& source, const CheckSettings& settings) {
  CheckTally all;
  struct Room {
    std::unique_ptr<RowParser> parser;
  };
  ForEachBlock<CheckTally, Room>(
      source, settings.threads,
      [&](const RecordBlock& block, Room& room) {
        if (!room.parser) room.parser = std::make_unique<RowParser>(settings.columns);
        return BlockChecker(settings, source.files()[block.file], block, *room.parser).Check();
      },
      [&](const RecordBlock&, CheckTally& part) {
        if (settings.strict && part.broken) BadInput("{}", *part.broken);
        MergeTally(all, part, settings.examples);
      });
  CheckWhole(settings, source.files(), &all);
  CheckResult result;
  result.rows = all.rows;
  result.files = std::ssize(source.files());
  result.bytes = all.bytes;
  result.rules = std::move(all.rules);
  result.formats = all.formats_found;
  for (const auto& [language, rows] : all.languages)
    result.languages[language.empty() ? "unknown" : std::string(language)] = rows;
  result.shortest = all.lengths.shortest();
  result.median = all.lengths.Quantile(0.5);
  result.longest = all.lengths.longest();
  return result;
}

}  // namespace attune
