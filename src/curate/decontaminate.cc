#include "curate/decontaminate.h"

#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <set>

#include "base/error.h"
#include "curate/json_string.h"
#include "curate/stage_pass.h"

namespace attune {
namespace {

using Json = nlohmann::ordered_json;

constexpr size_t kMostPlaces = 64;  // of one run of words in the evaluation files that are looked at

uint64_t HashOfWords(const uint64_t* words, size_t count) {
  uint64_t hash = count;
  for (size_t i = 0; i < count; ++i) hash = (hash ^ words[i]) * 0xD6E8FEB86659FD93, hash ^= hash >> 32;
  return hash;
}

bool IsAsked(Speaker speaker) { return speaker == Speaker::kUser || speaker == Speaker::kDocument; }

std::string TextOfWords(const NormalWords& words, size_t begin, size_t count) {
  std::string text;
  for (size_t i = begin; i < begin + count; ++i) {
    if (i > begin) text += ' ';
    text += words.word(i);
  }
  return text;
}

}  // namespace

void EvalIndex::Add(const Row& row, uint32_t number) {
  for (const TextPart& part : row.parts) {
    if (part.speaker == Speaker::kSystem) continue;
    scratch_.Read(part.text);
    const std::vector<uint64_t>& hashes = scratch_.hashes();
    if (hashes.size() < kShortRun) {
      if (!hashes.empty() && IsAsked(part.speaker))
        wholes_.push_back({HashOfWords(hashes.data(), hashes.size()), number});
      continue;
    }
    const size_t begin = words_.size();
    words_.insert(words_.end(), hashes.begin(), hashes.end());
    words_.push_back(0);
    row_of_.resize(words_.size(), number);
    for (size_t i = 0; i + kShortRun <= hashes.size(); ++i)
      runs_.push_back({HashOfWords(hashes.data() + i, kShortRun), static_cast<uint32_t>(begin + i)});
  }
}

void EvalIndex::Finish() {
  if (words_.size() >= UINT32_MAX)
    BadInput("--against: more than {} words; give the evaluation files in parts", UINT32_MAX);
  std::sort(runs_.begin(), runs_.end(),
            [](const Run& a, const Run& b) { return std::tie(a.hash, a.at) < std::tie(b.hash, b.at); });
  std::sort(wholes_.begin(), wholes_.end(),
            [](const Whole& a, const Whole& b) { return std::tie(a.hash, a.row) < std::tie(b.hash, b.row); });
  size_t bits = 1 << 12;
  while (bits < 16 * runs_.size()) bits *= 2;
  filter_.assign(bits / 64, 0);
  for (const Run& run : runs_) filter_[run.hash / 64 % filter_.size()] |= uint64_t{1} << run.hash % 64;
}

EvalIndex::Match EvalIndex::Longest(const NormalWords& text, Speaker speaker) const {
  const std::vector<uint64_t>& words = text.hashes();
  Match best;
  if (words.size() < kShortRun) {
    if (words.empty() || !IsAsked(speaker)) return best;
    const uint64_t hash = HashOfWords(words.data(), words.size());
    const auto whole =
        std::lower_bound(wholes_.begin(), wholes_.end(), hash, [](const Whole& w, uint64_t h) { return w.hash < h; });
    if (whole != wholes_.end() && whole->hash == hash) best = {words.size(), 0, whole->row, true};
    return best;
  }
  for (size_t i = 0; i + kShortRun <= words.size(); ++i) {
    const uint64_t hash = HashOfWords(words.data() + i, kShortRun);
    if ((filter_[hash / 64 % filter_.size()] >> hash % 64 & 1) == 0) continue;
    auto run = std::lower_bound(runs_.begin(), runs_.end(), hash, [](const Run& r, uint64_t h) { return r.hash < h; });
    for (size_t places = 0; run != runs_.end() && run->hash == hash && places < kMostPlaces; ++run, ++places) {
      const size_t at = run->at;
      if (i > 0 && at > 0 && words[i - 1] == words_[at - 1]) continue;  // found from the word before
      size_t length = 0;
      while (i + length < words.size() && words[i + length] == words_[at + length]) ++length;
      const bool whole =
          IsAsked(speaker) && length == words.size() && (at == 0 || words_[at - 1] == 0) && words_[at + length] == 0;
      if (length > best.words) best = {length, i, row_of_[at], whole};
    }
  }
  if (best.words < kShortRun) return {};  // another run of the same hash
  return best;
}

namespace {

// The evaluation rows, and where each stands.
struct EvalRows {
  EvalIndex index;
  std::vector<std::string> where;
  std::vector<DataFile> files;
};

EvalRows ReadEvalRows(const DecontaminateSettings& settings) {
  EvalRows eval;
  RowSource source(settings.against, settings.stage.columns);
  RowParser parser(settings.stage.columns);
  RecordBlock block;
  while (source.Next(&block)) {
    for (const Record& record : block.records) {
      const DataFile& file = source.files()[block.file];
      const Row& row = parser.Parse(file, block, record);
      const std::string where = fmt::format("{}:{}", file.path, record.line);
      // A row that is missed here leaves its double in the training data.
      if (!row.readable())
        BadInput("{}: an evaluation row that cannot be read: {}", where,
                 row.structure[0].detail.empty() ? InfoOf(row.structure[0].rule).what : row.structure[0].detail);
      eval.index.Add(row, static_cast<uint32_t>(eval.where.size()));
      eval.where.push_back(where);
    }
  }
  if (eval.where.empty()) BadInput("{}: holds no rows", fmt::join(settings.against, ", "));
  eval.index.Finish();
  eval.files = source.files();
  return eval;
}

struct RowMatch {
  EvalIndex::Match match;
  std::string text;
};

RowMatch LongestOfRow(const EvalIndex& index, const Row& row) {
  NormalWords words;
  RowMatch best;
  for (const TextPart& part : row.parts) {
    if (part.speaker == Speaker::kSystem) continue;
    words.Read(part.text);
    const EvalIndex::Match match = index.Longest(words, part.speaker);
    if (match.words > best.match.words) best = {match, TextOfWords(words, match.begin, match.words)};
  }
  return best;
}

}  // namespace

Json DecontaminateData(const DecontaminateSettings& settings) {
  if (settings.words < kShortRun) BadInput("--words {}: {} is the least", settings.words, kShortRun);
  const EvalRows eval = ReadEvalRows(settings);
  RowSource source(settings.stage.input, settings.stage.columns);
  StageFiles files(settings.stage.output, {".jsonl"});
  StageTotals totals(1);
  std::set<std::string> found;
  ForEachRow(
      source, settings.stage, 1,
      [&](const RecordBlock& block, const Record& record, const Row& row, RowParser& parser, StageOutput& output) {
        const DataFile& file = source.files()[block.file];
        if (!row.readable()) return output.RemoveUnreadable(row, file, block, record);
        const auto [match, text] = LongestOfRow(eval.index, row);
        std::string line;
        parser.Write(&line);
        for (const size_t limit : {kShortRun, kLongRun}) output.counts[std::to_string(limit)] += match.words >= limit;
        if (match.words < settings.words && !match.whole) return output.Keep(0, line);
        const std::string& where = eval.where[match.row];
        std::string more = ", \"eval\": ";
        AppendJsonString(where, &more);
        more += fmt::format(", \"words\": {}, \"text\": ", match.words);
        AppendJsonString(text, &more);
        output.Remove("contaminated", fmt::format("{} words in a row as in {}", match.words, where), file, record.line,
                      line, false, more);
        output.examples.push_back({{"where", fmt::format("{}:{}", file.path, record.line)},
                                   {"eval", where},
                                   {"words", match.words},
                                   {"text", text}});
      },
      [&](const StageOutput& output) {
        for (const Json& example : output.examples) found.insert(example["eval"].get<std::string>());
        totals.Take(settings.stage, output, files);
      });
  Json settings_json = StageSettingsJson(settings.stage);
  settings_json["words"] = settings.words;
  Json record = {{"settings", settings_json}, {"against", Json::array()}};
  for (const DataFile& file : eval.files) record["against"].push_back(DescribedFile(file.path));
  record.update(totals.Json(settings.stage));
  record["eval_rows"] = eval.where.size();
  record["eval_rows_found"] = found.size();
  // Nothing has been counted where there are no rows.
  for (const size_t limit : {kShortRun, kLongRun}) record[fmt::format("rows_sharing_{}_words", limit)] = 0;
  for (const auto& [limit, rows] : totals.counts()) record["rows_sharing_" + limit + "_words"] = rows;
  return files.Commit("decontaminate", source.files(), record);
}

}  // namespace attune
