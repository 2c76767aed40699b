#include "app/runs_job.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <set>

#include "app/output_dir.h"
#include "base/error.h"
#include "base/file.h"
#include "base/nearest.h"
#include "base/system.h"
#include "store/event_file.h"
#include "store/metrics_csv.h"
#include "store/report.h"
#include "store/run_log.h"
#include "store/run_store.h"
#include "store/svg.h"

namespace attune {
namespace {

using Json = nlohmann::ordered_json;

// The folder has the last word while it still holds this run.
RunData RunOf(RunStore& store, const RunRow& row) {
  const std::string id = FieldText(row.record, "/id");
  if (FileExists(row.output_dir + "/run.json")) {
    RunData run = ReadRunFolder(row.output_dir);
    if (FieldText(run.record, "/id") == id) return run;
  }
  return *store.Load(id);
}

std::string Shortened(std::vector<std::string> names) {
  std::string text;
  for (size_t i = 0; i < std::min<size_t>(names.size(), 5); ++i) text += (i > 0 ? ", " : "") + names[i];
  return text + (names.size() > 5 ? ", ..." : "");
}

[[noreturn]] void RefuseUnknown(const std::string& name, const std::vector<RunRow>& rows) {
  if (DirectoryExists(name)) ReadRunFolder(name);  // says what is missing there
  std::vector<std::string> known, recent;
  for (const RunRow& row : rows) {
    known.push_back(FieldText(row.record, "/id"));
    recent.push_back(known.back());
    known.push_back(row.output_dir);
  }
  const std::string nearest = NearestName(name, known);
  if (!nearest.empty()) BadInput("{}: is no run and no folder; did you mean {}?", name, nearest);
  if (!recent.empty())
    BadInput("{}: is no run and no folder; the last runs are {} (attune runs list)", name, Shortened(recent));
  BadInput("{}: is no run and no folder, and the store of runs is empty; name the output_dir of a training", name);
}

// The file must open before anything else is said: a wrong path is the user's mistake, a full disk is not.
void WriteOutput(const std::string& path, const std::string& content) {
  RequireFolderOf(path);
  std::unique_ptr<AtomicFile> file;
  try {
    file = std::make_unique<AtomicFile>(path);
  } catch (const Error& error) {
    BadInput("{}", error.what());
  }
  file->Write(content);
  file->Commit();
}

Json Number(double value) { return std::isfinite(value) ? Json(value) : Json(); }

Json EntryJson(const MetricsEntry& entry) {
  Json line = {{"step", entry.step}};
  for (const auto& [name, value] : entry.values) {
    const bool is_whole = std::isfinite(value) && value == std::floor(value) && std::abs(value) < 0x1p53;
    line[name] = is_whole ? Json(static_cast<int64_t>(value)) : Number(value);
  }
  return line;
}

// One row for each name of any run, in the order in which they first occur.
std::vector<ComparedRow> Aligned(const std::vector<std::vector<std::pair<std::string, Json>>>& runs) {
  std::vector<ComparedRow> rows;
  for (size_t run = 0; run < runs.size(); ++run) {
    for (const auto& [name, value] : runs[run]) {
      auto row = std::find_if(rows.begin(), rows.end(), [&, n = name](const ComparedRow& r) { return r.name == n; });
      if (row == rows.end()) row = rows.insert(rows.end(), {name, std::vector<Json>(runs.size())});
      row->values[run] = value;
    }
  }
  return rows;
}

// What a person may have changed between two runs, without what is different anyway.
std::vector<std::pair<std::string, Json>> SettingsOf(const RunData& run) {
  static const std::set<std::string> own = {"training.output_dir", "output_dir", "training.overwrite_output_dir"};
  std::vector<std::pair<std::string, Json>> settings;
  if (const std::string method = FieldText(run.record, "/method"); !method.empty())
    settings.emplace_back("method", method);
  for (const char* part : {"settings", "model", "data", "environment"}) {
    const auto found = run.record.find(part);
    if (found == run.record.end() || !found->is_object()) continue;
    const std::string prefix = part == std::string("settings") ? "" : std::string(part) + ".";
    for (const auto& [name, value] : Flattened(*found)) {
      if (!own.contains(prefix + name)) settings.emplace_back(prefix + name, value);
    }
  }
  return settings;
}

std::vector<std::pair<std::string, Json>> LastMetricsOf(const RunData& run) {
  std::vector<std::pair<std::string, Json>> last;
  const std::vector<std::string> names = CsvColumns(run.metrics);
  for (size_t i = 1; i < names.size(); ++i) {
    if (names[i] == "time") continue;
    for (auto entry = run.metrics.rbegin(); entry != run.metrics.rend(); ++entry) {
      const double* value = entry->Find(names[i]);
      if (value == nullptr) continue;
      last.emplace_back(names[i], Number(*value));
      break;
    }
  }
  return last;
}

Json RowsJson(const std::vector<ComparedRow>& rows) {
  Json json = Json::object();
  for (const ComparedRow& row : rows) json[row.name] = row.values;
  return json;
}

}  // namespace

RunList ListRuns() {
  RunList list{RunStore::DefaultPath(), {}};
  RunStore store(list.store);
  for (const RunRow& row : store.List()) {
    RunSummary summary = Summarize({row.record, row.metrics, {}});
    summary.output_dir = row.output_dir;
    list.runs.push_back(std::move(summary));
  }
  return list;
}

RunData FindRun(const std::string& run_or_dir) {
  if (FileExists(run_or_dir + "/run.json")) return ReadRunFolder(run_or_dir);
  // A folder that is none must be told as such even where there is no store.
  if (DirectoryExists(run_or_dir) && run_or_dir.find('/') != std::string::npos) return ReadRunFolder(run_or_dir);
  RunStore store(RunStore::DefaultPath());
  const std::vector<RunRow> rows = store.List();
  std::vector<const RunRow*> matches;
  for (const RunRow& row : rows) {
    const std::string id = FieldText(row.record, "/id");
    if (id == run_or_dir || row.output_dir == AbsolutePath(run_or_dir))
      return RunOf(store, row);  // the newest of a folder
    if (!run_or_dir.empty() && id.starts_with(run_or_dir)) matches.push_back(&row);
  }
  if (matches.size() == 1) return RunOf(store, *matches.front());
  if (matches.empty()) RefuseUnknown(run_or_dir, rows);
  std::vector<std::string> ids;
  for (const RunRow* row : matches) ids.push_back(FieldText(row->record, "/id"));
  BadInput("{}: {} runs begin so: {}; write more of the id", run_or_dir, ids.size(), Shortened(ids));
}

RunComparison CompareRuns(const std::vector<std::string>& runs_or_dirs) {
  if (runs_or_dirs.size() < 2) BadInput("attune runs compare: name two runs or more");
  RunComparison comparison;
  std::vector<std::vector<std::pair<std::string, Json>>> settings, metrics;
  for (const std::string& name : runs_or_dirs) {
    const RunData run = FindRun(name);
    comparison.runs.push_back(Summarize(run));
    settings.push_back(SettingsOf(run));
    metrics.push_back(LastMetricsOf(run));
  }
  comparison.settings = Aligned(settings);
  std::erase_if(comparison.settings, [](const ComparedRow& row) {
    return std::all_of(row.values.begin(), row.values.end(),
                       [&](const Json& value) { return value == row.values.front(); });
  });
  comparison.metrics = Aligned(metrics);
  return comparison;
}

nlohmann::ordered_json ToJson(const RunComparison& comparison) {
  Json runs = Json::array();
  for (const RunSummary& summary : comparison.runs) runs.push_back(ToJson(summary));
  return {{"runs", runs}, {"settings", RowsJson(comparison.settings)}, {"metrics", RowsJson(comparison.metrics)}};
}

nlohmann::ordered_json ToJson(const RunData& run) {
  Json metrics = Json::array(), samples = Json::array();
  for (const MetricsEntry& entry : run.metrics) metrics.push_back(EntryJson(entry));
  for (const RunSample& sample : run.samples) samples.push_back(ToJson(sample));
  return {{"summary", ToJson(Summarize(run))}, {"run", run.record}, {"metrics", metrics}, {"samples", samples}};
}

std::string ExportRun(const RunData& run, const std::string& format, const std::string& output) {
  if (format == "csv") {
    WriteOutput(output, CsvText(run.metrics));
  } else if (format == "jsonl") {
    std::string text;
    for (const MetricsEntry& entry : run.metrics) text += OneLine(EntryJson(entry)) + "\n";
    WriteOutput(output, text);
  } else if (format == "html") {
    WriteReport(run, output);
  } else if (format == "tensorboard") {
    const double start = TimeFromText(FieldText(run.record, "/started")).value_or(WallTime());
    MakeDirectories(output);
    const std::string path = output + "/" + EventFileName(start, HostName());
    WriteOutput(path, EventFileContent(run.metrics, start));
    return path;
  } else {
    BadInput("--format {}: not known; use csv, jsonl, tensorboard or html", format);
  }
  return output;
}

void WriteReport(const RunData& run, const std::string& path) { WriteOutput(path, ReportHtml(run)); }

void WriteLossSvg(const RunData& run, const std::string& path) {
  WriteOutput(path, ChartSvgFile(LossChart(run), 900, 380));
}

}  // namespace attune
