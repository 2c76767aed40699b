#include <gtest/gtest.h>

#include <set>

#include "base/error.h"
#include "plan/device.h"
#include "plan/named_entry.h"
#include "plan/planned_model.h"
#include "plan/prices.h"

namespace attune::catalogue_test {

std::string ErrorOf(const std::function<void()>& run) {
  try {
    run();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kBadInput);
    return error.what();
  }
  return "";
}

TEST(ModelCatalogue, HasTheFamiliesPeopleAskForOnceEach) {
  std::set<std::string> names, families;
  for (const CatalogueModel& m : ModelCatalogue()) {
    EXPECT_TRUE(names.insert(m.name).second) << m.name;
    families.insert(m.spec.model_type);
    EXPECT_GT(m.parameters, 0) << m.name;
    EXPECT_EQ(m.spec.num_attention_heads % m.spec.num_key_value_heads, 0) << m.name;
    EXPECT_FALSE(m.source.empty()) << m.name;
  }
  for (const char* family :
       {"llama", "mistral", "mixtral", "qwen2", "qwen3", "gemma2", "gemma3_text", "phi3", "smollm3"}) {
    EXPECT_TRUE(families.contains(family)) << family;
  }
}

// The sizes of the decoder's own families give the published count to the last parameter; of the others the rest is
// small or experts.
TEST(ModelCatalogue, CountsAgreeWithTheSizes) {
  for (const CatalogueModel& m : ModelCatalogue()) {
    const PlannedModel planned = FindModel(m.name);
    EXPECT_EQ(planned.parameters(), m.parameters) << m.name;
    const std::string& family = m.spec.model_type;
    if (family == "llama" || family == "mistral" || family == "qwen2" || family == "qwen3" || family == "smollm3") {
      EXPECT_EQ(planned.other_parameters, 0) << m.name;
    }
    if (planned.lacking.empty()) {
      EXPECT_EQ(planned.other_parameters, 0) << m.name << ": the engine trains more than the plan counts";
    }
  }
  EXPECT_EQ(FindModel("llama-2-7b").parameters(), 6738415616);
  EXPECT_TRUE(FindModel("llama-2-7b").lacking.empty());
  EXPECT_NE(FindModel("gpt2").lacking, "");
}

TEST(ModelCatalogue, FindsByShortNamesAndNamesTheNearest) {
  EXPECT_EQ(FindModel("Llama-2-7B").name, "meta-llama/Llama-2-7b-hf");
  EXPECT_EQ(FindModel("qwen/qwen2.5-7b").name, "Qwen/Qwen2.5-7B");
  EXPECT_NE(ErrorOf([] { FindModel("lama-2-7b-hf"); }).find("did you mean \"Llama-2-7b-hf\"?"), std::string::npos);
  EXPECT_NE(ErrorOf([] { FindModel("Llama-2"); }).find("did you mean"), std::string::npos);  // several begin so
}

TEST(DeviceCatalogue, HasMemoryRatesAndMarks) {
  for (const PlanDevice& d : DeviceCatalogue()) {
    EXPECT_GT(d.memory_bytes, 0) << d.name;
    EXPECT_GT(d.matmul_flops, 0) << d.name;
    EXPECT_GT(d.bandwidth, 0) << d.name;
  }
  EXPECT_EQ(FindDevice("rtx 4090").memory_bytes, int64_t{24} << 30);
  EXPECT_EQ(FindDevice("H100 SXM").matmul_flops, 989.4e12);
  EXPECT_EQ(FindDevice("T4").recalled.size(), 4u);
  EXPECT_NE(ErrorOf([] { FindDevice("RTX 4091"); }).find("did you mean \"RTX 4090\"?"), std::string::npos);
  EXPECT_NE(ErrorOf([] { FindDevice("A100"); }).find("A100 SXM 40GB, A100 SXM 80GB"), std::string::npos);
}

nlohmann::ordered_json SomePrices() {
  return {{"date", "2026-01-01"},       {"source", "a list"},       {"currency", "EUR"},
          {"electricity_per_kwh", 0.3}, {"this_machine_watts", 50}, {"per_hour", {{"H100 SXM", 2.5}}}};
}

TEST(Prices, AreReadAndChecked) {
  const Prices prices = Prices::FromJson(SomePrices(), "p.yaml");
  EXPECT_EQ(prices.PerHour("H100 SXM"), 2.5);
  EXPECT_EQ(prices.PerHour("T4"), std::nullopt);
  EXPECT_EQ(prices.currency, "EUR");

  const auto error_with = [](const char* key, const nlohmann::ordered_json& value) {
    nlohmann::ordered_json json = SomePrices();
    json[key] = value;
    return ErrorOf([&] { Prices::FromJson(json, "p.yaml"); });
  };
  EXPECT_EQ(error_with("electricity_per_kwh", -0.1), "p.yaml: electricity_per_kwh: must be 0 or more, not -0.1");
  EXPECT_EQ(error_with("per_hour", {{"H100 SXM", -1}}), "p.yaml: per_hour: H100 SXM: must be 0 or more, not -1");
  EXPECT_EQ(error_with("curency", "EUR"), "p.yaml: unknown key \"curency\"; did you mean \"currency\"?");
  EXPECT_NE(error_with("per_hour", {{"RTX 4091", 1}}).find("did you mean \"RTX 4090\"?"), std::string::npos);
  nlohmann::ordered_json missing = SomePrices();
  missing.erase("date");
  EXPECT_EQ(ErrorOf([&] { Prices::FromJson(missing, "p.yaml"); }), "p.yaml: the key \"date\" is missing");
}

}  // namespace attune::catalogue_test
