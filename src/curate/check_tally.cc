#include "curate/check_tally.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <span>

namespace attune {
namespace {

constexpr double kFarOff = 3;  // interquartile ranges, of logarithms, that make a length unusual

// The findings that need all rows.
class WholeChecker {
 public:
  WholeChecker(const CheckSettings& settings, const std::vector<DataFile>& files, CheckTally& tally)
      : settings_(settings), files_(files), tally_(tally) {}

  void Check() {
    CheckPrompts();
    CheckFormats();
    CheckLanguages();
    CheckLengths();
  }

 private:
  RuleCount& Of(Rule rule) { return tally_.rules[static_cast<size_t>(rule)]; }
  void Show(Rule rule, std::string where, std::string detail) {
    if (Of(rule).examples.size() < settings_.examples)
      Of(rule).examples.push_back({std::move(where), std::move(detail)});
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
    std::sort(sets.begin(), sets.end(), [](const auto& a, const auto& b) {
      return std::tie(a[0].file, a[0].line) < std::tie(b[0].file, b[0].line);
    });
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
        if (!shown)
          Show(Rule::kConflict, Where(row.file, row.line), "answers otherwise than " + Where(set[0].file, set[0].line));
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
    std::stable_sort(clusters.begin(), clusters.end(),
                     [](const Cluster& a, const Cluster& b) { return a.rows > b.rows; });
    for (size_t i = 0; i < clusters.size(); ++i) {
      tally_.formats_found[clusters[i].name] = clusters[i].rows;
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
             fmt::format("an answer of {} bytes; half of all have {} to {}", row.length, tally_.lengths.Quantile(0.25),
                         tally_.lengths.Quantile(0.75)));
      }
    }
    if (rows >= static_cast<int64_t>(kKeptLengths)) rows = std::max(rows, tally_.lengths.Outside(shortest, longest));
  }

  const CheckSettings& settings_;
  const std::vector<DataFile>& files_;
  CheckTally& tally_;
};

}  // namespace

void KeepLengths(std::vector<LengthAt>& kept, bool shortest) {
  std::stable_sort(kept.begin(), kept.end(), [&](const LengthAt& a, const LengthAt& b) {
    return shortest ? a.length < b.length : a.length > b.length;
  });
  if (kept.size() > kKeptLengths) kept.resize(kKeptLengths);
}

void MergeTally(CheckTally& all, CheckTally& part, size_t examples) {
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

void CheckWhole(const CheckSettings& settings, const std::vector<DataFile>& files, CheckTally* tally) {
  WholeChecker(settings, files, *tally).Check();
}

}  // namespace attune
