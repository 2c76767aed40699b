// Every file-system call of a whole training, and of its resumption, made to fail in turn: the run ends with
// one line that names a path or goes on where it can, loses no checkpoint, and comes to the same bits once it
// is resumed.
//
// ATTUNE_ALL_FAULTS=1 lets every call fail; else those that differ in what they do, the first and the last of
// each.
#include <gtest/gtest.h>

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <map>
#include <regex>
#include <set>

#include "app/train_job.h"
#include "base/error.h"
#include "base/faulty_env.h"
#include "formats/durable_folder.h"

namespace attune::train_faults_test {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;
using Kind = Fault::Kind;

constexpr int64_t kSteps = 4;

class Events : public TrainEvents {
 public:
  void OnNote(const std::string& line) override { notes += line + "\n"; }
  void OnCheckpoint(const std::string& folder) override { reported = std::stoll(folder.substr(folder.rfind('-') + 1)); }
  void OnStep(const StepMetrics& m) override {
    if (m.step == stop_at) std::raise(SIGINT);
  }
  std::string notes;
  int64_t reported = 0, stop_at = -1;
};

// Without times, speeds and memory.
std::string Metrics(const std::string& path) {
  const std::string text = ReadFile(path);
  std::string kept;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = text.find('\n', begin);
    Json line = Json::parse(text.substr(begin, end - begin));
    for (const char* key : {"time", "tokens_per_second", "peak_rss_bytes", "eval_runtime"}) line.erase(key);
    kept += line.dump() + "\n";
    begin = end + 1;
  }
  return kept;
}

class TrainFaults : public testing::Test {
 protected:
  TrainFaults() : folder_(QuickTempFolder(testing::UnitTest::GetInstance()->current_test_info()->name())) {
    fs::remove_all(folder_);
    fs::create_directories(folder_);
    std::string rows;
    for (int row = 0; row < 8; ++row) rows += Json{{"input_ids", {row, row + 1, 2 * row, 7, 3}}}.dump() + "\n";
    WriteFileAtomic(folder_ + "/rows.jsonl", rows);
    WriteFileAtomic(folder_ + "/held-out.jsonl", "{\"input_ids\": [9, 8, 7]}\n");
    ::setenv("ATTUNE_RUNS", (folder_ + "/runs.sqlite").c_str(), 1);
  }
  ~TrainFaults() override { fs::remove_all(folder_); }

  std::string Path(const std::string& name) const { return folder_ + "/" + name; }

  void StartRun(const std::string& output, Events& events) const {
    Train(LoadConfig("", {{"model", std::string(ATTUNE_TEST_DATA) + "/models/llama"},
                          {"data", Path("rows.jsonl")},
                          {"eval_data", Path("held-out.jsonl")},
                          {"output_dir", output},
                          {"target_modules", "q_proj"},
                          {"lora_dropout", "0.1"},
                          {"max_steps", std::to_string(kSteps)},
                          {"per_device_train_batch_size", "2"},
                          {"logging_steps", "1"},
                          {"eval_strategy", "steps"},
                          {"eval_steps", "2"},
                          {"save_steps", "1"},
                          {"save_total_limit", "2"}}),
          events);
  }

  void GoOn(const std::string& output) const {
    Events events;
    if (FileExists(output + "/run.json")) {
      Resume({output, {}, false}, events);
    } else {
      StartRun(output, events);
    }
  }

  // The newest checkpoint that is whole; each that has the name of one must be.
  static int64_t NewestWhole(const std::string& output) {
    int64_t newest = 0;
    if (!fs::exists(output)) return 0;
    for (const std::string& name : ListDirectory(output)) {
      if (!name.starts_with("checkpoint-") || name.find('.') != std::string::npos) continue;
      EXPECT_EQ(VerifyFolder(output + "/" + name).value_or(""), "") << name;
      newest = std::max<int64_t>(newest, std::stoll(name.substr(11)));
    }
    return newest;
  }

  void ExpectSame(const std::string& straight, const std::string& output, const std::string& what) const {
    const std::string last = "/checkpoint-" + std::to_string(kSteps);
    for (const std::string& file : {std::string("/adapter_model.safetensors"), last + "/optimizer.safetensors"}) {
      ASSERT_TRUE(FileExists(output + file)) << what;
      EXPECT_TRUE(ReadFile(straight + file) == ReadFile(output + file)) << file << " after " << what;
    }
    EXPECT_EQ(Metrics(straight + "/metrics.jsonl"), Metrics(output + "/metrics.jsonl")) << what;
    for (const auto& entry : fs::recursive_directory_iterator(output)) {
      const std::string path = entry.path().string();
      for (const char* ending : {".partial", ".old", ".removing"})
        EXPECT_FALSE(path.ends_with(ending)) << path << " after " << what;
    }
  }

  // Calls that do the same thing to the same file: step numbers do not matter.
  static std::string KindOf(const FaultyEnv::Call& call) {
    return call.what + " " + std::regex_replace(call.path, std::regex("[0-9]+"), "#");
  }

  static std::vector<int> Chosen(const std::vector<FaultyEnv::Call>& calls) {
    std::map<std::string, std::pair<int, int>> ends;
    for (int i = 0; i < static_cast<int>(calls.size()); ++i) {
      ends.try_emplace(KindOf(calls[static_cast<size_t>(i)]), i, i).first->second.second = i;
    }
    std::set<int> chosen;
    const bool all = std::getenv("ATTUNE_ALL_FAULTS") != nullptr;
    for (int i = 0; all && i < static_cast<int>(calls.size()); ++i) chosen.insert(i);
    for (const auto& [kind, range] : ends) chosen.insert({range.first, range.second});
    return {chosen.begin(), chosen.end()};
  }

  // `prepare` puts the folder into its first state, `work` is what meets the faults.
  void Sweep(const std::function<void()>& prepare, const std::function<void(Events&)>& work,
             const std::string& straight) {
    const std::string output = Path("run");
    const auto reset = [&] {
      fs::remove_all(output);
      prepare();
    };
    reset();
    std::vector<FaultyEnv::Call> calls;
    {
      FaultyEnv env;
      Events events;
      work(events);
      calls = env.calls();
    }
    int runs = 0, ended = 0;
    for (const int at : Chosen(calls)) {
      const FaultyEnv::Call& call = calls[static_cast<size_t>(at)];
      const bool needs_room = call.what == "write" || call.what == "create" || call.what == "mkdir";
      std::vector<Fault> faults = {{Kind::kError, at, EIO}};
      if (needs_room) faults.push_back({Kind::kDiskFull, at, 0});
      if (call.what == "write") faults.push_back({Kind::kShortWrite, at, 0});
      for (const Fault& fault : faults) {
        const std::string what =
            fmt::format("call {} ({} {}), fault {}", at, call.what, call.path, static_cast<int>(fault.kind));
        reset();
        Events events;
        ++runs;
        {
          FaultyEnv env(fault);
          try {
            work(events);
          } catch (const Error& error) {
            ++ended;
            const std::string line = error.what();
            EXPECT_NE(line.find('/'), std::string::npos) << "names no path: " << line << ", " << what;
            EXPECT_EQ(line.find('\n'), std::string::npos) << line << ", " << what;
            EXPECT_NE(fault.kind, Kind::kShortWrite) << line << ", " << what;
          } catch (const std::exception& error) {
            ADD_FAILURE() << what << ": not our error: " << error.what();
          }
        }
        FaultyEnv fast;
        EXPECT_GE(NewestWhole(output), events.reported - 1) << what;
        try {
          GoOn(output);
        } catch (const std::exception& error) {
          ADD_FAILURE() << what << "; then resume: " << error.what();
          continue;
        }
        ExpectSame(straight, output, what);
        if (HasFailure() && std::getenv("ATTUNE_ALL_FAULTS") == nullptr) return;
      }
    }
    fmt::print("{} calls; {} runs with a fault, {} of them ended with an error\n", calls.size(), runs, ended);
  }

  std::string folder_;
};

TEST_F(TrainFaults, EveryCallOfATrainingThatFailsLosesNothing) {
  FaultyEnv fast;
  Events events;
  StartRun(Path("straight"), events);
  Sweep([] {}, [&](Events& e) { StartRun(Path("run"), e); }, Path("straight"));
}

TEST_F(TrainFaults, EveryCallOfAResumptionThatFailsLosesNothing) {
  FaultyEnv fast;
  Events events;
  StartRun(Path("straight"), events);
  Events stopped;
  stopped.stop_at = 2;
  EXPECT_THROW(StartRun(Path("stopped"), stopped), Error);
  Sweep([&] { fs::copy(Path("stopped"), Path("run"), fs::copy_options::recursive); },
        [&](Events& e) {
          Resume({Path("run"), {}, false}, e);
        },
        Path("straight"));
}

TEST_F(TrainFaults, AStoreThatCannotBeUsedIsANote) {
  for (const char* path : {"/proc/none/runs.sqlite", "/proc/version"}) {
    fs::remove_all(Path("run"));
    ::setenv("ATTUNE_RUNS", path, 1);
    Events events;
    StartRun(Path("run"), events);
    EXPECT_NE(events.notes.find(fs::path(path).parent_path().string()), std::string::npos) << events.notes;
    EXPECT_NE(events.notes.find("alone"), std::string::npos) << events.notes;
  }
}

}  // namespace attune::train_faults_test
