#include "curate/split.h"

#include <fmt/format.h>
#include <xxhash.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "base/error.h"
#include "curate/dedupe.h"
#include "curate/stage_pass.h"

namespace attune {
namespace {

using Json = nlohmann::ordered_json;

struct SplitCluster {
  uint32_t first = 0;  // its lowest row
  int64_t rows = 0;
  uint64_t order = 0;  // by which clusters are drawn
};

// Rows that say something, by the stratum of their cluster's first row.
std::map<uint64_t, std::vector<SplitCluster>> ClustersByStratum(const DuplicateClusters& found, uint64_t seed) {
  struct Content {
    int64_t rows = 0;
    uint64_t least = UINT64_MAX;
  };
  std::vector<Content> contents(found.rows.size());  // by lowest row
  for (uint32_t row = 0; row < found.rows.size(); ++row) {
    if (found.rows[row].content == 0) continue;
    Content& content = contents[found.cluster[row]];
    ++content.rows;
    content.least = std::min(content.least, found.rows[row].content);
  }
  std::map<uint64_t, std::vector<SplitCluster>> strata;
  for (uint32_t row = 0; row < contents.size(); ++row) {
    if (contents[row].rows == 0) continue;
    const uint64_t order = XXH3_64bits_withSeed(&contents[row].least, sizeof(uint64_t), seed);
    strata[found.rows[row].label].push_back({row, contents[row].rows, order});
  }
  return strata;
}

int64_t RowsOf(const std::vector<SplitCluster>& clusters) {
  int64_t rows = 0;
  for (const SplitCluster& cluster : clusters) rows += cluster.rows;
  return rows;
}

// `wanted` rows shared out by size, what is left over to the largest remainders.
std::map<uint64_t, int64_t> Quotas(const std::map<uint64_t, std::vector<SplitCluster>>& strata, int64_t wanted,
                                   int64_t all) {
  std::map<uint64_t, int64_t> quotas;
  std::vector<std::pair<double, uint64_t>> remainders;
  int64_t given = 0;
  for (const auto& [label, clusters] : strata) {
    const double share = static_cast<double>(wanted) * static_cast<double>(RowsOf(clusters)) / static_cast<double>(all);
    quotas[label] = static_cast<int64_t>(share);
    given += quotas[label];
    remainders.emplace_back(std::floor(share) - share, label);
  }
  std::sort(remainders.begin(), remainders.end());
  for (size_t i = 0; given < wanted && i < remainders.size(); ++i, ++given) ++quotas[remainders[i].second];
  return quotas;
}

// For each row whether it is held out.
std::vector<bool> Draw(const DuplicateClusters& found, const SplitSettings& settings) {
  auto strata = ClustersByStratum(found, settings.seed);
  int64_t all = 0;
  for (const auto& stratum : strata) all += RowsOf(stratum.second);
  if (all == 0) BadInput("{}: holds no rows that can be split", fmt::join(settings.stage.input, ", "));
  const std::string& label = settings.duplicates.label;
  if (!label.empty() &&
      std::all_of(found.rows.begin(), found.rows.end(), [](const RowOrigin& row) { return row.label == 0; }))
    BadInput("--stratify {}: no row has that column", label);
  const int64_t wanted = settings.rows > 0 ? settings.rows : std::llround(settings.fraction * static_cast<double>(all));
  if (wanted >= all) BadInput("--eval_rows {}: there are only {} rows", wanted, all);
  const auto quotas = Quotas(strata, wanted, all);
  std::vector<bool> drawn(found.rows.size());
  int64_t count = 0;
  for (auto& [value, clusters] : strata) {
    std::sort(clusters.begin(), clusters.end(), [](const SplitCluster& a, const SplitCluster& b) {
      return std::tie(a.order, a.first) < std::tie(b.order, b.first);
    });
    int64_t left = quotas.at(value);
    for (const SplitCluster& cluster : clusters) {
      if (cluster.rows > left) continue;  // a smaller one may fit
      drawn[cluster.first] = true;
      left -= cluster.rows;
      count += cluster.rows;
    }
  }
  if (count == 0) {
    BadInput(
        "nothing can be held out: {} of {} rows are asked for, and every cluster of near duplicates has "
        "more; ask for more rows or set --near false",
        wanted, all);
  }
  std::vector<bool> held_out(found.rows.size());
  for (uint32_t row = 0; row < held_out.size(); ++row) held_out[row] = drawn[found.cluster[row]];
  return held_out;
}

int64_t CountClusters(const DuplicateClusters& found) {
  int64_t clusters = 0;
  for (uint32_t row = 0; row < found.rows.size(); ++row)
    clusters += found.rows[row].content != 0 && found.cluster[row] == row;
  return clusters;
}

}  // namespace

Json SplitData(const SplitSettings& settings) {
  StageFiles files(settings.stage.output, {".train.jsonl", ".eval.jsonl"});
  const DuplicateClusters found = FindDuplicates(settings.stage, settings.duplicates);
  const std::vector<bool> held_out = Draw(found, settings);
  RowSource source(settings.stage.input, settings.stage.columns);
  StageTotals totals(2);
  const std::string& label = settings.duplicates.label;
  ForEachRecord(
      source, settings.stage, 2,
      [&](const RecordBlock& block, const Record& record, RowParser& parser, StageOutput& output) {
        const DataFile& file = source.files()[block.file];
        const uint32_t number = NumberOf(block, record, file, held_out.size());
        const size_t side = held_out[number];
        if (found.rows[number].content != 0 && label.empty() && IsWrittenAsItStands(file, settings.stage))
          return output.Keep(side, block.text(record));
        const Row& row = parser.Parse(file, block, record);
        if (!row.readable()) return output.RemoveUnreadable(row, file, block, record);
        output.Keep(side, parser);
        if (!label.empty()) ++output.counts[(side == 1 ? "e" : "t") + parser.Value(label).value_or("")];
      },
      [&](const StageOutput& output) { totals.Take(settings.stage, output, files); });
  Json settings_json = StageSettingsJson(settings.stage);
  settings_json.update(ToJson(settings.duplicates));
  settings_json["seed"] = settings.seed;
  if (settings.rows > 0) {
    settings_json["eval_rows"] = settings.rows;
  } else {
    settings_json["eval_fraction"] = settings.fraction;
  }
  if (!label.empty()) settings_json["stratify"] = label;
  Json record = {{"settings", settings_json}};
  record.update(totals.Json(settings.stage));
  record["train"] = totals.kept(0);
  record["eval"] = totals.kept(1);
  record["clusters"] = CountClusters(found);
  for (const auto& [name, rows] : totals.counts())
    record["strata"][name.substr(1)][name[0] == 'e' ? "eval" : "train"] = rows;
  return files.Commit("split", source.files(), record);
}

}  // namespace attune
