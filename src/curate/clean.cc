#include "curate/clean.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <span>

#include "base/error.h"
#include "curate/stage_pass.h"
#include "curate/text_mending.h"
#include "curate/text_scan.h"
#include "text/unicode.h"

namespace attune {
namespace {

using Json = nlohmann::ordered_json;

constexpr size_t kExamplesABlock = 3;
constexpr int kMostRounds = 4;

bool IsEncodingRule(Rule rule) {
  return rule == Rule::kMojibake || rule == Rule::kControlCharacter || rule == Rule::kOddUnicode ||
         rule == Rule::kNotNfc;
}

// Cleans one row: `texts` holds those of its parts that change.
class RowCleaner {
 public:
  RowCleaner(const Row& row, const RuleActions& actions) : row_(row), actions_(actions), texts_(row.parts.size()) {}

  // The finding for which the row is to be dropped, or nothing.
  std::optional<Finding> Clean() {
    if (const auto drop = FirstDrop(row_.structure)) return drop;
    ScanTexts(row_, &findings_);
    if (const auto drop = FirstDrop(findings_)) return drop;
    // Text may have been through the same mill more than once.
    for (int round = 0; round < kMostRounds && Any(&IsEncodingRule); ++round) {
      MendEncodings();
      // What was hidden behind mojibake or an invisible character shows only now.
      findings_.clear();
      ScanTexts(Now(), &findings_);
      if (const auto drop = FirstDrop(findings_)) return drop;
    }
    EditTexts();
    if (Does(Rule::kWhiteSpace, Action::kMend)) TidyTexts();
    if (changed_.empty()) return std::nullopt;
    Row now = Now();
    now.structure.clear();
    FindStructure(&now);
    return FirstDrop(now.structure);  // an answer may have become empty
  }

  const std::vector<std::optional<std::string>>& texts() const { return texts_; }
  const std::vector<Rule>& changed() const { return changed_; }

 private:
  bool Does(Rule rule, Action action) const { return actions_[static_cast<size_t>(rule)] == action; }
  std::optional<Finding> FirstDrop(const std::vector<Finding>& findings) const {
    for (const Finding& finding : findings) {
      if (Does(finding.rule, Action::kDrop)) return finding;
    }
    return std::nullopt;
  }
  template <class Is>
  bool Any(const Is& is) const {
    return std::any_of(findings_.begin(), findings_.end(),
                       [&](const Finding& f) { return is(f.rule) && Does(f.rule, Action::kMend); });
  }
  void Changed(Rule rule) {
    if (std::find(changed_.begin(), changed_.end(), rule) == changed_.end()) changed_.push_back(rule);
  }
  std::string_view Text(size_t part) const {
    return texts_[part] ? std::string_view(*texts_[part]) : row_.parts[part].text;
  }

  // The row with its texts as they are by now.
  Row Now() const {
    Row now = row_;
    for (size_t i = 0; i < texts_.size(); ++i) now.parts[i].text = Text(i);
    return now;
  }

  // Calls work(part, findings) for each part that has findings; they come part by part.
  template <class Work>
  void ForEachPart(const Work& work) const {
    for (auto begin = findings_.begin(); begin != findings_.end();) {
      const auto end = std::find_if(begin, findings_.end(), [&](const Finding& f) { return f.part != begin->part; });
      work(begin->part, std::span(begin, end));
      begin = end;
    }
  }

  void MendEncodings() {
    ForEachPart([&](uint32_t part, std::span<const Finding> findings) {
      std::vector<Finding> mended;
      for (const Finding& finding : findings) {
        if (!IsEncodingRule(finding.rule) || !Does(finding.rule, Action::kMend)) continue;
        mended.push_back(finding);
        Changed(finding.rule);
      }
      if (!mended.empty()) texts_[part] = MendEncoding(Text(part), mended);
    });
  }

  void EditTexts() {
    ForEachPart([&](uint32_t part, std::span<const Finding> findings) {
      std::vector<TextEdit> edits;
      std::string close_fence;
      for (const Finding& finding : findings) {
        if (Does(finding.rule, Action::kRedact)) {
          edits.push_back({finding.begin, finding.end, RedactionOf(finding.rule)});
        } else if (finding.rule == Rule::kHtml && Does(Rule::kHtml, Action::kMend)) {
          edits.push_back(
              {finding.begin, finding.end, PlainTextOf(Text(part).substr(finding.begin, finding.end - finding.begin))});
        } else if (finding.rule == Rule::kUnbalancedFence && Does(Rule::kUnbalancedFence, Action::kMend)) {
          close_fence = Text(part).substr(finding.begin, finding.end - finding.begin);
        } else {
          continue;
        }
        Changed(finding.rule);
      }
      if (edits.empty() && close_fence.empty()) return;
      std::stable_sort(edits.begin(), edits.end(),
                       [](const TextEdit& a, const TextEdit& b) { return a.begin < b.begin; });
      std::string text = Edited(Text(part), edits);
      if (!close_fence.empty()) text += (text.ends_with('\n') ? "" : "\n") + close_fence;
      texts_[part] = std::move(text);
    });
  }

  void TidyTexts() {
    // Prompt and completion are joined as they are, so the blank between them may be either's.
    const bool joined = row_.format == RowFormat::kPromptCompletion && row_.parts.size() == 2;
    for (size_t part = 0; part < texts_.size(); ++part) {
      const bool trim_start = !joined || part == 0, trim_end = !joined || part == 1;
      if (IsTidy(Text(part), trim_start, trim_end)) continue;
      std::string tidy = TidyWhiteSpace(Text(part), trim_start, trim_end);
      if (tidy == Text(part)) continue;
      texts_[part] = std::move(tidy);
      Changed(Rule::kWhiteSpace);
    }
  }

  const Row& row_;
  const RuleActions& actions_;
  std::vector<Finding> findings_;
  std::vector<std::optional<std::string>> texts_;
  std::vector<Rule> changed_;
};

// The text from shortly before `at` on, as much as a person will read.
std::string ShownFrom(std::string_view text, size_t at) {
  constexpr size_t kBefore = 40, kLongest = 160;
  size_t begin = at <= kBefore ? 0 : at - kBefore;
  while (begin > 0 && (text[begin] & 0xC0) == 0x80) --begin;
  std::string shown = (begin > 0 ? "…" : "") + ReplaceInvalidUtf8(text.substr(begin, kLongest));
  if (text.size() - begin > kLongest) shown += "…";
  return shown;
}

class Cleaner {
 public:
  explicit Cleaner(const CleanSettings& settings, const std::vector<DataFile>& files)
      : settings_(settings), files_(files) {}

  void Take(const RecordBlock& block, const Record& record, const Row& row, RowParser& parser,
            StageOutput& output) const {
    if (!row.readable()) return TakeUnreadable(block, record, row, parser, output);
    const DataFile& file = files_[block.file];
    RowCleaner cleaner(row, settings_.actions);
    if (const auto drop = cleaner.Clean()) {
      const RuleInfo& info = InfoOf(drop->rule);
      std::string line;
      parser.Write(&line);
      return output.Remove(info.id, drop->detail.empty() ? info.what : drop->detail, file, record.line, line, false);
    }
    for (const Rule rule : cleaner.changed()) {
      ++output.changed_rows[InfoOf(rule).id];
      AddExample(rule, cleaner, row, file, record.line, output);
    }
    output.Keep(0, parser, cleaner.texts());
  }

 private:
  // Bytes that are no UTF-8 are replaced where that is asked for, and the row is read again.
  void TakeUnreadable(const RecordBlock& block, const Record& record, const Row& row, RowParser& parser,
                      StageOutput& output) const {
    const bool mend = row.structure[0].rule == Rule::kInvalidUtf8 &&
                      settings_.actions[static_cast<size_t>(Rule::kInvalidUtf8)] == Action::kMend;
    if (!mend) return output.RemoveUnreadable(row, files_[block.file], block, record);
    RecordBlock mended;
    mended.file = block.file;
    mended.bytes = ReplaceInvalidUtf8(block.text(record));
    Record whole = record;
    whole.offset = 0;
    whole.size = mended.bytes.size();
    mended.bytes.append(kReadBehind, '\0');
    const Row& again = parser.Parse(files_[block.file], mended, whole);
    if (!again.readable()) return output.RemoveUnreadable(again, files_[block.file], mended, whole);
    ++output.changed_rows[InfoOf(Rule::kInvalidUtf8).id];
    Take(mended, whole, again, parser, output);
  }

  void AddExample(Rule rule, const RowCleaner& cleaner, const Row& row, const DataFile& file, int64_t line,
                  StageOutput& output) const {
    if (rule == Rule::kWhiteSpace || InfoOf(rule).usual == Action::kRedact || output.examples.size() >= kExamplesABlock)
      return;
    for (size_t part = 0; part < row.parts.size(); ++part) {
      const auto& text = cleaner.texts()[part];
      if (!text) continue;
      const std::string_view before = row.parts[part].text;
      const auto differs =
          std::mismatch(before.begin(), before.end(), text->begin(), text->end()).first - before.begin();
      output.examples.push_back({{"where", fmt::format("{}:{}", file.path, line)},
                                 {"rule", InfoOf(rule).id},
                                 {"before", ShownFrom(before, static_cast<size_t>(differs))},
                                 {"after", ShownFrom(*text, static_cast<size_t>(differs))}});
      return;
    }
  }

  const CleanSettings& settings_;
  const std::vector<DataFile>& files_;
};

Json ActionsJson(const RuleActions& actions) {
  Json json = Json::object();
  for (const RuleInfo& info : RuleTable()) {
    if (info.actions != 0) json[info.id] = ActionName(actions[static_cast<size_t>(info.rule)]);
  }
  return json;
}

}  // namespace

RuleActions UsualActions() {
  RuleActions actions;
  for (const RuleInfo& info : RuleTable()) actions[static_cast<size_t>(info.rule)] = info.usual;
  return actions;
}

void SetAction(const std::string& setting, RuleActions* actions) {
  const size_t sign = setting.find('=');
  if (sign == setting.npos) BadInput("--rules {}: write RULE=ACTION, as in email=keep", setting);
  const Rule rule = RuleNamed(setting.substr(0, sign));
  std::vector<std::string> possible;
  for (const Action action : {Action::kKeep, Action::kMend, Action::kRedact, Action::kDrop}) {
    if ((InfoOf(rule).actions & static_cast<uint8_t>(action)) == 0) continue;
    possible.emplace_back(ActionName(action));
    if (setting.substr(sign + 1) == possible.back()) {
      (*actions)[static_cast<size_t>(rule)] = action;
      return;
    }
  }
  if (possible.empty()) BadInput("--rules {}: only check knows this rule", setting);
  BadInput("--rules {}: {} can be set to {}", setting, InfoOf(rule).id, fmt::join(possible, ", "));
}

Json CleanData(const CleanSettings& settings) {
  RowSource source(settings.stage.input, settings.stage.columns, settings.stage.shard);
  StageFiles files(settings.stage.output, {".jsonl"});
  StageTotals totals(1);
  const Cleaner cleaner(settings, source.files());
  ForEachRow(
      source, settings.stage, 1,
      [&](const RecordBlock& block, const Record& record, const Row& row, RowParser& parser, StageOutput& output) {
        cleaner.Take(block, record, row, parser, output);
      },
      [&](const StageOutput& output) { totals.Take(settings.stage, output, files); });
  Json settings_json = StageSettingsJson(settings.stage);
  settings_json["rules"] = ActionsJson(settings.actions);
  Json record = {{"settings", settings_json}};
  record.update(totals.Json(settings.stage));
  return files.Commit("clean", source.files(), record);
}

}  // namespace attune
