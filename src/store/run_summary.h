// The few figures by which runs are told apart, from what a run logged and what run.json says.
#pragma once

#include <optional>
#include <string>

#include "store/run_data.h"

namespace attune {

struct RunSummary {
  std::string id, status, method, model, output_dir,
      started;  // status: running, finished, interrupted, failed
  int64_t steps = 0;
  std::optional<double> loss;                                        // the last logged
  std::optional<double> first_eval_loss, eval_loss, best_eval_loss;  // before, last, least
  int64_t best_eval_step = 0;
  std::optional<double> seconds;  // of training; while it goes on, since its start
  std::optional<double> tokens, tokens_per_second;
  std::optional<double> planned_bytes, peak_rss_bytes;
};

RunSummary Summarize(const RunData& run);
nlohmann::ordered_json ToJson(const RunSummary& summary);

// The text or number at a path of run.json, as text; "" when it is absent or null. Path:
// "/model/name_or_path".
std::string FieldText(const nlohmann::ordered_json& record, const std::string& pointer);
std::optional<double> FieldNumber(const nlohmann::ordered_json& record, const std::string& pointer);

// A number of a file, which may be anything, within what a double counts by ones: casting what does not fit is
// undefined.
int64_t WholeNumber(double value);

// A line for each of the run's data, "train.jsonl (sha256 ...)", and for each manifest that lay beside it, with its
// hash.
std::vector<std::string> DataLines(const nlohmann::ordered_json& record);

// Leaves of an object by dotted name, in order: {"training": {"seed": 1}} gives ("training.seed", "1").
std::vector<std::pair<std::string, std::string>> Flattened(const nlohmann::ordered_json& json);

// "running" of a process on this host that is there no more is "interrupted".
std::string StatusOf(const nlohmann::ordered_json& record);

// {"host", "pid", "start_ticks"} of this process, for run.json.
nlohmann::ordered_json ThisProcess();

// "2026-01-31T12:00:00Z" and back to seconds since 1970; nullopt for another form.
std::string TimeText(double seconds);
std::optional<double> TimeFromText(const std::string& text);

// "45s", "3m07s", "2h05m", "3d04h".
std::string DurationText(double seconds);
std::string BytesText(double bytes);

}  // namespace attune
