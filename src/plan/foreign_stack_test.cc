#include "plan/foreign_stack.h"

#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>

#include "base/error.h"
#include "base/file.h"
#include "formats/json.h"

namespace attune::foreign_stack_test {

StackRun RunOf(const nlohmann::json& j) {
  StackRun run;
  run.parameters = j.at("parameters");
  run.linear_parameters = j.at("linear_parameters");
  run.trained_parameters = j.at("trained_parameters");
  run.hidden = j.at("hidden");
  run.mlp = j.at("mlp");
  run.layers = j.at("layers");
  run.vocabulary = j.at("vocab");
  run.full = j.at("method") == "full";
  run.state_bytes = j.at("state_bytes");
  run.bits = j.at("bits");
  run.nested = j.value("nested", false);
  run.has_gate = j.at("gated");
  run.checkpointing = j.value("checkpointing", false);
  run.chunked_loss = j.value("chunked_loss", false);
  run.weights_on_host = j.value("weights_on_host", false);
  run.activations_on_host = j.value("activations_on_host", false);
  run.tokens = j.at("tokens");
  run.devices = j.value("devices", 1);
  run.shards = j.value("shards", false);
  run.summed = j.value("summed", false);
  return run;
}

struct Means {
  double sum = 0;
  int rows = 0;
  void Add(double error) {
    sum += std::abs(error);
    ++rows;
  }
  double percent() const { return 100 * sum / rows; }
};

// The table of docs/published-peaks.md, and the mean errors of rows whose settings are complete and of the rest.
std::string Table(Means* complete, Means* rest) {
  std::string text =
      "| run | stack | settings | predicted, GiB | published, GiB | error |\n|---|---|---|---|---|---|\n";
  for (const nlohmann::json& j : ParseJsonFile(std::string(ATTUNE_TEST_DATA) + "/published_peaks.json")) {
    const double predicted = PredictStackPeak(FindStack(j.at("stack")), RunOf(j)) / (1 << 30),
                 published = j.at("peak_gib");
    const double error = predicted / published - 1;
    (j.at("complete").get<bool>() ? complete : rest)->Add(error);
    text += fmt::format("| {} | {} | {} | {:.2f} | {:.2f} | {:+.1f} % |\n", j.at("id").get<std::string>(),
                        j.at("stack").get<std::string>(), j.at("complete").get<bool>() ? "complete" : "", predicted,
                        published, 100 * error);
  }
  return text;
}

TEST(ForeignStack, PredictsPublishedPeaks) {
  Means complete, rest;
  Table(&complete, &rest);
  EXPECT_EQ(complete.rows, 32);
  EXPECT_GT(rest.rows, 140);
  EXPECT_LT(complete.percent(), 5);
  EXPECT_LT(rest.percent(), 15);
}

// Where it does not, the right text is left beside the test's other files.
TEST(ForeignStack, TheDocumentShowsEveryRow) {
  Means complete, rest;
  const std::string table = Table(&complete, &rest), made = testing::TempDir() + "/published-peaks-table.md";
  const std::filesystem::path root = std::filesystem::path(ATTUNE_TEST_DATA).parent_path().parent_path();
  if (ReadFile((root / "docs/published-peaks.md").string()).find(table) != std::string::npos) return;
  WriteFileAtomic(made, table);
  FAIL() << "docs/published-peaks.md has not the table that is in " << made << " (means " << complete.percent()
         << " and " << rest.percent() << " %)";
}

TEST(ForeignStack, CountsWhatIsKept) {
  const StackProfile profile{
      .name = "some", .checkpointed = 2, .hidden = 10, .mlp = 4, .quantized = 1, .logits = 6, .chunked_logits = 1};
  StackRun run;
  run.parameters = 1100;
  run.linear_parameters = 1000;
  run.trained_parameters = 10;
  run.state_bytes = 16;
  run.hidden = 8;
  run.mlp = 16;
  run.layers = 2;
  run.vocabulary = 50;
  run.tokens = 3;
  const double lora = 2 * 1100 + 160;
  EXPECT_DOUBLE_EQ(PredictStackPeak(profile, run), lora + 3 * (2 * (10 * 8 + 4 * 16) + 6 * 50));
  run.bits = 4;
  EXPECT_DOUBLE_EQ(PredictStackPeak(profile, run),
                   1000 * 4.5 / 8 + 200 + 160 + 3 * (2 * (10 * 8 + 4 * 16 + 32 + 16) + 6 * 50));
  run.bits = 0;
  run.checkpointing = run.chunked_loss = true;
  EXPECT_DOUBLE_EQ(PredictStackPeak(profile, run), lora + 3 * (2 * 2 * 8 + 50));
  run.devices = 2;
  run.shards = true;
  EXPECT_DOUBLE_EQ(PredictStackPeak(profile, run), lora / 2 + 3 * (2 * 2 * 8 + 50));
  run.summed = true;
  EXPECT_DOUBLE_EQ(PredictStackPeak(profile, run), lora + 2 * 3 * (2 * 2 * 8 + 50));
  EXPECT_THROW(FindStack("litgtp"), Error);
}

}  // namespace attune::foreign_stack_test
