#include "curate/check.h"

#include <fmt/format.h>
#include <xxhash.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <span>

#include "base/error.h"
#include "curate/language.h"
#include "curate/length_histogram.h"
#include "curate/row_parser.h"
#include "curate/text_scan.h"

namespace attune {
namespace {

constexpr int64_t kBytesAToken = 4;     // of English with the usual vocabularies
constexpr double kFarOff = 3;           // interquartile ranges, of logarithms, that make a length unusual
constexpr size_t kKeptLengths = 8;      // of the shortest and longest answers

// What of a row is compared with the others.
struct PromptHash {
  uint64_t prompt = 0, answer = 0;
  uint32_t file = 0;
  int64_t line = 0;
};

struct LengthAt {
  int64_t length = 0;
  uint32_t file = 0;
  int64_t line = 0;
};

// A block's findings, and then those of all.
struct Tally {
  int64_t rows = 0, bytes = 0;
  std::array<RuleCount, kRules> rules;
  std::array<int64_t, kRowFormats> formats{};
  std::array<std::array<int64_t, kTemplateFamilies>, kRowFormats> templates{};
  std::array<std::array<std::string, kTemplateFamilies>, kRowFormats> first_with;  // where such a row was seen first
  std::map<std::string_view, int64_t> languages;
  std::map<std::string_view, std::vector<std::string>> language_rows;
  std::vector<PromptHash> prompts;
  LengthHistogram lengths;
  std::vector<LengthAt> shortest, longest;
  std::optional<std::string> broken;  // the first, for strict
};

uint64_t HashOf(std::string_view text) {
  const size_t begin = text.find_first_not_of(" \t\r\n");
  if (begin == text.npos) return 0;
  text = text.substr(begin, text.find_last_not_of(" \t\r\n") + 1 - begin);
  return XXH3_64bits(text.data(), text.size());
}

void KeepLengths(std::vector<LengthAt>& kept, bool shortest) {
  std::stable_sort(kept.begin(), kept.end(), [&](const LengthAt& a, const LengthAt& b) {
    return shortest ? a.length < b.length : a.length > b.length;
  });
  if (kept.size() > kKeptLengths) kept.resize(kKeptLengths);
}

class BlockChecker {
 public:
  BlockChecker(const CheckSettings& settings, const DataFile& file, const RecordBlock& block, RowParser& parser)
      : settings_(settings), file_(file), block_(block), parser_(parser) {}

  Tally Check() {
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
    if (!row.parts.empty()) {
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
      Count(Rule::kTooLong, fmt::format("{}{} tokens, the limit is {}", settings_.count_tokens ? "" : "about ", tokens, settings_.max_length));
  }

  const CheckSettings& settings_;
  const DataFile& file_;
  const RecordBlock& block_;
  RowParser& parser_;
  Tally tally_;
  int64_t line_ = 0;
  uint64_t seen_ = 0;  // rules of this row
  std::vector<Finding> findings_;
  PromptAnswerScratch scratch_;
  std::string line_json_;
};

void MergeTally(Tally& all, Tally& part, size_t examples) {
  all.rows += part.rows;
  all.bytes += part.bytes;
  for (size_t i = 0; i < kRules; ++i) {
    all.rules[i].rows += part.rules[i].rows;
    for (FindingExample& example : part.rules[i].examples) {
      if (all.rules[i].examples.size() < examples) all.rules[i].examples.push_back(std::move(example));
    }
  }
  for (size_t f = 0; f < kRowFormats; ++f) {
    all.formats[f] += part.formats[f];
    for (size_t t = 0; t < kTemplateFamilies; ++t) {
      all.templates[f][t] += part.templates[f][t];
      if (all.first_with[f][t].empty()) all.first_with[f][t] = part.first_with[f][t];
    }
  }
  for (const auto& [language, rows] : part.languages) all.languages[language] += rows;
  for (auto& [language, rows] : part.language_rows) {
    auto& kept = all.language_rows[language];
    for (std::string& row : rows) {
      if (kept.size() < examples) kept.push_back(std::move(row));
    }
  }
  all.prompts.insert(all.prompts.end(), part.prompts.begin(), part.prompts.end());
  all.lengths.Merge(part.lengths);
  all.shortest.insert(all.shortest.end(), part.shortest.begin(), part.shortest.end());
  all.longest.insert(all.longest.end(), part.longest.begin(), part.longest.end());
  KeepLengths(all.shortest, true);
  KeepLengths(all.longest, false);
}

// The findings that need all rows.
class WholeChecker {
 public:
  WholeChecker(const CheckSettings& settings, const std::vector<DataFile>& files, Tally& tally) : settings_(settings), files_(files), tally_(tally) {}

  void Check() {
    CheckPrompts();
    CheckFormats();
    CheckLanguages();
    CheckLengths();
  }

 private:
  RuleCount& Of(Rule rule) { return tally_.rules[static_cast<size_t>(rule)]; }
  void Show(Rule rule, std::string where, std::string detail) {
    if (Of(rule).examples.size() < settings_.examples) Of(rule).examples.push_back({std::move(where), std::move(detail)});
  }
  std::string Where(uint32_t file, int64_t line) const { return fmt::format("{}:{}", files_[file].path, line); }

  void CheckPrompts() {
    auto& rows = tally_.prompts;
    std::sort(rows.begin(), rows.end(), [](const PromptHash& a, const PromptHash& b) {
      return std::tie(a.prompt, a.file, a.line) < std::tie(b.prompt, b.file, b.line);
    });
    // Rows of one prompt, in the order of the files; the sets are shown in the order of the files too.
    std::vector<std::span<const PromptHash>> sets;
    for (size_t i = 0; i < rows.size();) {
      size_t end = i + 1;
      while (end < rows.size() && rows[end].prompt == rows[i].prompt) ++end;
      if (end > i + 1) sets.emplace_back(&rows[i], end - i);
      i = end;
    }
    std::sort(sets.begin(), sets.end(), [](const auto& a, const auto& b) { return std::tie(a[0].file, a[0].line) < std::tie(b[0].file, b[0].line); });
    for (const auto& set : sets) CheckSamePrompt(set);
  }

  void CheckSamePrompt(std::span<const PromptHash> set) {
    const bool has_prompt = set[0].prompt != 0;  // documents have none, and no conflict
    std::map<uint64_t, const PromptHash*> answers;
    bool shown = false;
    for (const PromptHash& row : set) {
      const auto [first, fresh] = answers.emplace(row.answer, &row);
      if (!fresh) {
        ++Of(Rule::kDuplicate).rows;
        Show(Rule::kDuplicate, Where(row.file, row.line), "as " + Where(first->second->file, first->second->line));
      } else if (has_prompt && answers.size() > 1) {
        ++Of(Rule::kConflict).rows;
        if (!shown) Show(Rule::kConflict, Where(row.file, row.line), "answers otherwise than " + Where(set[0].file, set[0].line));
        shown = true;
      }
    }
  }

  void CheckFormats() {
    struct Cluster {
      int64_t rows;
      std::string name;
      const std::string* first;
    };
    std::vector<Cluster> clusters;
    for (size_t f = 1; f < kRowFormats; ++f) {
      for (size_t t = 0; t < kTemplateFamilies; ++t) {
        if (tally_.templates[f][t] == 0) continue;
        std::string name = RowFormatName(static_cast<RowFormat>(f));
        if (t > 0) name += fmt::format(" with marks of {}", TemplateFamilyName(static_cast<TemplateFamily>(t)));
        clusters.push_back({tally_.templates[f][t], std::move(name), &tally_.first_with[f][t]});
      }
    }
    std::stable_sort(clusters.begin(), clusters.end(), [](const Cluster& a, const Cluster& b) { return a.rows > b.rows; });
    for (size_t i = 0; i < clusters.size(); ++i) {
      formats[clusters[i].name] = clusters[i].rows;
      if (i == 0) continue;
      Of(Rule::kMixedFormats).rows += clusters[i].rows;
      Show(Rule::kMixedFormats, *clusters[i].first,
           fmt::format("{} ({} rows; most are {})", clusters[i].name, clusters[i].rows, clusters[0].name));
    }
  }

  void CheckLanguages() {
    std::vector<std::pair<int64_t, std::string_view>> order;
    for (const auto& [language, rows] : tally_.languages) {
      if (!language.empty()) order.emplace_back(-rows, language);
    }
    std::sort(order.begin(), order.end());
    for (size_t i = 1; i < order.size(); ++i) {
      Of(Rule::kLanguageMix).rows -= order[i].first;
      for (const std::string& row : tally_.language_rows[order[i].second])
        Show(Rule::kLanguageMix, row, fmt::format("{}; most rows are {}", order[i].second, order[0].second));
    }
  }

  // Far beyond the quartiles on a scale of logarithms: lengths of answers spread over orders of magnitude.
  void CheckLengths() {
    if (tally_.lengths.total() < 20) return;  // too few to call one unusual
    const auto log_of = [](int64_t length) { return std::log2(static_cast<double>(length) + 1); };
    const double low = log_of(tally_.lengths.Quantile(0.25)), high = log_of(tally_.lengths.Quantile(0.75));
    const double range = std::max(high - low, 0.5);
    const auto shortest = static_cast<int64_t>(std::exp2(low - kFarOff * range) - 1);
    const auto longest = static_cast<int64_t>(std::exp2(high + kFarOff * range) - 1);
    int64_t& rows = Of(Rule::kUnusualLength).rows;
    for (const auto& kept : {tally_.longest, tally_.shortest}) {
      for (const LengthAt& row : kept) {
        if (row.length >= shortest && row.length <= longest) continue;
        ++rows;
        Show(Rule::kUnusualLength, Where(row.file, row.line),
             fmt::format("an answer of {} bytes; half of all have {} to {}", row.length, tally_.lengths.Quantile(0.25), tally_.lengths.Quantile(0.75)));
      }
    }
    if (rows >= static_cast<int64_t>(kKeptLengths)) rows = std::max(rows, tally_.lengths.Outside(shortest, longest));
  }

 public:
  std::map<std::string, int64_t> formats;

 private:
  const CheckSettings& settings_;
  const std::vector<DataFile>& files_;
  Tally& tally_;
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
  RowSource source(settings.input, settings.columns);
  Tally all;
  struct Room {
    std::unique_ptr<RowParser> parser;
  };
  ForEachBlock<Tally, Room>(
      source, settings.threads,
      [&](const RecordBlock& block, Room& room) {
        if (!room.parser) room.parser = std::make_unique<RowParser>(settings.columns);
        return BlockChecker(settings, source.files()[block.file], block, *room.parser).Check();
      },
      [&](const RecordBlock&, Tally& part) {
        if (settings.strict && part.broken) BadInput("{}", *part.broken);
        MergeTally(all, part, settings.examples);
      });
  WholeChecker whole(settings, source.files(), all);
  whole.Check();
  CheckResult result;
  result.rows = all.rows;
  result.files = std::ssize(source.files());
  result.bytes = all.bytes;
  result.rules = std::move(all.rules);
  result.formats = std::move(whole.formats);
  for (const auto& [language, rows] : all.languages) result.languages[language.empty() ? "unknown" : std::string(language)] = rows;
  result.shortest = all.lengths.shortest();
  result.median = all.lengths.Quantile(0.5);
  result.longest = all.lengths.longest();
  if (result.rows == 0) BadInput("{}: holds no rows", fmt::join(settings.input, ", "));
  return result;
}

}  // namespace attune
