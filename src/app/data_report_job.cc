#include "app/data_report_job.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "app/data_encoder.h"
#include "app/data_job.h"
#include "app/data_report_rows.h"
#include "base/error.h"
#include "base/file.h"
#include "base/system.h"
#include "data/packing.h"
#include "formats/json.h"
#include "store/data_report.h"

namespace attune {
namespace {

using Json = nlohmann::ordered_json;

Json ReadStageManifest(const std::string& path) {
  Json manifest = ParseOrderedJsonFile(path);
  const bool known = manifest.is_object() && manifest.contains("stage") && manifest["stage"].is_string() &&
                     manifest.contains("rows_in") && manifest["rows_in"].is_number_integer() &&
                     manifest.contains("rows_out") && manifest["rows_out"].is_number_integer();
  if (!known) BadInput("{}: is no manifest of attune data", path);
  return manifest;
}

// Rows by length, in classes that double.
Json LengthClasses(const std::vector<int64_t>& lengths) {
  Json classes = Json::array();
  if (lengths.empty()) return classes;
  const int64_t longest = *std::max_element(lengths.begin(), lengths.end());
  for (int64_t from = 0, to = 16; from < longest; from = to, to *= 2) {
    const auto rows =
        std::count_if(lengths.begin(), lengths.end(), [&](int64_t length) { return length > from && length <= to; });
    classes.push_back({{"to", to}, {"rows", rows}});
  }
  while (classes.size() > 1 && classes[0]["rows"] == 0) classes.erase(0);
  return classes;
}

Json AtMaxLength(const std::vector<int64_t>& lengths, int64_t max_length) {
  int64_t cut_rows = 0, cut_tokens = 0, kept = 0;
  for (const int64_t length : lengths) {
    cut_rows += length > max_length;
    cut_tokens += std::max<int64_t>(0, length - max_length);
    kept += std::min(length, max_length);
  }
  const auto packed = static_cast<double>(Pack(lengths, max_length, PackingStrategy::kBfd).size());
  return {{"max_length", max_length},
          {"cut_rows", cut_rows},
          {"cut_tokens", cut_tokens},
          {"packing", packed == 0 ? 0 : static_cast<double>(kept) / (packed * static_cast<double>(max_length))}};
}

Json TokensJson(const DataReportJob& job) {
  const DataTokens counts = CountTokens(job.data, DataEncoder(job.model), {});
  Json json = {{"rows", counts.rows},
               {"tokens", counts.tokens},
               {"trained_tokens", counts.trained_tokens},
               {"refused", counts.refused},
               {"nothing_to_learn", counts.nothing},
               {"lengths", LengthClasses(counts.lengths)},
               {"at_max_length", Json::array()}};
  for (const int64_t max_length : {128, 256, 512, 1024, 2048, 4096, 8192})
    json["at_max_length"].push_back(AtMaxLength(counts.lengths, max_length));
  return json;
}

}  // namespace

Json RunDataReport(const DataReportJob& asked) {
  DataReportJob job = asked;
  job.data.threads = CpuCount();
  if (job.manifests.empty() && job.data.input.empty()) BadInput("data report: name manifests, or data with --data");
  if (!job.model.empty() && job.data.input.empty())
    BadInput("--model {}: also name the data whose tokens it counts, --data FILE", job.model);
  if (!job.scores.empty() && job.model.empty())
    BadInput("--scores {}: also name the model that scores, --model M", job.scores);
  if (!job.output.ends_with(".html")) BadInput("--output {}: must end in .html", job.output);
  const std::string json_path = job.output.substr(0, job.output.size() - 5) + ".json";
  for (const std::string& path : {job.output, json_path}) {
    if (PathExists(path)) BadInput("{}: exists already; name another output or remove it", path);
  }
  Json report = {
      {"title", job.data.input.empty() ? job.manifests.back() : fmt::to_string(fmt::join(job.data.input, ", "))},
      {"stages", Json::array()}};
  for (const std::string& manifest : job.manifests) report["stages"].push_back(ReadStageManifest(manifest));
  if (!job.data.input.empty()) {
    DataCheckJob check;
    check.settings.input = job.data.input;
    check.settings.columns = job.data.columns;
    check.settings.strict = job.data.strict;
    report["check"] = ToJson(RunDataCheck(check));
    report["diversity"] = DiversityJson(job.data, report["check"]["rows"].get<int64_t>());
  }
  if (!job.model.empty()) report["tokens"] = TokensJson(job);
  if (!job.scores.empty())
    report["scores"] = ScoresJson({job.data, job.model, RowScoreJob{}.max_length, job.scores}, job.on_progress);
  WriteFileAtomic(json_path, report.dump(2, ' ', false, Json::error_handler_t::replace) + "\n");
  WriteFileAtomic(job.output, DataReportHtml(report));
  return report;
}

}  // namespace attune
