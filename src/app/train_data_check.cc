#include "app/train_data_check.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <optional>

#include "base/error.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/system.h"
#include "curate/check.h"
#include "data/data_files.h"
#include "formats/json.h"

namespace attune {
namespace {

using Json = nlohmann::ordered_json;

constexpr size_t kNamedRules = 5;  // of a line

// "3 email (train.jsonl:12), 1 mojibake (train.jsonl:4) and 2 rules more", those with the most rows first.
std::string FindingsText(std::vector<const RuleInfo*> rules, const CheckResult& result) {
  const auto count = [&](const RuleInfo* info) -> const RuleCount& {
    return result.rules[static_cast<size_t>(info->rule)];
  };
  std::stable_sort(rules.begin(), rules.end(),
                   [&](const RuleInfo* a, const RuleInfo* b) { return count(a).rows > count(b).rows; });
  std::vector<std::string> named;
  for (size_t i = 0; i < std::min(kNamedRules, rules.size()); ++i) {
    const RuleCount& found = count(rules[i]);
    named.push_back(fmt::format("{} {}", found.rows, rules[i]->id));
    if (!found.examples.empty()) named.back() += fmt::format(" ({})", found.examples[0].where);
  }
  std::string text = fmt::to_string(fmt::join(named, ", "));
  if (rules.size() > kNamedRules) text += fmt::format(" and {} rules more", rules.size() - kNamedRules);
  return text;
}

std::string FileName(const std::string& path) { return path.substr(path.rfind('/') + 1); }

// What the manifest at `path` says of `file`; nullopt: it is about other files.
std::optional<Json> OutputOf(const Json& manifest, const std::string& file) {
  if (!manifest.is_object() || !manifest.contains("outputs") || !manifest["outputs"].is_array()) return std::nullopt;
  for (const Json& output : manifest["outputs"]) {
    const bool names_one = output.is_object() && output.contains("path") && output["path"].is_string() &&
                           output.contains("xxh3_128") && output["xxh3_128"].is_string();
    // The folder may have been moved since.
    if (names_one && FileName(output["path"].get<std::string>()) == FileName(file)) return output;
  }
  return std::nullopt;
}

void CheckManifest(const std::string& file, const std::string& path, DataNotes* notes) {
  Json manifest;
  try {
    manifest = ParseOrderedJsonFile(path);
  } catch (const Error& error) {
    notes->lines.push_back(fmt::format("warning: {}; {} could not be compared with it", error.what(), file));
    return;
  }
  const auto output = OutputOf(manifest, file);
  if (!output) return;
  const auto expected = (*output)["xxh3_128"].get<std::string>();
  const bool matches = Xxh3OfFile(file) == expected;
  if (!matches) {
    notes->lines.push_back(
        fmt::format("warning: {} is not what {} says: it was changed since attune data wrote it", file, path));
  }
  notes->record.push_back({{"file", file},
                           {"manifest", path},
                           {"stage", manifest.value("stage", Json())},
                           {"manifest_xxh3_128", Xxh3OfFile(path)},
                           {"xxh3_128", expected},
                           {"matches", matches}});
}

}  // namespace

DataNotes CheckTrainData(const std::string& path, int64_t bytes) {
  // As training reads them, whatever else their names could mean.
  std::vector<DataFile> files;
  for (std::string& file : DataFiles(path)) {
    const Container container = IsPlainText(file) ? Container::kText : Container::kJsonl;
    files.push_back({std::move(file), container, {}});
  }
  RowSource source(std::move(files));
  source.StopAfter(bytes);
  CheckSettings settings;
  settings.examples = 1;
  settings.threads = CpuCount();
  const CheckResult result = CheckRows(source, settings);
  ReturnFreedMemory();

  DataNotes notes;
  notes.record = {{"rows", result.rows}, {"errors", Json::object()}, {"warnings", Json::object()}};
  std::vector<const RuleInfo*> errors, warnings;
  for (const RuleInfo& info : RuleTable()) {
    const int64_t rows = result.rules[static_cast<size_t>(info.rule)].rows;
    if (rows == 0) continue;
    const bool is_error = info.severity == Severity::kError;
    (is_error ? errors : warnings).push_back(&info);
    notes.record[is_error ? "errors" : "warnings"][info.id] = rows;
  }
  const std::string looked_at = source.AtEnd()
                                    ? fmt::format("{} rows", result.rows)
                                    : fmt::format("the first {} rows ({} MB)", result.rows, result.bytes / 1'000'000);
  if (errors.empty() && warnings.empty()) {
    notes.lines.push_back(fmt::format("data: nothing is wrong with {} of {}", looked_at, path));
    return notes;
  }
  notes.lines.push_back(fmt::format("data: {} errors and {} warnings in {} of {} (attune data check shows all)",
                                    result.Errors(), result.Warnings(), looked_at, path));
  if (!errors.empty()) notes.lines.push_back("  errors: " + FindingsText(errors, result));
  if (!warnings.empty()) notes.lines.push_back("  warnings: " + FindingsText(warnings, result));
  return notes;
}

DataNotes CheckManifests(const std::vector<std::string>& paths) {
  DataNotes notes{{}, Json::array()};
  for (const std::string& path : paths) {
    for (const std::string& file : DataFiles(path)) {
      const size_t name = file.rfind('/') + 1;
      for (size_t dot = file.rfind('.'); dot != file.npos && dot > name; dot = file.rfind('.', dot - 1)) {
        const std::string manifest = file.substr(0, dot) + ".manifest.json";
        if (FileExists(manifest)) CheckManifest(file, manifest, &notes);
      }
    }
  }
  return notes;
}

}  // namespace attune
