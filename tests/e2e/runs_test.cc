// attune runs from outside, over trainings of a tiny model.
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>

#include "base/file.h"

namespace attune::runs_test {

using Json = nlohmann::json;
namespace fs = std::filesystem;

const std::string kLlama = std::string(ATTUNE_TEST_DATA) + "/models/llama";

struct Outcome {
  int exit_code;
  std::string out, err;
};

class Runs : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::path(testing::TempDir()).lexically_normal().string() + "runs-" +
              testing::UnitTest::GetInstance()->current_test_info()->name();
    fs::remove_all(folder_);
    fs::create_directories(folder_);
    std::string rows;
    for (int row = 0; row < 12; ++row) rows += Json{{"input_ids", {row, row + 1, row + 2, 7}}}.dump() + "\n";
    WriteFileAtomic(Path("rows.jsonl"), rows);
    ::setenv("ATTUNE_RUNS", Path("runs.sqlite").c_str(), 1);
  }

  std::string Path(const std::string& name) const { return folder_ + "/" + name; }

  Outcome Attune(const std::string& arguments) const {
    const std::string command = std::string(ATTUNE_BINARY_DIR) + "/attune " + arguments + " >" + Path("stdout") +
                                " 2>" + Path("stderr") + " </dev/null";
    const int status = std::system(command.c_str());
    return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, ReadFile(Path("stdout")), ReadFile(Path("stderr"))};
  }

  Json AttuneJson(const std::string& arguments) const {
    const Outcome outcome = Attune(arguments + " --json");
    EXPECT_EQ(outcome.exit_code, 0) << arguments << "\n" << outcome.err;
    return outcome.exit_code == 0 ? Json::parse(outcome.out) : Json();
  }

  Outcome Train(const std::string& name, const std::string& more = "") const {
    return Attune("train --model " + kLlama + " --data " + Path("rows.jsonl") + " --eval_data " + Path("rows.jsonl") +
                  " --output_dir " + Path(name) + " --max_steps 3 --logging_steps 1 --target_modules q_proj " + more);
  }

  void ExpectRefused(const std::string& arguments, const std::vector<std::string>& pieces) const {
    const Outcome outcome = Attune(arguments);
    EXPECT_EQ(outcome.exit_code, 2) << arguments << "\n" << outcome.err;
    EXPECT_EQ(std::count(outcome.err.begin(), outcome.err.end(), '\n'), 1) << outcome.err;
    EXPECT_EQ(outcome.out, "");
    for (const std::string& piece : pieces)
      EXPECT_NE(outcome.err.find(piece), std::string::npos) << piece << "\n" << outcome.err;
  }

  std::string folder_;
};

TEST_F(Runs, AreListedShownComparedAndExported) {
  EXPECT_NE(Attune("runs list").out.find("no runs yet"), std::string::npos);
  ASSERT_EQ(Train("a").exit_code, 0);
  ASSERT_EQ(Train("b", "--learning_rate 1e-2 --r 4").exit_code, 0);
  for (const char* file : {"run.json", "metrics.jsonl", "metrics.csv", "report.html", "tensorboard"}) {
    EXPECT_TRUE(fs::exists(Path("a/") + file)) << file;
  }
  const Json list = AttuneJson("runs list");
  ASSERT_EQ(list["runs"].size(), 2u);
  EXPECT_EQ(list["runs"][0]["output_dir"], Path("b")) << "the newest first";
  EXPECT_EQ(list["runs"][0]["status"], "finished");
  EXPECT_EQ(list["runs"][0]["steps"], 3);
  const std::string id = list["runs"][1]["id"];

  const Json shown = AttuneJson("runs show " + id.substr(0, 6));
  EXPECT_EQ(shown["run"]["output_dir"], Path("a"));
  EXPECT_EQ(shown["summary"]["id"], id);
  EXPECT_EQ(shown["run"]["model"]["sha256"].get<std::string>().size(), 64u);
  EXPECT_GE(shown["metrics"].size(), 5u) << "an evaluation before, three steps, one after";
  EXPECT_EQ(AttuneJson("runs show " + Path("a")), shown) << "by its folder as by its id";
  const Outcome human = Attune("runs show " + id + " --html " + Path("r.html") + " --svg " + Path("l.svg"));
  EXPECT_NE(human.out.find("Loss train"), std::string::npos) << human.out;
  EXPECT_NE(human.out.find("┤"), std::string::npos);
  EXPECT_TRUE(ReadFile(Path("r.html")).starts_with("<!doctype html>"));
  EXPECT_TRUE(ReadFile(Path("l.svg")).starts_with("<svg "));

  const Json compared = AttuneJson("runs compare " + id + " " + Path("b"));
  bool has_rate = false;
  for (const auto& [name, values] : compared["settings"].items()) {
    has_rate = has_rate || (name.ends_with("learning_rate") && values[1] != values[0]);
    EXPECT_EQ(name.find("max_steps"), std::string::npos) << "is the same in both";
  }
  EXPECT_TRUE(has_rate) << compared.dump(1);
  EXPECT_NE(compared["metrics"]["eval_loss"][0], compared["metrics"]["eval_loss"][1]);
  EXPECT_NE(Attune("runs compare " + id + " " + Path("b")).out.find("settings that differ"), std::string::npos);

  for (const char* format : {"csv", "jsonl", "html", "tensorboard"}) {
    const Json exported = AttuneJson("runs export " + id + " --format " + format + " --output " + Path("x-") + format);
    EXPECT_TRUE(FileExists(exported["output"])) << format;
  }
  EXPECT_EQ(ReadFile(Path("x-csv")), ReadFile(Path("a/metrics.csv")));
}

TEST_F(Runs, LiveInTheirFolderAndInTheStoreEachWithoutTheOther) {
  ASSERT_EQ(Train("a").exit_code, 0);
  const Json shown = AttuneJson("runs show " + Path("a"));
  const std::string id = shown["summary"]["id"];
  fs::rename(Path("a"), Path("moved"));
  const Json from_store = AttuneJson("runs show " + id);
  EXPECT_EQ(from_store["summary"], shown["summary"]);
  EXPECT_EQ(from_store["metrics"].size(), shown["metrics"].size());
  fs::remove_all(Path("runs.sqlite"));
  EXPECT_EQ(AttuneJson("runs show " + Path("moved"))["metrics"], shown["metrics"]);
}

TEST_F(Runs, AStoreThatCannotBeWrittenStopsNothing) {
  ::setenv("ATTUNE_RUNS", "/proc/none/runs.sqlite", 1);
  const Outcome train = Train("a");
  EXPECT_EQ(train.exit_code, 0) << train.err;
  EXPECT_TRUE(FileExists(Path("a/report.html")));
  EXPECT_EQ(AttuneJson("runs show " + Path("a"))["summary"]["status"], "finished");
  ExpectRefused("runs list", {"/proc/none"});
}

TEST_F(Runs, OverwritingClearsTheOldRunAndNothingElse) {
  ASSERT_EQ(Train("a", "--save_strategy steps --save_steps 1").exit_code, 0);
  EXPECT_TRUE(DirectoryExists(Path("a/checkpoint-1")));
  WriteFileAtomic(Path("a/notes.txt"), "mine");
  WriteFileAtomic(Path("a/config.json"), "mine too: there are no weights beside it");
  fs::create_directories(Path("a/checkpoint-best"));
  const Outcome again = Train("a", "--overwrite_output_dir true --save_strategy no");
  ASSERT_EQ(again.exit_code, 0) << again.err;
  EXPECT_FALSE(DirectoryExists(Path("a/checkpoint-1")));
  EXPECT_TRUE(DirectoryExists(Path("a/checkpoint-best")));
  EXPECT_EQ(ReadFile(Path("a/notes.txt")), "mine");
  EXPECT_TRUE(FileExists(Path("a/config.json")));
  EXPECT_EQ(std::distance(fs::directory_iterator(Path("a/tensorboard")), fs::directory_iterator()), 1);
  EXPECT_EQ(AttuneJson("runs list")["runs"].size(), 2u) << "the store remembers the old one";
  // The adapter that a run starts from is not cleared away by it.
  const Outcome own = Train("a", "--overwrite_output_dir true --adapter " + Path("a"));
  EXPECT_EQ(own.exit_code, 2) << own.err;
  EXPECT_TRUE(FileExists(Path("a/adapter_model.safetensors")));
}

TEST_F(Runs, SayWhatIsWrong) {
  ExpectRefused("runs show nothing", {"nothing", "store of runs is empty"});
  ASSERT_EQ(Train("a").exit_code, 0);
  const std::string id = AttuneJson("runs list")["runs"][0]["id"];
  ExpectRefused("runs show " + id.substr(0, 7) + "x", {"did you mean " + id});
  fs::create_directories(Path("empty"));
  ExpectRefused("runs show " + Path("empty"), {Path("empty"), "no run.json"});
  ExpectRefused("runs compare " + id, {"two runs"});
  ExpectRefused("runs export " + id + " --format xml --output " + Path("x"), {"xml", "tensorboard"});
  ExpectRefused("runs export " + id + " --format csv --output /no/such/folder/x.csv", {"/no/such/folder/x.csv"});
  ExpectRefused("runs export " + id + " --format csv --output " + Path("empty"), {Path("empty"), "folder"});
  ExpectRefused("runs export " + id + " --format csv --output ''", {"the name of the output is empty"});
  AppendFile(Path("a/metrics.jsonl")).WriteLine("{\"loss\": }");
  ExpectRefused("runs show " + Path("a"), {"a/metrics.jsonl:6"});
  WriteFileAtomic(Path("a/run.json"), "{");
  ExpectRefused("runs show " + Path("a"), {"a/run.json:"});
}

// The rows are looked at, and what a stage of attune data left beside them is kept; the result has the same bits
// without.
TEST_F(Runs, DataIsCheckedAndItsManifestKept) {
  ASSERT_EQ(Attune("data clean " + Path("rows.jsonl") + " --output " + Path("clean")).exit_code, 0);
  const std::string data = " --data " + Path("clean.jsonl");
  const Outcome trained = Train("out", data);
  EXPECT_EQ(trained.exit_code, 0) << trained.err;
  EXPECT_NE(trained.out.find("data: nothing is wrong with 12 rows"), std::string::npos) << trained.out;
  EXPECT_NE(Attune("runs show " + Path("out")).out.find("clean.manifest.json (stage clean, xxh3 "), std::string::npos);
  const Json record = AttuneJson("runs show " + Path("out"))["run"]["data"];
  EXPECT_EQ(record["check"]["rows"], 12);
  EXPECT_EQ(record["manifests"][0]["matches"], true);

  WriteFileAtomic(Path("clean.manifest.json"), "{}");
  EXPECT_EQ(Train("unchecked", data + " --check false").exit_code, 0);
  EXPECT_FALSE(AttuneJson("runs show " + Path("unchecked"))["run"]["data"].contains("check"));
  EXPECT_EQ(ReadFile(Path("out/adapter_model.safetensors")), ReadFile(Path("unchecked/adapter_model.safetensors")));
}

}  // namespace attune::runs_test
