#include "store/run_store.h"

#include <cstdlib>
#include <filesystem>

#include "base/error.h"
#include "base/file.h"
#include "formats/json.h"

namespace attune {
namespace {

constexpr int64_t kSchemaVersion = 1;

// The record is kept whole; what people search by is computed from it, so the two cannot disagree.
constexpr const char* kSchema = R"(
CREATE TABLE runs (
  id TEXT PRIMARY KEY NOT NULL,
  output_dir TEXT NOT NULL,
  record TEXT NOT NULL,
  started TEXT AS (json_extract(record, '$.started')),
  finished TEXT AS (json_extract(record, '$.finished')),
  status TEXT AS (json_extract(record, '$.status')),
  method TEXT AS (json_extract(record, '$.method')),
  model TEXT AS (json_extract(record, '$.model.name_or_path')),
  model_hash TEXT AS (json_extract(record, '$.model.sha256')),
  data_hash TEXT AS (json_extract(record, '$.data.train_sha256')),
  settings TEXT AS (json_extract(record, '$.settings')),
  environment TEXT AS (json_extract(record, '$.environment')),
  planned_bytes INTEGER AS (json_extract(record, '$.planned_bytes')),
  peak_rss_bytes INTEGER AS (json_extract(record, '$.peak_rss_bytes')),
  result TEXT AS (json_extract(record, '$.result')));
CREATE TABLE metrics (
  run TEXT NOT NULL REFERENCES runs(id), name TEXT NOT NULL, line INTEGER NOT NULL, step INTEGER NOT NULL, value REAL,
  PRIMARY KEY (run, name, line)) WITHOUT ROWID;
CREATE TABLE samples (
  run TEXT NOT NULL REFERENCES runs(id), line INTEGER NOT NULL, step INTEGER NOT NULL, prompt TEXT NOT NULL,
  reference TEXT NOT NULL, answer TEXT NOT NULL, PRIMARY KEY (run, line)) WITHOUT ROWID;
PRAGMA user_version = 1;
)";

constexpr const char* kSelectSummarized = R"(
SELECT line, step, name, value FROM metrics WHERE run = ?1 AND line IN (
  SELECT min(line) FROM metrics WHERE run = ?1 AND name = 'eval_loss'
  UNION SELECT max(line) FROM metrics WHERE run = ?1 AND name = 'eval_loss'
  UNION SELECT line FROM (SELECT line FROM metrics WHERE run = ?1 AND name = 'eval_loss' AND value IS NOT NULL
                          ORDER BY value, line LIMIT 1)
  UNION SELECT max(line) FROM metrics WHERE run = ?1 AND name = 'loss'
  UNION SELECT max(line) FROM metrics WHERE run = ?1)
ORDER BY line, name)";

std::string IdOf(const nlohmann::ordered_json& record) { return record.at("id").get<std::string>(); }

// From rows of (line, step, name, value), in the order of the lines.
std::vector<MetricsEntry> EntriesOf(Statement& rows) {
  std::vector<MetricsEntry> entries;
  for (int64_t line = -1; rows.Step();) {
    if (rows.Integer(0) != line) entries.push_back({rows.Integer(1), {}});
    line = rows.Integer(0);
    entries.back().values.emplace_back(rows.Text(2), rows.Double(3));
  }
  return entries;
}

const std::string& WithFolder(const std::string& path) {
  const std::string folder = std::filesystem::path(path).parent_path().string();
  if (!folder.empty()) MakeDirectories(folder);
  return path;
}

}  // namespace

std::string RunStore::DefaultPath() {
  const auto variable = [](const char* name) {
    const char* value = std::getenv(name);
    return std::string(value == nullptr ? "" : value);
  };
  if (const std::string path = variable("ATTUNE_RUNS"); !path.empty()) return path;
  if (const std::string data = variable("XDG_DATA_HOME"); data.starts_with("/")) return data + "/attune/runs.sqlite";
  const std::string home = variable("HOME");
  if (home.empty()) BadInput("the store of runs has no place: set HOME, or ATTUNE_RUNS to a file");
  return home + "/.local/share/attune/runs.sqlite";
}

RunStore::RunStore(const std::string& path) : database_(WithFolder(path), true) {
  // A write-ahead log lets others read while one writes, and at NORMAL it flushes only now and then: no step
  // waits for the disk, and a crash of the machine costs the last lines but not the file.
  database_.Execute("PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL");
  Migrate();
}

void RunStore::Migrate() {
  const auto version = [&] {
    Statement query(database_, "PRAGMA user_version");
    query.Step();
    return query.Integer(0);
  };
  if (version() == 0) {
    Transaction transaction(database_);
    if (version() == 0) database_.Execute(kSchema);  // another process may have come first
    transaction.Commit();
  }
  if (version() > kSchemaVersion) {
    BadInput(
        "the store of runs was made by a newer version of attune (schema {}, this one knows {}); update "
        "attune, or set "
        "ATTUNE_RUNS to another file",
        version(), kSchemaVersion);
  }
}

void RunStore::RemoveLines(const std::string& id) {
  for (const char* sql : {"DELETE FROM metrics WHERE run = ?", "DELETE FROM samples WHERE run = ?"}) {
    Statement(database_, sql).Bind(0, id).Run();
  }
  next_lines_.erase(id);
}

void RunStore::Remove(const std::string& id) {
  Transaction transaction(database_);
  RemoveLines(id);
  Statement(database_, "DELETE FROM runs WHERE id = ?").Bind(0, id).Run();
  transaction.Commit();
}

void RunStore::Replace(const std::string& output_dir, const RunData& run) {
  const std::string id = IdOf(run.record);
  Transaction transaction(database_);
  RemoveLines(id);
  Statement(database_,
            "INSERT INTO runs (id, output_dir, record) VALUES (?, ?, ?) "
            "ON CONFLICT (id) DO UPDATE SET output_dir = excluded.output_dir, record = excluded.record")
      .Bind(0, id)
      .Bind(1, output_dir)
      .Bind(2, OneLine(run.record))
      .Run();
  for (const MetricsEntry& entry : run.metrics) InsertMetrics(id, entry);
  InsertSamples(id, run.samples);
  transaction.Commit();
}

void RunStore::UpdateRecord(const nlohmann::ordered_json& record) {
  Statement(database_, "UPDATE runs SET record = ? WHERE id = ?").Bind(0, OneLine(record)).Bind(1, IdOf(record)).Run();
}

void RunStore::AddMetrics(const std::string& id, const MetricsEntry& entry) {
  Transaction transaction(database_);
  InsertMetrics(id, entry);
  transaction.Commit();
}

void RunStore::AddSamples(const std::string& id, const std::vector<RunSample>& samples) {
  Transaction transaction(database_);
  InsertSamples(id, samples);
  transaction.Commit();
}
int64_t& RunStore::NextLine(const std::string& id) {
  const auto [found, is_new] = next_lines_.try_emplace(id, 0);
  if (is_new) {
    Statement query(database_,
                    "SELECT coalesce(max(line) + 1, 0) FROM (SELECT line FROM metrics WHERE run = ?1 UNION ALL "
                    "SELECT line FROM samples WHERE run = ?1)");
    if (query.Bind(0, id).Step()) found->second = query.Integer(0);
  }
  return found->second;
}

void RunStore::InsertMetrics(const std::string& id, const MetricsEntry& entry) {
  const int64_t line = NextLine(id)++;
  Statement insert(database_, "INSERT OR REPLACE INTO metrics (run, name, line, step, value) VALUES (?, ?, ?, ?, ?)");
  for (const auto& [name, value] : entry.values) {
    insert.Bind(0, id).Bind(1, name).Bind(2, line).Bind(3, entry.step).Bind(4, value).Run();
  }
}

void RunStore::InsertSamples(const std::string& id, const std::vector<RunSample>& samples) {
  Statement insert(database_,
                   "INSERT INTO samples (run, line, step, prompt, reference, answer) VALUES (?, ?, ?, ?, ?, ?)");
  for (const RunSample& sample : samples) {
    insert.Bind(0, id).Bind(1, NextLine(id)++).Bind(2, sample.step);
    insert.Bind(3, sample.prompt).Bind(4, sample.reference).Bind(5, sample.answer).Run();
  }
}

std::vector<RunRow> RunStore::List() {
  std::vector<RunRow> rows;
  Statement query(database_, "SELECT record, output_dir FROM runs ORDER BY started DESC, rowid DESC");
  while (query.Step()) {
    rows.push_back({ParseOrderedJson(query.Text(0), "the store of runs"), query.Text(1), {}});
    Statement metrics(database_, kSelectSummarized);
    rows.back().metrics = EntriesOf(metrics.Bind(0, IdOf(rows.back().record)));
  }
  return rows;
}

std::optional<RunData> RunStore::Load(const std::string& id) {
  Statement record(database_, "SELECT record FROM runs WHERE id = ?");
  if (!record.Bind(0, id).Step()) return std::nullopt;
  RunData run;
  run.record = ParseOrderedJson(record.Text(0), "the store of runs");
  Statement metrics(database_, "SELECT line, step, name, value FROM metrics WHERE run = ? ORDER BY line, name");
  run.metrics = EntriesOf(metrics.Bind(0, id));
  Statement samples(database_, "SELECT step, prompt, reference, answer FROM samples WHERE run = ? ORDER BY line");
  samples.Bind(0, id);
  while (samples.Step()) {
    run.samples.push_back({samples.Integer(0), samples.Text(1), samples.Text(2), samples.Text(3)});
  }
  return run;
}

}  // namespace attune
