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

constexpr const char* kSelectRow = R"(
SELECT record, output_dir,
  (SELECT max(step) FROM metrics WHERE run = id),
  (SELECT value FROM metrics WHERE run = id AND name = 'loss' ORDER BY line DESC LIMIT 1),
  (SELECT min(value) FROM metrics WHERE run = id AND name = 'eval_loss')
FROM runs)";

std::string IdOf(const nlohmann::ordered_json& record) { return record.at("id").get<std::string>(); }

RunRow RowOf(const Statement& row) {
  RunRow run;
  run.record = ParseOrderedJson(row.Text(0), "the store of runs");
  run.output_dir = row.Text(1);
  run.steps = row.Integer(2);
  if (!row.IsNull(3)) run.loss = row.Double(3);
  if (!row.IsNull(4)) run.best_eval_loss = row.Double(4);
  return run;
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

void RunStore::Replace(const std::string& output_dir, const RunData& run) {
  const std::string id = IdOf(run.record);
  Transaction transaction(database_);
  for (const char* sql : {"DELETE FROM metrics WHERE run = ?", "DELETE FROM samples WHERE run = ?"}) {
    Statement(database_, sql).Bind(0, id).Run();
  }
  Statement(database_,
            "INSERT INTO runs (id, output_dir, record) VALUES (?, ?, ?) "
            "ON CONFLICT (id) DO UPDATE SET output_dir = excluded.output_dir, record = excluded.record")
      .Bind(0, id)
      .Bind(1, output_dir)
      .Bind(2, OneLine(run.record))
      .Run();
  next_lines_.erase(id);
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
  Statement query(database_, (std::string(kSelectRow) + " ORDER BY started DESC, rowid DESC").c_str());
  while (query.Step()) rows.push_back(RowOf(query));
  return rows;
}

std::optional<RunData> RunStore::Load(const std::string& id) {
  Statement record(database_, "SELECT record FROM runs WHERE id = ?");
  if (!record.Bind(0, id).Step()) return std::nullopt;
  RunData run;
  run.record = ParseOrderedJson(record.Text(0), "the store of runs");
  Statement metrics(database_, "SELECT line, step, name, value FROM metrics WHERE run = ? ORDER BY line, name");
  metrics.Bind(0, id);
  for (int64_t line = -1; metrics.Step();) {
    if (metrics.Integer(0) != line) run.metrics.push_back({metrics.Integer(1), {}});
    line = metrics.Integer(0);
    run.metrics.back().values.emplace_back(metrics.Text(2), metrics.Double(3));
  }
  Statement samples(database_, "SELECT step, prompt, reference, answer FROM samples WHERE run = ? ORDER BY line");
  samples.Bind(0, id);
  while (samples.Step()) {
    run.samples.push_back({samples.Integer(0), samples.Text(1), samples.Text(2), samples.Text(3)});
  }
  return run;
}

}  // namespace attune
