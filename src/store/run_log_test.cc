// The files that grow with a run, read back by readers of this test's own.
#include "store/run_log.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <limits>
#include <map>

#include "base/error.h"
#include "store/event_file.h"
#include "store/metrics_csv.h"

namespace attune::run_log_test {

using Json = nlohmann::ordered_json;

std::string Folder() {
  const std::string folder =
      testing::TempDir() + "/run_log-" + testing::UnitTest::GetInstance()->current_test_info()->name();
  std::filesystem::remove_all(folder);
  std::filesystem::create_directories(folder);
  return folder;
}

std::string EventFileIn(const std::string& folder) {
  std::vector<std::string> found;
  for (const auto& entry : std::filesystem::directory_iterator(folder + "/tensorboard")) found.push_back(entry.path());
  EXPECT_EQ(found.size(), 1u);
  return found.at(0);
}

// CRC-32C bit by bit, and the mask of TFRecord.
uint32_t MaskedCrcOf(std::string_view bytes) {
  uint32_t crc = 0xFFFFFFFF;
  for (const char c : bytes) {
    for (int bit = 0; bit < 8; ++bit) {
      const bool differs = ((crc ^ (static_cast<unsigned char>(c) >> bit)) & 1) != 0;
      crc = (crc >> 1) ^ (differs ? 0x82F63B78u : 0);
    }
  }
  crc = ~crc;
  return ((crc >> 15) | (crc << 17)) + 0xA282EAD8u;
}

struct Event {
  double time = 0;
  int64_t step = 0;
  std::string version;
  std::map<std::string, float> values;
};

// A reader of protocol buffers that knows the wire types and nothing of messages: calls back with field
// number, number or bytes.
void ReadFields(std::string_view bytes, const std::function<void(int, uint64_t, std::string_view)>& field) {
  const auto varint = [&] {
    uint64_t value = 0;
    for (int shift = 0;; shift += 7) {
      const auto byte = static_cast<unsigned char>(bytes.at(0));
      bytes.remove_prefix(1);
      value |= static_cast<uint64_t>(byte & 0x7F) << shift;
      if (byte < 0x80) return value;
    }
  };
  while (!bytes.empty()) {
    const uint64_t key = varint();
    uint64_t number = 0;
    std::string_view content;
    if ((key & 7) == 0) {
      number = varint();
    } else {
      const size_t size = (key & 7) == 1 ? 8 : (key & 7) == 5 ? 4 : varint();
      content = bytes.substr(0, size);
      ASSERT_EQ(content.size(), size);
      bytes.remove_prefix(size);
      if ((key & 7) != 2) std::memcpy(&number, content.data(), size);
    }
    field(static_cast<int>(key >> 3), number, content);
  }
}

std::vector<Event> ReadEvents(const std::string& file) {
  std::vector<Event> events;
  std::string_view rest = file;
  while (!rest.empty()) {
    uint64_t length = 0;
    uint32_t length_crc = 0, data_crc = 0;
    std::memcpy(&length, rest.data(), 8);
    std::memcpy(&length_crc, rest.data() + 8, 4);
    EXPECT_EQ(length_crc, MaskedCrcOf(rest.substr(0, 8)));
    if (length + 16 > rest.size()) {
      ADD_FAILURE() << "a record runs over the end";
      return events;
    }
    const std::string_view data = rest.substr(12, length);
    std::memcpy(&data_crc, rest.data() + 12 + length, 4);
    EXPECT_EQ(data_crc, MaskedCrcOf(data));
    rest.remove_prefix(length + 16);
    Event event;
    ReadFields(data, [&](int field, uint64_t number, std::string_view bytes) {
      if (field == 1) event.time = std::bit_cast<double>(number);
      if (field == 2) event.step = static_cast<int64_t>(number);
      if (field == 3) event.version = bytes;
      if (field != 5) return;
      ReadFields(bytes, [&](int, uint64_t, std::string_view value) {
        std::string tag;
        ReadFields(value, [&](int f, uint64_t n, std::string_view b) {
          if (f == 1) tag = b;
          if (f == 2) event.values[tag] = std::bit_cast<float>(static_cast<uint32_t>(n));
        });
      });
    });
    events.push_back(event);
  }
  return events;
}

Json Step(int64_t step, double loss) { return {{"loss", loss}, {"learning_rate", 2e-4}, {"step", step}}; }
Json Eval(int64_t step, double loss) { return {{"eval_loss", loss}, {"epoch", 0.5}, {"step", step}}; }

TEST(Crc32c, KnownValues) {
  EXPECT_EQ(Crc32c("123456789"), 0xE3069283u);
  EXPECT_EQ(Crc32c(std::string(32, '\0')), 0x8A9136AAu);
  EXPECT_EQ(Crc32c(""), 0u);
}

TEST(RunLog, WritesTheSameNumbersInThreeForms) {
  const std::string folder = Folder();
  RunLog log(folder, std::nullopt, "host");
  log.Append(Eval(0, 4.5));
  log.Append(Step(10, 3.25));
  log.Append({{"loss", std::numeric_limits<double>::quiet_NaN()}, {"step", 20}});

  const auto metrics = ParseMetrics(ReadFile(folder + "/metrics.jsonl"), "m");
  ASSERT_EQ(metrics.size(), 3u);
  EXPECT_EQ(*metrics[0].Find("eval_loss"), 4.5);
  EXPECT_EQ(metrics[1].step, 10);
  EXPECT_TRUE(std::isnan(*metrics[2].Find("loss")));
  EXPECT_NEAR(*metrics[2].Find("time"), WallTime(), 60);

  const std::string csv = ReadFile(folder + "/metrics.csv");
  EXPECT_TRUE(csv.starts_with("step,eval_loss,epoch,time,loss,learning_rate\r\n0,4.5,0.5,")) << csv;
  EXPECT_NE(csv.find(",3.25,0.0002\r\n20,,,"), std::string::npos) << csv;
  EXPECT_EQ(csv, CsvText(metrics)) << "what is written line by line is what is written at once";

  const auto events = ReadEvents(ReadFile(EventFileIn(folder)));
  ASSERT_EQ(events.size(), 3u) << "the version, and two lines: the third has no number";
  EXPECT_EQ(events[0].version, "brain.Event:2");
  EXPECT_EQ(events[1].values, (std::map<std::string, float>{{"eval/loss", 4.5f}, {"train/epoch", 0.5f}}));
  EXPECT_EQ(events[2].step, 10);
  EXPECT_EQ(events[2].time, *metrics[1].Find("time"));
  EXPECT_EQ(events[2].values, (std::map<std::string, float>{{"train/loss", 3.25f}, {"train/learning_rate", 2e-4f}}));
}

TEST(RunLog, AResumedRunKeepsWhatCameBeforeTheCheckpoint) {
  const std::string folder = Folder();
  {
    RunLog log(folder, std::nullopt, "host");
    log.Append(Eval(0, 5));
    for (int64_t step = 1; step <= 6; ++step) log.Append(Step(step, 5.0 - static_cast<double>(step)));
    log.AppendSamples({{0, "p", "r", "zero"}, {5, "p", "r", "five"}});
  }
  const std::string before = ReadFile(folder + "/metrics.jsonl");
  AppendFile(folder + "/metrics.jsonl").Write("{\"loss\": 1, \"st");  // the crash
  WriteFileAtomic(folder + "/tensorboard/events.out.tfevents.1.other", "of another program");
  RunLog log(folder, 4, "host");
  EXPECT_EQ(log.dropped_lines(), 1);
  std::string kept = ReadFile(folder + "/metrics.jsonl");
  EXPECT_TRUE(before.starts_with(kept)) << "byte for byte";
  EXPECT_EQ(std::count(kept.begin(), kept.end(), '\n'), 5);
  log.Append(Step(5, 0.5));
  log.AppendSamples({{5, "p", "r", "five again"}});

  const auto metrics = ParseMetrics(ReadFile(folder + "/metrics.jsonl"), "m");
  ASSERT_EQ(metrics.size(), 6u);
  EXPECT_EQ(*metrics[5].Find("loss"), 0.5);
  EXPECT_EQ(ReadFile(folder + "/metrics.csv"), CsvText(metrics));
  EXPECT_EQ(ReadFile(folder + "/tensorboard/events.out.tfevents.1.other"), "of another program");
  std::filesystem::remove(folder + "/tensorboard/events.out.tfevents.1.other");
  const auto events = ReadEvents(ReadFile(EventFileIn(folder)));
  ASSERT_EQ(events.size(), 7u);
  EXPECT_EQ(events[6].values.at("train/loss"), 0.5f);
  EXPECT_EQ(events[4].time, *metrics[3].Find("time")) << "what was logged before keeps its time";
  const std::string samples = ReadFile(folder + "/samples.jsonl");
  EXPECT_NE(samples.find("zero"), std::string::npos);
  EXPECT_EQ(samples.find("\"five\""), std::string::npos) << samples;
  EXPECT_NE(samples.find("five again"), std::string::npos);
}

TEST(MetricsCsv, QuotesNamesAndKeepsNumbersExact) {
  MetricsEntry entry{3, {{"a,\"b\"", 0.1}, {"big", 12345678901.0}, {"tiny", 1e-300}}};
  EXPECT_EQ(CsvText({entry}), "step,\"a,\"\"b\"\"\",big,tiny\r\n3,0.1,12345678901,1e-300\r\n");
}

TEST(ParseMetrics, NamesFileAndLineOfWhatIsBroken) {
  const auto error_of = [](const std::string& text) -> std::string {
    try {
      ParseMetrics(text, "out/metrics.jsonl");
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kBadInput);
      EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos);
      return error.what();
    }
    return "";
  };
  EXPECT_NE(error_of("{\"step\": 1}\n{\"loss\": ").find("out/metrics.jsonl:2"), std::string::npos);
  EXPECT_NE(error_of("{\"loss\": 1}\n").find("out/metrics.jsonl:1: has no \"step\""), std::string::npos);
  for (const char* step : {"-1", "1.5", "\"1\"", "18446744073709551615", "1e300", "null"}) {
    EXPECT_NE(error_of(std::string("{\"step\": ") + step + "}").find("whole number"), std::string::npos) << step;
  }
  std::string many = "{\"step\": 1";
  for (int i = 0; i < 300; ++i) many += ", \"m" + std::to_string(i) + "\": 1";
  EXPECT_NE(error_of(many + "}").find("256"), std::string::npos);
  EXPECT_EQ(error_of("{\"step\": 1, \"note\": \"text\", \"list\": [1], \"loss\": null}\n"), "");
}

}  // namespace attune::run_log_test
