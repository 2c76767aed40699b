// attune data with a model from outside: rows chosen by scores that are kept, duplicates by meaning, and the
// report's odd rows.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "program.h"

namespace attune::data_model_test {

using Json = nlohmann::ordered_json;

class DataModel : public ProgramTest {
 protected:
  void SetUp() override {
    ProgramTest::SetUp();
    ASSERT_EQ(Attune({"synth", "--shape", "tiny", "--output", "m"}).exit_code, 0);
    std::string rows;
    for (int i = 0; i < 30; ++i)
      rows += Row("question " + std::to_string(i), " answer " + std::to_string(i * i * 7919));
    WriteFileAtomic(Path("rows.jsonl"),
                    rows + "broken\n" + Row("question 3", " answer 71271") + "{\"text\": \"a document\"}\n");
  }
  static std::string Row(const std::string& prompt, const std::string& completion) {
    return Json{{"prompt", prompt}, {"completion", completion}}.dump() + "\n";
  }
  Json JsonOf(std::vector<std::string> arguments) {
    arguments.emplace_back("--json");
    const Outcome outcome = Attune(arguments);
    EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
    return outcome.exit_code == 0 ? Json::parse(outcome.out) : Json();
  }
};

TEST_F(DataModel, SelectByScoresThatAreKept) {
  const auto select = [&](const std::string& by, const std::string& output, std::vector<std::string> more) {
    std::vector<std::string> arguments = {"data", "select",  "rows.jsonl", "--rows",   "5",   "--by",
                                          by,     "--model", "m",          "--output", output};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return JsonOf(arguments);
  };
  const Json lowest = select("loss", "lowest", {"--loss_band", "lowest", "--scores", "scores.jsonl"});
  EXPECT_LT(lowest["selected"]["mean_loss"], lowest["control"]["mean_loss"]);
  EXPECT_EQ(lowest["settings"]["loss_band"], "lowest");
  EXPECT_EQ(lowest["settings"]["model"]["model"], "m");
  EXPECT_EQ(lowest["removed"]["broken-row"], 1);
  const std::string scores = ReadFile(Path("scores.jsonl"));
  EXPECT_EQ(std::count(scores.begin(), scores.end(), '\n'), 1 + 31) << "a header, and each text once";
  const Json highest = select("loss", "highest", {"--loss_band", "highest", "--scores", "scores.jsonl"});
  EXPECT_GT(highest["selected"]["mean_loss"], lowest["control"]["mean_loss"]);
  EXPECT_EQ(ReadFile(Path("scores.jsonl")), scores);
  const Json ifd = select("ifd", "ifd", {"--scores", "scores.jsonl"});
  EXPECT_LT(ifd["selected"]["mean_ifd"], 1);
  EXPECT_LT(ifd["eligible"], 32);
  const Json mix = select("longest=0.2,diverse=0.8", "mix", {"--diversity", "facility-location"});
  EXPECT_EQ(mix["vectors"], "hidden states");
  EXPECT_EQ(mix["rows_out"], 5);
}

TEST_F(DataModel, DuplicatesByMeaning) {
  // With random weights meanings are noise: from 0.5 on some of them are alike.
  const Json none = JsonOf({"data", "dedupe", "rows.jsonl", "--by", "answer", "--near", "false", "--output", "a"});
  const Json some = JsonOf({"data", "dedupe", "rows.jsonl", "--by", "answer", "--near", "false", "--semantic",
                            "--model", "m", "--semantic_threshold", "0.5", "--output", "b"});
  EXPECT_EQ(none["removed"].contains("semantic-duplicate"), false);
  EXPECT_GT(some["removed"]["semantic-duplicate"], 0);
  EXPECT_FALSE(some["removed"].contains("near-duplicate")) << some["removed"];
  EXPECT_EQ(some["settings"]["semantic_threshold"], 0.5);
  const std::string removed = ReadFile(Path("b.removed.jsonl"));
  EXPECT_NE(removed.find("in other words the same as rows.jsonl:"), std::string::npos) << removed;
  const Json split = JsonOf({"data", "split", "rows.jsonl", "--by", "answer", "--semantic", "--model", "m",
                             "--semantic_threshold", "0.5", "--eval_rows", "8", "--output", "s"});
  EXPECT_LT(split["clusters"], 32);
}

TEST_F(DataModel, ReportShowsOddRows) {
  const Json report = JsonOf(
      {"data", "report", "--data", "rows.jsonl", "--model", "m", "--scores", "scores.jsonl", "--output", "r.html"});
  EXPECT_EQ(report["scores"]["rows"], 32);
  EXPECT_EQ(report["scores"]["refused"], 1);
  EXPECT_EQ(report["scores"]["worst"][1]["rows"].size(), 5u);
  EXPECT_GT(report["scores"]["worst"][1]["rows"][0]["loss"], report["scores"]["worst"][2]["rows"][0]["loss"]);
  EXPECT_GT(report["diversity"]["vendi"], 1);
  const std::string html = ReadFile(Path("r.html"));
  EXPECT_NE(html.find("What the model makes of the rows"), std::string::npos);
  EXPECT_NE(html.find(report["scores"]["worst"][1]["rows"][0]["where"].get<std::string>()), std::string::npos);
}

TEST_F(DataModel, WhatIsWrongIsOneLine) {
  const std::vector<std::string> select = {"data", "select", "rows.jsonl", "--rows", "5", "--output", "o"};
  const auto refused = [&](std::vector<std::string> command, const std::vector<std::string>& more,
                           const std::string& piece) {
    command.insert(command.end(), more.begin(), more.end());
    ExpectRefused(command, piece);
  };
  refused(select, {"--by", "ifd"}, "ifd and loss need a model");
  refused(select, {"--by", "mix"}, "--by ifd=0.5,diverse=0.5");
  refused(select, {"--by", "ifd=half", "--model", "m"}, "a weight is a number above 0");
  refused(select, {"--by", "longest", "--model", "m"}, "--model m: is for --by ifd, loss or diverse");
  refused(select, {"--by", "diverse", "--model", "m", "--scores", "s.jsonl"},
          "--scores s.jsonl: is for --by ifd or loss");
  refused(select, {"--by", "ifd", "--model", "none"}, "none");
  refused(select, {"--by", "ifd", "--model", "m", "--scores", "rows.jsonl"}, "rows.jsonl: is no file of scores");
  refused(select, {"--by", "ifd", "--model", "m", "--strict"}, "rows.jsonl:31");
  refused({"data", "dedupe", "rows.jsonl", "--output", "o"}, {"--semantic"}, "--semantic: needs a model");
  refused({"data", "dedupe", "rows.jsonl", "--output", "o"}, {"--model", "m"}, "is for --semantic");
  refused({"data", "report", "--data", "rows.jsonl", "--output", "o.html"}, {"--scores", "s.jsonl"}, "--model M");
  WriteFileAtomic(Path("o.manifest.json"), "{}");
  refused(select, {"--by", "ifd", "--model", "m", "--scores", "new.jsonl"}, "o.manifest.json: exists already");
  EXPECT_FALSE(FileExists(Path("new.jsonl"))) << "nothing is scored for a result that cannot be written";
}

}  // namespace attune::data_model_test
