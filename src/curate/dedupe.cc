#include "curate/dedupe.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/clock.h"
#include "base/error.h"
#include "curate/json_string.h"
#include "curate/named_choice.h"
#include "curate/stage_pass.h"

namespace attune {
namespace {

using Json = nlohmann::ordered_json;

constexpr size_t kShownClusters = 10, kShownRows = 5;
constexpr const char* kKeepNames[] = {"first", "longest", "score"};

// Of each row, the row that stays of its cluster.
std::vector<uint32_t> ChooseKept(const DuplicateClusters& clusters, KeepRow policy) {
  const auto better = [&](const RowOrigin& a, const RowOrigin& b) {
    return policy == KeepRow::kLongest ? a.length > b.length : policy == KeepRow::kBestScore && a.score > b.score;
  };
  std::vector<uint32_t> best(clusters.rows.size());  // by lowest row of a cluster
  for (uint32_t row = 0; row < best.size(); ++row) {
    const uint32_t first = clusters.cluster[row];
    if (first == row || better(clusters.rows[row], clusters.rows[best[first]])) best[first] = row;
  }
  std::vector<uint32_t> kept(best.size());
  for (uint32_t row = 0; row < kept.size(); ++row) kept[row] = best[clusters.cluster[row]];
  return kept;
}

class Deduper {
 public:
  Deduper(const DuplicateClusters& clusters, std::vector<uint32_t> kept, const std::vector<DataFile>& files)
      : clusters_(clusters), kept_(std::move(kept)), files_(files) {}

  std::string Where(uint32_t row) const {
    const RowOrigin& origin = clusters_.rows[row];
    return fmt::format("{}:{}", files_[origin.file].path, origin.line);
  }

  size_t rows() const { return kept_.size(); }
  // What the search has compared could be read.
  bool IsKnown(uint32_t number) const { return clusters_.rows[number].content != 0; }

  // `line`: the row as it is written.
  void Take(uint32_t number, const DataFile& file, const Record& record, std::string_view line,
            StageOutput& output) const {
    if (kept_[number] == number) return output.Keep(0, line);
    const uint32_t twin = clusters_.twin[number];
    const float similarity = clusters_.similarity[number];
    const bool exact = clusters_.rows[number].content == clusters_.rows[kept_[number]].content;
    // The same text as another row, it belongs to this cluster by whatever that one does.
    const bool doubles = clusters_.rows[number].content == clusters_.rows[twin].content;
    const bool semantic = !exact && clusters_.semantic[doubles ? twin : number];
    std::string more = ", \"kept\": ";
    AppendJsonString(Where(kept_[number]), &more);
    more += ", \"twin\": ";
    AppendJsonString(Where(twin), &more);
    more += fmt::format(", \"similarity\": {:.4f}", similarity);
    output.Remove(exact      ? "exact-duplicate"
                  : semantic ? "semantic-duplicate"
                             : "near-duplicate",
                  fmt::format("{} {}",
                              exact      ? "the same as"
                              : semantic ? "in other words the same as"
                                         : "nearly the same as",
                              Where(exact ? kept_[number] : twin)),
                  file, record.line, line, false, more);
  }

  // How many clusters, and the largest of them.
  Json ClustersJson() const {
    std::vector<std::pair<uint32_t, uint32_t>> sizes(kept_.size());  // rows, kept row
    for (uint32_t row = 0; row < kept_.size(); ++row) {
      ++sizes[kept_[row]].first;
      sizes[kept_[row]].second = kept_[row];
    }
    std::erase_if(sizes, [](const auto& size) { return size.first < 2; });
    std::sort(sizes.begin(), sizes.end(), [](const auto& a, const auto& b) {
      return a.first != b.first ? a.first > b.first : a.second < b.second;
    });
    Json json = {{"clusters", sizes.size()}, {"compared", clusters_.candidates}, {"largest", Json::array()}};
    std::map<uint32_t, Json> members;
    for (size_t i = 0; i < std::min(kShownClusters, sizes.size()); ++i) members[sizes[i].second] = Json::array();
    for (uint32_t row = 0; row < kept_.size(); ++row) {
      const auto found = members.find(kept_[row]);
      if (found != members.end() && row != kept_[row] && found->second.size() < kShownRows)
        found->second.push_back(Where(row));
    }
    for (size_t i = 0; i < std::min(kShownClusters, sizes.size()); ++i)
      json["largest"].push_back(
          {{"rows", sizes[i].first}, {"kept", Where(sizes[i].second)}, {"removed", members[sizes[i].second]}});
    return json;
  }

 private:
  const DuplicateClusters& clusters_;
  std::vector<uint32_t> kept_;
  const std::vector<DataFile>& files_;
};

}  // namespace

CompareBy CompareByNamed(const std::string& name) {
  return static_cast<CompareBy>(PlaceOfName(name, kCompareNames, "--by"));
}
KeepRow KeepRowNamed(const std::string& name) { return static_cast<KeepRow>(PlaceOfName(name, kKeepNames, "--keep")); }

Json DedupeData(const DedupeSettings& settings) {
  if (settings.keep == KeepRow::kBestScore && settings.duplicates.score.empty())
    BadInput("--keep score: also name the column of scores, --score COLUMN");
  StageFiles files(settings.stage.output, {".jsonl"});
  const DuplicateClusters clusters = FindDuplicates(settings.stage, settings.duplicates);
  const auto has_score = [](const RowOrigin& row) { return std::isfinite(row.score); };
  if (settings.keep == KeepRow::kBestScore && std::none_of(clusters.rows.begin(), clusters.rows.end(), has_score))
    BadInput("--score {}: no row has a number in that column", settings.duplicates.score);
  const double written_from = Now();
  RowSource source(settings.stage.input, settings.stage.columns);
  const Deduper deduper(clusters, ChooseKept(clusters, settings.keep), source.files());
  StageTotals totals(1);
  ForEachRecord(
      source, settings.stage, 1,
      [&](const RecordBlock& block, const Record& record, RowParser& parser, StageOutput& output) {
        const DataFile& file = source.files()[block.file];
        const uint32_t number = NumberOf(block, record, file, deduper.rows());
        if (deduper.IsKnown(number) && IsWrittenAsItStands(file, settings.stage))
          return deduper.Take(number, file, record, block.text(record), output);
        const Row& row = parser.Parse(file, block, record);
        if (!row.readable()) return output.RemoveUnreadable(row, file, block, record);
        std::string line;
        parser.Write(&line);
        deduper.Take(number, file, record, line, output);
      },
      [&](const StageOutput& output) { totals.Take(settings.stage, output, files); });
  Json settings_json = StageSettingsJson(settings.stage);
  settings_json.update(ToJson(settings.duplicates));
  settings_json["keep"] = kKeepNames[static_cast<size_t>(settings.keep)];
  Json record = {{"settings", settings_json}};
  record.update(totals.Json(settings.stage));
  record.update(deduper.ClustersJson());
  Json manifest = files.Commit("dedupe", source.files(), record);
  manifest["seconds"] = {{"sketch", clusters.sketch_seconds},
                         {"candidates", clusters.candidate_seconds},
                         {"compare", clusters.compare_seconds},
                         {"write", Now() - written_from}};
  return manifest;
}

}  // namespace attune
