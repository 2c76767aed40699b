#include "store/run_summary.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <ctime>

#include "base/system.h"

namespace attune {
namespace {

std::optional<double> Last(const RunData& run, const std::string& metric) {
  for (auto entry = run.metrics.rbegin(); entry != run.metrics.rend(); ++entry) {
    if (const double* value = entry->Find(metric)) {
      if (std::isfinite(*value)) return *value;
      return std::nullopt;
    }
  }
  return std::nullopt;
}

const nlohmann::ordered_json* At(const nlohmann::ordered_json& record, const std::string& pointer) {
  const nlohmann::ordered_json::json_pointer path(pointer);
  return record.contains(path) ? &record.at(path) : nullptr;
}

void Flatten(const nlohmann::ordered_json& json, const std::string& name,
             std::vector<std::pair<std::string, std::string>>& out) {
  if (!json.is_object()) {
    out.emplace_back(name, json.is_string() ? json.get<std::string>() : OneLine(json));
    return;
  }
  for (const auto& [key, value] : json.items()) Flatten(value, name.empty() ? key : name + "." + key, out);
}

}  // namespace

std::string FieldText(const nlohmann::ordered_json& record, const std::string& pointer) {
  const auto* field = At(record, pointer);
  if (field == nullptr || field->is_null()) return "";
  return field->is_string() ? field->get<std::string>() : OneLine(*field);
}

int64_t WholeNumber(double value) { return static_cast<int64_t>(std::clamp(value, -0x1p53, 0x1p53)); }

std::optional<double> FieldNumber(const nlohmann::ordered_json& record, const std::string& pointer) {
  const auto* field = At(record, pointer);
  if (field == nullptr || !field->is_number()) return std::nullopt;
  return field->get<double>();
}

std::vector<std::string> DataLines(const nlohmann::ordered_json& record) {
  std::vector<std::string> lines;
  for (const std::string part : {"train", "eval"}) {
    const std::string path = FieldText(record, "/data/" + part);
    if (!path.empty())
      lines.push_back(fmt::format("{} (sha256 {})", path, FieldText(record, "/data/" + part + "_sha256")));
  }
  const auto* manifests = At(record, "/data/manifests");
  for (size_t i = 0; manifests != nullptr && i < manifests->size(); ++i) {
    const auto field = [&](const char* name) {
      return FieldText(record, fmt::format("/data/manifests/{}/{}", i, name));
    };
    lines.push_back(fmt::format("{} (stage {}, xxh3 {}): {} {}", field("manifest"), field("stage"),
                                field("manifest_xxh3_128"), field("file"),
                                field("matches") == "true" ? "is as it says" : "is not what it says"));
  }
  return lines;
}

std::vector<std::pair<std::string, std::string>> Flattened(const nlohmann::ordered_json& json) {
  std::vector<std::pair<std::string, std::string>> leaves;
  Flatten(json, "", leaves);
  return leaves;
}

std::string StatusOf(const nlohmann::ordered_json& record) {
  const std::string status = FieldText(record, "/status");
  // A run.json of before there was a status.
  if (status.empty()) return FieldText(record, "/finished").empty() ? "interrupted" : "finished";
  if (status != "running" || FieldText(record, "/process/host") != HostName()) return status;
  const auto pid = FieldNumber(record, "/process/pid"), ticks = FieldNumber(record, "/process/start_ticks");
  const bool is_there = pid && ticks && ProcessStartTicks(WholeNumber(*pid)) == WholeNumber(*ticks);
  return is_there ? "running" : "interrupted";
}

nlohmann::ordered_json ThisProcess() {
  const int64_t pid = ::getpid();
  return {{"host", HostName()}, {"pid", pid}, {"start_ticks", ProcessStartTicks(pid)}};
}

RunSummary Summarize(const RunData& run) {
  RunSummary s;
  s.id = FieldText(run.record, "/id");
  s.status = StatusOf(run.record);
  s.method = FieldText(run.record, "/method");
  s.model = FieldText(run.record, "/model/name_or_path");
  s.output_dir = FieldText(run.record, "/output_dir");
  s.started = FieldText(run.record, "/started");
  std::optional<double> end = TimeFromText(FieldText(run.record, "/finished"));
  for (const MetricsEntry& entry : run.metrics) {
    s.steps = std::max(s.steps, entry.step);
    const double* loss = entry.Find("eval_loss");
    if (loss == nullptr || !std::isfinite(*loss)) continue;
    if (!s.first_eval_loss) s.first_eval_loss = *loss;
    if (!s.best_eval_loss || *loss < *s.best_eval_loss) {
      s.best_eval_loss = *loss;
      s.best_eval_step = entry.step;
    }
  }
  s.loss = Last(run, "loss");
  s.eval_loss = Last(run, "eval_loss");
  if (!end) end = Last(run, "time");
  const auto start = TimeFromText(s.started);
  s.seconds = FieldNumber(run.record, "/result/train_runtime");
  if (!s.seconds && start && end && *end >= *start) s.seconds = *end - *start;
  s.tokens = Last(run, "num_tokens");
  s.tokens_per_second = FieldNumber(run.record, "/result/tokens_per_second");
  if (!s.tokens_per_second) s.tokens_per_second = Last(run, "tokens_per_second");
  s.planned_bytes = FieldNumber(run.record, "/planned_bytes");
  s.peak_rss_bytes = FieldNumber(run.record, "/peak_rss_bytes");
  if (!s.peak_rss_bytes) s.peak_rss_bytes = Last(run, "peak_rss_bytes");
  return s;
}

nlohmann::ordered_json ToJson(const RunSummary& s) {
  const auto number = [](const std::optional<double>& value) {
    return value ? nlohmann::ordered_json(*value) : nlohmann::ordered_json();
  };
  const auto whole = [](const std::optional<double>& value) {
    return value ? nlohmann::ordered_json(WholeNumber(*value)) : nlohmann::ordered_json();
  };
  return {{"id", s.id},
          {"status", s.status},
          {"method", s.method},
          {"model", s.model},
          {"output_dir", s.output_dir},
          {"started", s.started},
          {"seconds", number(s.seconds)},
          {"steps", s.steps},
          {"loss", number(s.loss)},
          {"eval_loss_before", number(s.first_eval_loss)},
          {"eval_loss", number(s.eval_loss)},
          {"best_eval_loss", number(s.best_eval_loss)},
          {"best_eval_step", s.best_eval_loss ? nlohmann::ordered_json(s.best_eval_step) : nlohmann::ordered_json()},
          {"num_tokens", whole(s.tokens)},
          {"tokens_per_second", number(s.tokens_per_second)},
          {"planned_bytes", whole(s.planned_bytes)},
          {"peak_rss_bytes", whole(s.peak_rss_bytes)}};
}

std::string TimeText(double seconds) {
  const auto whole = static_cast<std::time_t>(seconds);
  std::tm parts{};
  gmtime_r(&whole, &parts);
  char text[32];
  std::strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &parts);
  return text;
}

std::optional<double> TimeFromText(const std::string& text) {
  std::tm parts{};
  const char* end = strptime(text.c_str(), "%Y-%m-%dT%H:%M:%SZ", &parts);
  if (end == nullptr || *end != '\0') return std::nullopt;
  return static_cast<double>(timegm(&parts));
}

std::string DurationText(double seconds) {
  const auto whole = static_cast<int64_t>(std::clamp(seconds, 0.0, 1e12) + 0.5);
  if (whole < 60) return fmt::format("{}s", whole);
  if (whole < 3600) return fmt::format("{}m{:02}s", whole / 60, whole % 60);
  if (whole < 86400) return fmt::format("{}h{:02}m", whole / 3600, whole / 60 % 60);
  return fmt::format("{}d{:02}h", whole / 86400, whole / 3600 % 24);
}

std::string BytesText(double bytes) {
  return bytes >= (1 << 30) ? fmt::format("{:.2f} GiB", bytes / (1 << 30))
                            : fmt::format("{:.1f} MiB", bytes / (1 << 20));
}

}  // namespace attune
