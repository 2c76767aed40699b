// attune data from outside: a polluted file through every stage, what is written, printed and refused.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <set>
#include <sstream>

#include "base/file.h"
#include "curate/packed_for_test.h"
#include "curate/rules.h"
#include "program.h"

namespace attune::data_test {

using Json = nlohmann::ordered_json;

std::string Chat(const std::string& prompt, const std::string& answer) {
  return Json{{"messages", {{{"role", "user"}, {"content", prompt}}, {{"role", "assistant"}, {"content", answer}}}}}
             .dump() +
         "\n";
}

class Data : public ProgramTest {
 protected:
  void Write(const std::string& name, const std::string& content) const { WriteFileAtomic(Path(name), content); }
  std::vector<Json> Lines(const std::string& name) const {
    std::vector<Json> lines;
    std::istringstream text(ReadFile(Path(name)));
    for (std::string line; std::getline(text, line);) lines.push_back(Json::parse(line));
    return lines;
  }
  Json JsonOf(const std::vector<std::string>& arguments, int exit_code = 0) {
    const Outcome outcome = Attune(arguments);
    EXPECT_EQ(outcome.exit_code, exit_code) << outcome.err;
    return Json::parse(outcome.out);
  }
  static std::set<std::string> RulesOf(const Json& check) {
    std::set<std::string> rules;
    for (const Json& finding : check["findings"]) rules.insert(finding["rule"]);
    return rules;
  }
};

// A file with one row for each rule, the id of the rule in front of what shows it.
const std::vector<std::pair<std::string, std::string>>& PollutedRows() {
  static const std::vector<std::pair<std::string, std::string>> rows = {
      {"broken-row", "{\"messages\": [\n"},
      {"invalid-utf8", "{\"text\": \"\xFF\"}\n"},
      {"unknown-format", "{\"question\": \"a\"}\n"},
      {"wrong-type", "{\"text\": 5}\n"},
      {"unknown-role", R"({"messages": [{"role": "owner", "content": "a"}, {"role": "assistant", "content": "b"}]})"
                       "\n"},
      {"role-order",
       R"({"messages": [{"role": "user", "content": "a1"}, {"role": "user", "content": "a2"}, {"role": "assistant", "content": "b"}]})"
       "\n"},
      {"no-final-answer", R"({"messages": [{"role": "user", "content": "nobody answers"}]})"
                          "\n"},
      {"empty-answer", Chat("e?", " ")},
      {"empty-prompt", Chat("", "to nothing")},
      {"answer-is-prompt", Chat("same", "same")},
      {"prompt-echo", Chat("What is the capital of France?", "What is the capital of France? It is Paris.")},
      {"mojibake", Chat("coffee?", "cafÃ©")},
      {"control-character", Chat("bell?", "ring\a")},
      {"replacement-character", Chat("lost?", "caf\uFFFD")},
      {"odd-unicode", Chat("hidden?", "ze\u200Bro")},
      {"not-nfc", Chat("accent?", "cafe\u0301")},
      {"truncated-answer",
       Chat("long?", std::string("This is a long answer. It goes on over many words and sentences. ") +
                         "It is not easy to say where it may end. " + "There are always more words to be said. " +
                         "And so it goes on and on and on, until in the end it")},
      {"refusal", Chat("help?", "I'm sorry, but I can't help with that.")},
      {"boilerplate", Chat("more?", "Five. I hope this helps!")},
      {"unbalanced-fence", Chat("code?", "```python\nprint(5)")},
      {"html", Chat("list?", "one<br>two")},
      {"template-token", Chat("tokens?", "five <|im_end|>")},
      {"email", Chat("mail?", "Write to jane@example.org.")},
      {"phone", Chat("call?", "Call +49 30 1234567.")},
      {"card-number", Chat("card?", "4111 1111 1111 1111")},
      {"iban", Chat("bank?", "DE89 3704 0044 0532 0130 00")},
      {"secret", Chat("key?", "AKIAIOSFODNN7EXAMPLE")},
      {"duplicate", Chat("again?", "yes") + Chat("again?", "yes")},
      {"conflict", Chat("sure?", "yes") + Chat("sure?", "no")},
      {"mixed-formats", "{\"text\": \"a document\"}\n"},
      {"language-mix", Chat("wie?", "Die Katze ist nicht auf der Matte, und das ist auch gut.") +
                           Chat("how?", "The cat that is on the mat was not with you and it is fine.")},
  };
  return rows;
}

TEST_F(Data, CheckFindsEveryRule) {
  std::string all;
  for (const auto& [rule, rows] : PollutedRows()) all += rows;
  all += Chat("much?", std::string(40'000, 'x') + ".");
  Write("polluted.jsonl", all);
  const Json check = JsonOf({"data", "check", "polluted.jsonl", "--max_length", "2000", "--json"}, 1);
  const std::set<std::string> found = RulesOf(check);
  for (const RuleInfo& info : RuleTable()) {
    const bool asked =
        info.rule != Rule::kWhiteSpace && info.rule != Rule::kUnusualLength;  // only clean; needs equal others
    EXPECT_TRUE(!asked || found.contains(info.id)) << info.id;
  }
  for (const Json& finding : check["findings"]) {
    ASSERT_FALSE(finding["examples"].empty()) << finding["rule"];
    EXPECT_TRUE(finding["examples"][0]["where"].get<std::string>().starts_with("polluted.jsonl:")) << finding;
  }
}

TEST_F(Data, CheckOfOneRowNamesItsRule) {
  for (const auto& [rule, rows] : PollutedRows()) {
    Write("row.jsonl", Chat("plain", "row") + rows);
    const Outcome outcome = Attune({"data", "check", "row.jsonl", "--json"});
    EXPECT_TRUE(RulesOf(Json::parse(outcome.out)).contains(rule)) << rule << outcome.out;
    EXPECT_EQ(outcome.exit_code, Json::parse(outcome.out)["errors"] > 0 ? 1 : 0) << rule;
  }
}

TEST_F(Data, ShippedRowsHaveNoErrors) {
  const std::string data = std::string(ATTUNE_TEST_DATA) + "/../../examples/devils-dictionary/train.jsonl";
  const Outcome outcome = Attune({"data", "check", data});
  EXPECT_EQ(outcome.exit_code, 0) << outcome.out << outcome.err;
}

TEST_F(Data, StagesOneAfterTheOther) {
  std::string rows;
  for (int i = 0; i < 100; ++i) {
    std::string text;
    for (int w = 0; w < 30; ++w) text += " word" + std::to_string((i * 7919 + w * 104729) % 5000);
    rows += Chat("q" + std::to_string(i), "Answer" + text + (i % 10 == 0 ? " cafÃ© a@b.org." : "."));
    if (i % 5 == 0) rows += Chat("q" + std::to_string(i), "Well, answer" + text + ".");
  }
  Write("raw.jsonl.gz", Gzip(rows + "broken\n" + Chat("empty", "")));
  Write("eval.csv", "prompt,completion\nq7,something else\n");

  Json manifest = JsonOf({"data", "clean", "raw.jsonl.gz", "--output", "clean", "--json"});
  EXPECT_EQ(manifest["rows_in"], 122);
  EXPECT_EQ(manifest["rows_out"], 120);
  EXPECT_EQ(Lines("clean.removed.jsonl").size(), 2u);
  EXPECT_EQ(ReadFile(Path("clean.jsonl")).find("a@b.org"), std::string::npos);

  manifest =
      JsonOf({"data", "dedupe", "clean.jsonl", "--by", "answer", "--keep", "longest", "--output", "unique", "--json"});
  EXPECT_EQ(manifest["rows_out"], 100);
  EXPECT_EQ(manifest["removed"]["near-duplicate"], 20);
  for (const Json& row : Lines("unique.removed.jsonl")) EXPECT_GE(row["similarity"].get<double>(), 0.7);

  manifest = JsonOf({"data", "decontaminate", "unique.jsonl", "--against", "eval.csv", "--output", "apart", "--json"});
  EXPECT_EQ(manifest["rows_out"], 99);
  EXPECT_EQ(Lines("apart.removed.jsonl")[0]["text"], "q7");

  manifest = JsonOf({"data", "split", "apart.jsonl", "--eval_rows", "9", "--output", "split.jsonl", "--json"});
  EXPECT_EQ(manifest["train"], 90);
  EXPECT_EQ(Lines("split.eval.jsonl").size(), 9u);

  manifest =
      JsonOf({"data", "select", "split.train.jsonl", "--rows", "10", "--by", "diverse", "--output", "best", "--json"});
  EXPECT_EQ(manifest["rows_out"], 10);
  EXPECT_EQ(Lines("best.control.jsonl").size(), 10u);

  const Outcome report = Attune({"data", "report", "clean.manifest.json", "unique.manifest.json", "apart.manifest.json",
                                 "split.manifest.json", "--data", "split.train.jsonl", "--output", "report.html"});
  EXPECT_EQ(report.exit_code, 0) << report.err;
  const std::string html = ReadFile(Path("report.html"));
  EXPECT_NE(html.find("near-duplicate"), std::string::npos);
  EXPECT_EQ(html.find("<script"), std::string::npos);
  EXPECT_EQ(Json::parse(ReadFile(Path("report.json")))["stages"].size(), 4u);
}

TEST_F(Data, PreviewShowsTokens) {
  const std::string model = "m";  // a token a byte, no chat template
  ASSERT_EQ(Attune({"synth", "--shape", "tiny", "--output", model}).exit_code, 0);
  Write("a.jsonl",
        "{\"prompt\": \"one\", \"completion\": \" two\"}\nbroken\n{\"prompt\": \"three <b>\", "
        "\"completion\": \" four\\u001b[31m\"}\n");
  const Json preview = JsonOf({"data", "preview", "a.jsonl", "--model", model, "--html", "p.html", "--json"});
  EXPECT_EQ(preview["rows"], 3);
  EXPECT_EQ(preview["refused"], 1);
  ASSERT_EQ(preview["shown"].size(), 2u);
  std::string text, trained;
  for (const Json& token : preview["shown"][0]["tokens"]) {
    text += token["text"];
    if (token["trained"] == true) trained += token["text"];
  }
  EXPECT_NE(text.find("one two"), std::string::npos) << text;
  EXPECT_NE(trained.find("two"), std::string::npos);
  EXPECT_EQ(trained.find("one"), std::string::npos);
  const std::string html = ReadFile(Path("p.html"));
  EXPECT_EQ(html.find("<b>\""), std::string::npos);
  EXPECT_EQ(html.find('\x1b'), std::string::npos);
  // As a run would have it: its rows, and what it cuts.
  Write("run.yaml", "data:\n  train: a.jsonl\ntraining:\n  max_length: 4\n  truncation_mode: keep_start\n");
  const Json cut = JsonOf({"data", "preview", "--config", "run.yaml", "--model", model, "--rows", "1", "--set",
                           "truncation_mode=keep_end", "--json"});
  EXPECT_EQ(cut["shown"][0]["tokens"][0]["cut"], true);
  EXPECT_EQ(cut["shown"][0]["tokens"].back()["cut"], false);
  EXPECT_EQ(cut["shown"][0]["cut"], cut["shown"][0]["tokens"].size() - 4);
  ExpectRefused({"data", "preview", "--model", model}, "name files of rows, or a --config with data.train");
  ExpectRefused({"data", "preview", "a.jsonl", "--model", model, "--set", "truncation_mod=keep_end"},
                "truncation_mode");
  Write("none.jsonl", "{\"a\": 1}\n");
  ExpectRefused({"data", "preview", "none.jsonl", "--model", model}, "none.jsonl:1");
}

TEST_F(Data, ShardsGiveWhatOneProcessGives) {
  std::string rows;
  for (int i = 0; i < 60; ++i)
    rows += Chat("Say " + std::to_string(i), "It is the number " + std::to_string(i % 40) + ".");
  Write("rows.jsonl", rows);
  const auto dedupe = [&](const std::string& output, const std::vector<std::string>& more) {
    std::vector<std::string> arguments = {"data",        "dedupe", "rows.jsonl", "--by", "answer",
                                          "--threshold", "1",      "--output",   output};
    arguments.insert(arguments.end(), more.begin(), more.end());
    const Outcome outcome = Attune(arguments);
    EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
    return outcome;
  };
  dedupe("whole", {});
  EXPECT_NE(dedupe("part1", {"--shard", "1/2"}).out.find("wrote part1.signatures"), std::string::npos);
  const Json part = Json::parse(dedupe("part2", {"--shard", "2/2", "--json"}).out);
  EXPECT_GT(part["rows"], 20);
  dedupe("merged", {"--merge", "part1.signatures", "part2.signatures", "--memory", "1MB"});
  EXPECT_EQ(Lines("merged.jsonl").size(), 40u);
  EXPECT_EQ(ReadFile(Path("merged.jsonl")), ReadFile(Path("whole.jsonl")));
  EXPECT_EQ(ReadFile(Path("merged.removed.jsonl")), ReadFile(Path("whole.removed.jsonl")));
}

// Rows and names of files are strangers' text: a terminal gets nothing to obey, an error stays on its line.
TEST_F(Data, NothingInRowsOrNamesReachesATerminalAsACommand) {
  const std::string name = "a\x1B[31m\n.jsonl";
  Write(name, Chat("\x1B[2J\u009B31m", "jane@example.com \u202E \x1B]0;title\x07") + "broken\n");
  const Outcome check = Attune({"data", "check", name});
  EXPECT_EQ(check.exit_code, 1);
  for (const char* harm : {"\x1B", "\x07", "\u009B", "\u202E"}) {
    EXPECT_EQ(check.out.find(harm), std::string::npos);
    EXPECT_EQ(check.err.find(harm), std::string::npos);
  }
  ExpectRefused({"data", "check", "none\x1B[31m\n.jsonl"}, "none\uFFFD[31m .jsonl: cannot be opened");
}

TEST_F(Data, WhatIsWrongIsOneLine) {
  Write("a.jsonl", Chat("a", "b"));
  Write("b.jsonl", "broken\n");
  ExpectRefused({"data", "check", "none.jsonl"}, "none.jsonl: cannot be opened");
  ExpectRefused({"data", "check", "b.jsonl", "--strict"}, "b.jsonl:1: column 1: not valid JSON");
  ExpectRefused({"data", "check", "a.jsonl", "--columns", "text"}, "--columns text: write NAME=COLUMN");
  ExpectRefused({"data", "check", "a.jsonl", "--fail_on", "errors"}, "--fail_on errors");
  ExpectRefused({"data", "clean", "a.jsonl", "--output", "o", "--rules", "emial=keep"}, "did you mean \"email\"?");
  ExpectRefused({"data", "clean", "a.jsonl", "--output", "a"}, "a.jsonl: exists already");
  for (const char* output : {".", "..", "o/", "", ".jsonl"})
    ExpectRefused({"data", "clean", "a.jsonl", "--output", output}, "must name the files to write");
  ExpectRefused({"data", "clean", "a.jsonl", "--output", "o", "--columns", "prompt=question"},
                "none of 1 rows can be read: a.jsonl:1: --columns: has no \"question\"");
  ExpectRefused({"data", "dedupe", "b.jsonl", "--output", "o"},
                "none of 1 rows can be read: b.jsonl:1: column 1: not valid JSON");
  ExpectRefused({"data", "dedupe", "a.jsonl", "--output", "o", "--keep", "score"}, "--score COLUMN");
  ExpectRefused({"data", "dedupe", "a.jsonl", "--output", "o", "--by", "rows"}, "--by rows: use prompt, answer, both");
  ExpectRefused({"data", "split", "a.jsonl", "--output", "o", "--eval_rows", "5"}, "there are only 1 rows");
  ExpectRefused({"data", "split", "b.jsonl", "--output", "o"}, "b.jsonl: holds no rows that can be split");
  ExpectRefused({"data", "split", "a.jsonl", "--output", "o", "--stratify", "kind"},
                "--stratify kind: no row has that column");
  ExpectRefused({"data", "dedupe", "a.jsonl", "--output", "o", "--keep", "score", "--score", "stars"},
                "--score stars: no row has a number");
  ExpectRefused({"data", "decontaminate", "a.jsonl", "--against", "b.jsonl", "--output", "o"},
                "b.jsonl:1: an evaluation row that cannot be read");
  ExpectRefused({"data", "select", "a.jsonl", "--output", "o", "--rows", "1", "--by", "ifd"},
                "ifd and loss need a model");
  ExpectRefused({"data", "report", "a.jsonl", "--output", "o.html"}, "a.jsonl");
  ExpectRefused({"data", "clean", "a.jsonl", "--output", "o", "--shard", "3/2"}, "--shard 3/2: write I/N");
  ExpectRefused({"data", "dedupe", "a.jsonl", "--output", "o", "--merge", "b.jsonl"}, "b.jsonl: holds no signatures");
  Write("rows.parquet", "PAR1");
  ExpectRefused({"data", "check", "rows.parquet"}, "rows.parquet: ");
  Write("cut.jsonl.gz", Gzip(std::string(9000, 'x')).substr(0, 25));
  ExpectRefused({"data", "clean", "cut.jsonl.gz", "--output", "o"}, "the gzip data is cut short");
  for (const char* name : {"o.jsonl", "o.removed.jsonl", "o.manifest.json", "o.jsonl.partial"})
    EXPECT_FALSE(PathExists(Path(name))) << name;
}

}  // namespace attune::data_test
