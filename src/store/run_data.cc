#include "store/run_data.h"

#include <cmath>
#include <filesystem>
#include <limits>
#include <set>

#include "base/error.h"
#include "base/file.h"
#include "data/jsonl.h"
#include "formats/json.h"

namespace attune {
namespace {

constexpr size_t kMostNames = 256;  // a table of every name by every line stays a small multiple of the file
constexpr int64_t kMostSteps = int64_t{1} << 53;

int64_t StepOf(const nlohmann::ordered_json& line, const std::string& where) {
  const auto step = line.find("step");
  if (step == line.end())
    BadInput("{}: has no \"step\"; every line of a run's records names the step it belongs to", where);
  if (step->is_number_unsigned() && step->get<uint64_t>() <= static_cast<uint64_t>(kMostSteps)) {
    return static_cast<int64_t>(step->get<uint64_t>());
  }
  if (step->is_number_integer() && step->get<int64_t>() >= 0 && step->get<int64_t>() <= kMostSteps) {
    return step->get<int64_t>();
  }
  BadInput("{}: \"step\" must be a whole number from 0", where);
}

std::string TextOf(const nlohmann::ordered_json& line, const char* key, const std::string& where) {
  const auto text = line.find(key);
  if (text == line.end() || !text->is_string()) BadInput("{}: \"{}\" must be a text", where, key);
  return text->get<std::string>();
}

}  // namespace

const double* MetricsEntry::Find(std::string_view name) const {
  for (const auto& [key, value] : values) {
    if (key == name) return &value;
  }
  return nullptr;
}

MetricsEntry MetricsFromJson(const nlohmann::ordered_json& line, const std::string& where) {
  MetricsEntry entry;
  entry.step = StepOf(line, where);
  for (const auto& [key, value] : line.items()) {
    if (key == "step") continue;
    if (value.is_number()) entry.values.emplace_back(key, value.get<double>());
    if (value.is_null()) entry.values.emplace_back(key, std::numeric_limits<double>::quiet_NaN());
  }
  return entry;
}

RunSample SampleFromJson(const nlohmann::ordered_json& line, const std::string& where) {
  return {StepOf(line, where), TextOf(line, "prompt", where), TextOf(line, "reference", where),
          TextOf(line, "answer", where)};
}

nlohmann::ordered_json ToJson(const RunSample& sample) {
  return {{"step", sample.step}, {"prompt", sample.prompt}, {"reference", sample.reference}, {"answer", sample.answer}};
}

std::vector<MetricsEntry> ParseMetrics(std::string_view text, const std::string& path) {
  std::vector<MetricsEntry> entries;
  std::set<std::string> names;
  for (const JsonlLine& line : SplitJsonl(text)) {
    const std::string where = fmt::format("{}:{}", path, line.number);
    entries.push_back(MetricsFromJson(ParseJsonlLine(line, path), where));
    for (const auto& [name, value] : entries.back().values) names.insert(name);
    if (names.size() > kMostNames) BadInput("{}: more than {} different metrics", where, kMostNames);
  }
  return entries;
}

nlohmann::ordered_json ReadRunJson(const std::string& path) {
  nlohmann::ordered_json record = ParseOrderedJsonFile(path);
  if (!record.is_object()) BadInput("{}: is no record of a run: it must hold an object", path);
  return record;
}

RunData ReadRunFolder(const std::string& folder) {
  RunData run;
  const std::string record = folder + "/run.json", metrics = folder + "/metrics.jsonl",
                    samples = folder + "/samples.jsonl";
  if (!FileExists(record))
    BadInput("{}: holds no run: there is no run.json; name the output_dir of a training", folder);
  run.record = ReadRunJson(record);
  if (FileExists(metrics)) run.metrics = ParseMetrics(ReadFile(metrics), metrics);
  if (FileExists(samples)) {
    const std::string text = ReadFile(samples);
    for (const JsonlLine& line : SplitJsonl(text)) {
      run.samples.push_back(SampleFromJson(ParseJsonlLine(line, samples), fmt::format("{}:{}", samples, line.number)));
    }
  }
  return run;
}

std::string AbsolutePath(const std::string& path) {
  std::error_code error;
  std::string absolute = std::filesystem::absolute(path, error).lexically_normal().string();
  if (absolute.size() > 1 && absolute.ends_with('/')) absolute.pop_back();
  return absolute;
}

std::string OneLine(const nlohmann::ordered_json& json) {
  return json.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

}  // namespace attune
