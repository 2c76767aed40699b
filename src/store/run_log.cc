#include "store/run_log.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <filesystem>

#include "base/error.h"
#include "data/jsonl.h"
#include "store/event_file.h"
#include "store/metrics_csv.h"

namespace attune {
namespace {

namespace fs = std::filesystem;

}  // namespace

double WallTime() {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return static_cast<double>(std::chrono::duration_cast<std::chrono::milliseconds>(now).count()) / 1000;
}

void RemoveEventFiles(const std::string& folder) {
  std::error_code error;
  std::vector<fs::path> ours;
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
    const std::string name = it->path().filename().string();
    if (!name.starts_with("events.out.tfevents.")) continue;
    if (name.ends_with(".attune") || name.ends_with(".attune.partial")) ours.push_back(it->path());
  }
  for (const fs::path& path : ours) fs::remove(path, error);
  fs::remove(folder, error);  // only when nothing else is there
}

RunLog::RunLog(const std::string& folder, std::optional<int64_t> resume_step, const std::string& host)
    : folder_(folder), start_time_(WallTime()) {
  const std::string metrics = folder + "/metrics.jsonl", samples = folder + "/samples.jsonl";
  std::string kept;
  if (resume_step) {
    kept = KeptLines(metrics, *resume_step);
    const std::string kept_samples = KeptLines(samples, *resume_step);
    if (!kept_samples.empty()) {
      WriteFileAtomic(samples, kept_samples);
    } else {
      RemoveTree(samples);
    }
  }
  WriteFileAtomic(metrics, kept);
  metrics_ = std::make_unique<AppendFile>(metrics);
  if (!resume_step) RemoveTree(samples);
  const std::vector<MetricsEntry> entries = ParseMetrics(kept, metrics);
  RewriteCsv(entries);
  RewriteEvents(entries, host);
}

std::string RunLog::KeptLines(const std::string& path, int64_t resume_step) {
  std::string kept;
  if (!PathExists(path)) return kept;  // a disk that cannot tell is an error: what it holds would be written over
  const std::string text = ReadFile(path);
  for (const JsonlLine& line : SplitJsonl(text)) {
    try {
      const auto parsed = ParseJsonlLine(line, path);
      if (MetricsFromJson(parsed, path).step <= resume_step) kept += std::string(line.text) + "\n";
    } catch (const Error&) {
      ++dropped_lines_;
    }
  }
  return kept;
}

void RunLog::RewriteCsv(const std::vector<MetricsEntry>& entries) {
  const std::string path = folder_ + "/metrics.csv";
  columns_ = CsvColumns(entries);
  csv_.reset();
  WriteFileAtomic(path, CsvText(entries));
  csv_ = std::make_unique<AppendFile>(path);
}

void RunLog::RewriteEvents(const std::vector<MetricsEntry>& entries, const std::string& host) {
  const std::string folder = folder_ + "/tensorboard";
  RemoveEventFiles(folder);
  MakeDirectories(folder);
  const std::string path = folder + "/" + EventFileName(start_time_, host);
  WriteFileAtomic(path, EventFileContent(entries, start_time_));
  events_ = std::make_unique<AppendFile>(path);
}

MetricsEntry RunLog::Append(nlohmann::ordered_json line) {
  line["time"] = WallTime();
  MetricsEntry entry = MetricsFromJson(line, folder_ + "/metrics.jsonl");
  metrics_->WriteLine(OneLine(line));
  const bool fits = std::all_of(entry.values.begin(), entry.values.end(), [&](const auto& value) {
    return std::find(columns_.begin(), columns_.end(), value.first) != columns_.end();
  });
  if (fits) {
    csv_->Write(CsvRow(entry, columns_));
  } else {  // a name that is new: the header and every row before get its column
    const std::string path = folder_ + "/metrics.jsonl";
    RewriteCsv(ParseMetrics(ReadFile(path), path));
  }
  events_->Write(EventRecord(entry, start_time_));
  return entry;
}

void RunLog::AppendSamples(const std::vector<RunSample>& samples) {
  if (samples_ == nullptr) samples_ = std::make_unique<AppendFile>(folder_ + "/samples.jsonl");
  for (const RunSample& sample : samples) samples_->WriteLine(OneLine(ToJson(sample)));
}

}  // namespace attune
