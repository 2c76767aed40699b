#include "app/data_job.h"

#include <memory>

#include "app/data_encoder.h"
#include "base/system.h"

namespace attune {
namespace {

using Json = nlohmann::ordered_json;

}  // namespace

CheckResult RunDataCheck(const DataCheckJob& job) {
  CheckSettings settings = job.settings;
  settings.threads = CpuCount();
  std::unique_ptr<DataEncoder> encoder;
  if (!job.model.empty()) {
    encoder = std::make_unique<DataEncoder>(job.model);
    settings.count_tokens = [&](const std::string& row, const std::string& where) {
      return std::ssize(encoder->Encode(row, where).input_ids);
    };
  }
  return CheckData(settings);
}

Json RunDataClean(CleanSettings settings) {
  settings.stage.threads = CpuCount();
  return CleanData(settings);
}

Json RunDataDedupe(DedupeSettings settings) {
  settings.stage.threads = CpuCount();
  if (settings.stage.shard.is_part()) return SketchData(settings.stage, settings.duplicates);
  return DedupeData(settings);
}

Json RunDataSplit(SplitSettings settings) {
  settings.stage.threads = CpuCount();
  return SplitData(settings);
}

Json RunDataDecontaminate(DecontaminateSettings settings) {
  settings.stage.threads = CpuCount();
  return DecontaminateData(settings);
}

Json RunDataSelect(SelectSettings settings) {
  settings.stage.threads = CpuCount();
  return SelectData(settings);
}

Json ToJson(const CheckResult& result) {
  Json findings = Json::array();
  for (const RuleInfo& info : RuleTable()) {
    const RuleCount& count = result.rules[static_cast<size_t>(info.rule)];
    if (count.rows == 0) continue;
    Json examples = Json::array();
    for (const FindingExample& example : count.examples)
      examples.push_back({{"where", example.where}, {"detail", example.detail}});
    findings.push_back({{"rule", info.id},
                        {"severity", SeverityName(info.severity)},
                        {"what", info.what},
                        {"rows", count.rows},
                        {"examples", examples}});
  }
  return {{"rows", result.rows},
          {"files", result.files},
          {"bytes", result.bytes},
          {"errors", result.Errors()},
          {"warnings", result.Warnings()},
          {"findings", findings},
          {"formats", result.formats},
          {"languages", result.languages},
          {"answer_bytes",
           {{"shortest", result.shortest}, {"median", result.median}, {"longest", result.longest}}}};
}

}  // namespace attune
