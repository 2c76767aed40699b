// attune data's commands over a file of any kind: check, clean, dedupe and split. Rows that go in come out or are put
// away with a reason, cleaned rows stay as they are when they are cleaned again, and what is written can be read.
#include <cstdint>

#include "base/error.h"
#include "base/faulty_env.h"
#include "base/file.h"
#include "curate/check.h"
#include "curate/clean.h"
#include "curate/dedupe.h"
#include "curate/split.h"

namespace {

using namespace attune;

void Fill(const std::string& input, const std::string& output, StageInput* stage) {
  stage->input = {input};
  stage->output = output;
  stage->threads = 1;
}

void Demand(bool holds) {
  if (!holds) __builtin_trap();
}

int64_t Removed(const nlohmann::ordered_json& manifest) {
  int64_t rows = 0;
  for (const auto& [rule, count] : manifest["removed"].items()) rows += count.get<int64_t>();
  return rows;
}

void RunStages(const std::string& folder, const std::string& input, bool mend_all) {
  CheckSettings check;
  check.input = {input};
  check.max_length = 16;
  const CheckResult result = CheckData(check);
  CleanSettings clean;
  Fill(input, folder + "/clean", &clean.stage);
  if (mend_all) {
    for (const char* rule : {"invalid-utf8=mend", "unbalanced-fence=mend", "wrong-type=keep", "role-order=keep"})
      SetAction(rule, &clean.actions);
  }
  const auto cleaned = CleanData(clean);
  Demand(cleaned["rows_in"] == result.rows);
  Demand(cleaned["rows_out"].get<int64_t>() + Removed(cleaned) == result.rows);
  if (cleaned["rows_out"] == 0) return;
  Fill(folder + "/clean.jsonl", folder + "/again", &clean.stage);
  const auto again = CleanData(clean);
  Demand(again["rows_out"] == cleaned["rows_out"]);
  Demand(ReadFile(folder + "/clean.jsonl") == ReadFile(folder + "/again.jsonl"));
  DedupeSettings dedupe;
  Fill(folder + "/clean.jsonl", folder + "/unique", &dedupe.stage);
  const auto unique = DedupeData(dedupe);
  Demand(unique["rows_out"].get<int64_t>() + Removed(unique) == cleaned["rows_out"]);
  SplitSettings split;
  Fill(input, folder + "/split", &split.stage);
  const auto parts = SplitData(split);
  Demand(parts["rows_out"].get<int64_t>() + Removed(parts) == result.rows);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  constexpr const char* kNames[] = {"in.jsonl", "in.json", "in.csv", "in.tsv", "in.txt", "in"};
  const std::string folder = QuickTempFolder("fuzz"), input = folder + "/" + kNames[data[0] % 6];
  try {
    RemoveTree(folder);
    MakeDirectories(folder);
    WriteFileAtomic(input, {reinterpret_cast<const char*>(data) + 1, size - 1});
    RunStages(folder, input, (data[0] & 8) != 0);
  } catch (const Error& error) {
    if (std::string_view(error.what()).find('\n') != std::string_view::npos) __builtin_trap();  // one line
  }
  RemoveTree(folder);
  return 0;
}
