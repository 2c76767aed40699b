#include "app/data_job.h"

#include <memory>

#include "app/data_encoder.h"
#include "app/row_scores.h"
#include "base/error.h"
#include "base/system.h"

namespace attune {
namespace {

using Json = nlohmann::ordered_json;

// Semantic duplicates, where there is a model.
void CompareMeanings(const StageInput& stage, const RowModel& model, DuplicateSettings* settings) {
  if (model.model.empty()) return;
  settings->model = ModelIdentity(model.model);
  settings->embeddings = [=, by = settings->by] { return EmbedRows(stage, by, model.model, model.on_progress); };
}

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

Json RunDataDedupe(DedupeSettings settings, const RowModel& model) {
  settings.stage.threads = CpuCount();
  if (settings.stage.shard.is_part()) {
    if (!model.model.empty())
      BadInput("--semantic: is for the whole input: leave it out of --shard and give it with --merge");
    return SketchData(settings.stage, settings.duplicates);
  }
  CompareMeanings(settings.stage, model, &settings.duplicates);
  return DedupeData(settings);
}

Json RunDataSplit(SplitSettings settings, const RowModel& model) {
  settings.stage.threads = CpuCount();
  CompareMeanings(settings.stage, model, &settings.duplicates);
  return SplitData(settings);
}

Json RunDataDecontaminate(DecontaminateSettings settings) {
  settings.stage.threads = CpuCount();
  return DecontaminateData(settings);
}

Json RunDataSelect(SelectSettings settings, const RowModel& model) {
  settings.stage.threads = CpuCount();
  const SelectionSettings& rules = settings.rules;
  const bool scores = rules.Uses(SelectRule::kIfd) || rules.Uses(SelectRule::kLoss),
             diverse = rules.Uses(SelectRule::kDiverse);
  if (scores && model.model.empty()) BadInput("--by: ifd and loss need a model that reads the rows: --model M");
  if (!scores && !model.scores.empty()) BadInput("--scores {}: is for --by ifd or loss; leave it out", model.scores);
  if (model.model.empty()) return SelectData(settings);
  if (!scores && !diverse) BadInput("--model {}: is for --by ifd, loss or diverse; leave it out", model.model);
  settings.model = ModelIdentity(model.model);
  if (scores) {
    settings.model["max_length"] = model.max_length;
    settings.scores = [=, stage = settings.stage] {
      return ScoreRows({stage, model.model, model.max_length, model.scores}, model.on_progress);
    };
  }
  if (diverse) {
    settings.embeddings = [=, stage = settings.stage] {
      return EmbedRows(stage, CompareBy::kBoth, model.model, model.on_progress);
    };
  }
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
          {"answer_bytes", {{"shortest", result.shortest}, {"median", result.median}, {"longest", result.longest}}}};
}

}  // namespace attune
