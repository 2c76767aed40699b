#include "curate/clean.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <map>
#include <sstream>

#include "base/error.h"
#include "base/file.h"
#include "base/hash.h"
#include "curate/text_mending.h"

namespace attune::clean_test {

class Clean : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = testing::TempDir() + "/clean-" + testing::UnitTest::GetInstance()->current_test_info()->name();
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_);
  }
  std::string Path(const std::string& name) const { return folder_ + "/" + name; }
  // The rows that come of these, under `name`.
  std::string Cleaned(const std::string& rows, const std::string& rule = "", const std::string& name = "out") {
    WriteFileAtomic(Path("in.jsonl"), rows);
    CleanSettings settings{.stage = {.input = {Path("in.jsonl")}, .output = Path(name)}};
    if (!rule.empty()) SetAction(rule, &settings.actions);
    manifest_ = CleanData(settings);
    EXPECT_EQ(ReadFile(Path("in.jsonl")), rows) << "the input is only read";
    return ReadFile(Path(name + ".jsonl"));
  }
  std::string Removed(const std::string& name = "out") const { return ReadFile(Path(name + ".removed.jsonl")); }
  std::string folder_;
  nlohmann::ordered_json manifest_;
};

std::string Chat(const std::string& prompt, const std::string& answer) {
  return R"({"id": 1.50, "messages": [{"role": "user", "content": ")" + prompt +
         R"("}, {"role": "assistant", "content": ")" + answer + "\"}]}\n";
}

TEST_F(Clean, LeavesGoodRowsAsTheyAre) {
  const std::string rows = Chat("a", "b") + R"({"text":"x"   ,"n":1e5})" + "\n";
  EXPECT_EQ(Cleaned(rows), rows);
  EXPECT_EQ(Removed(), "");
  EXPECT_EQ(manifest_["rows_in"], 2);
  EXPECT_EQ(manifest_["rows_out"], 2);
  EXPECT_EQ(manifest_["inputs"][0]["xxh3_128"], Xxh3OfFile(Path("in.jsonl")));
  EXPECT_EQ(manifest_["outputs"][1]["path"], Path("out.jsonl"));
  EXPECT_EQ(manifest_["outputs"][1]["xxh3_128"], Xxh3OfFile(Path("out.jsonl")));
  EXPECT_EQ(nlohmann::ordered_json::parse(ReadFile(Path("out.manifest.json"))), manifest_);
}

TEST_F(Clean, MendsAndRedacts) {
  EXPECT_EQ(
      Cleaned(Chat("cafÃ©\\u0000?", "  It\\u200bs\\r\\n\\r\\n\\r\\n\\r\\nme: a@b.com.  ")),
      R"({"id": 1.5, "messages": [{"role": "user", "content": "café?"}, {"role": "assistant", "content": "Its\n\nme: [EMAIL]."}]})"
      "\n");
  EXPECT_EQ(manifest_["changed"],
            nlohmann::ordered_json::parse(
                R"({"control-character": 1, "email": 1, "mojibake": 1, "odd-unicode": 1, "white-space": 1})"));
  EXPECT_EQ(manifest_["examples"][0]["after"], "café?");
  Cleaned(Chat("q", std::string(300, 'x') + " cafÃ©!"), "", "far");
  EXPECT_EQ(manifest_["examples"][0]["before"], "…" + std::string(35, 'x') + " cafÃ©!") << "where it was mended";
  EXPECT_EQ(manifest_["examples"][0]["after"], "…" + std::string(35, 'x') + " café!");
}

TEST_F(Clean, IsDoneAfterOnce) {
  const std::string once =
      Cleaned(Chat("one<br>two", "e\\u0301 &amp; DE89370400440532013000 +49 30 1234567") + Chat("x", "ÃƒÂ©"));
  EXPECT_EQ(Cleaned(once, "", "again"), once);
}

TEST_F(Clean, KeepsWhatItRemoves) {
  const std::string rows =
      Chat("a", "") + "broken\n" + "{\"text\": \"\xFF\"}\n" + Chat("b", "b") + Chat("c", "\\u0000");
  EXPECT_EQ(Cleaned(rows), "");
  std::vector<std::string> found;
  std::map<int, nlohmann::ordered_json> rows_by_line;
  std::istringstream lines(Removed());
  for (std::string line; std::getline(lines, line);) {
    const auto row = nlohmann::ordered_json::parse(line);
    found.push_back(row["rule"].get<std::string>() + ":" + std::to_string(row["line"].get<int>()));
    EXPECT_EQ(row["file"], Path("in.jsonl"));
    rows_by_line[row["line"].get<int>()] = row;
  }
  EXPECT_EQ(rows_by_line[1]["row"]["messages"][0]["content"], "a");
  EXPECT_EQ(rows_by_line[2]["raw"], "broken");
  EXPECT_EQ(rows_by_line[3]["raw_base64"], "eyJ0ZXh0IjogIv8ifQ==");
  EXPECT_EQ(found, (std::vector<std::string>{"empty-answer:1", "broken-row:2", "invalid-utf8:3", "answer-is-prompt:4",
                                             "empty-answer:5"}));
  EXPECT_EQ(manifest_["removed"]["empty-answer"], 2);
}

TEST_F(Clean, RulesCanBeSet) {
  EXPECT_EQ(Cleaned(Chat("a", "me: a@b.com"), "email=drop"), "");
  EXPECT_EQ(Cleaned(Chat("a", "me: a@b.com"), "email=keep", "kept"), Chat("a", "me: a@b.com"));
  EXPECT_EQ(Cleaned(Chat("a", "x\\n```\\ny"), "unbalanced-fence=mend", "fence").find("x\\n```\\ny\\n```") !=
                std::string::npos,
            true);
  EXPECT_NE(Cleaned(Chat("a", "````\\n```\\ny"), "unbalanced-fence=mend", "long").find("y\\n````\""),
            std::string::npos);
  EXPECT_EQ(Cleaned("{\"text\": \"a\xFF\"}\n", "invalid-utf8=mend", "utf8"), "{\"text\": \"a\uFFFD\"}\n");
  RuleActions actions;
  const auto error = [&](const char* setting) -> std::string {
    try {
      SetAction(setting, &actions);
    } catch (const Error& e) {
      return e.what();
    }
    return "";
  };
  EXPECT_NE(error("emial=keep").find("did you mean \"email\"?"), std::string::npos);
  EXPECT_NE(error("email=mend").find("email can be set to keep, redact, drop"), std::string::npos);
  EXPECT_NE(error("conflict=drop").find("only check knows"), std::string::npos);
}

TEST_F(Clean, WritesNothingWhenItFails) {
  WriteFileAtomic(Path("in.jsonl"), "broken\n");
  CleanSettings settings{.stage = {.input = {Path("in.jsonl")}, .strict = true, .output = Path("new/out.jsonl")}};
  EXPECT_THROW(CleanData(settings), Error);
  EXPECT_TRUE(ListDirectory(Path("new")).empty());
  settings.stage.strict = false;
  settings.stage.output = Path("in");
  EXPECT_THROW(CleanData(settings), Error) << "an input is never written over";
  EXPECT_EQ(ReadFile(Path("in.jsonl")), "broken\n");
  WriteFileAtomic(Path("left.removed.jsonl"), "of another run");
  settings.stage.output = Path("left");
  EXPECT_THROW(CleanData(settings), Error);
  EXPECT_EQ(ReadFile(Path("left.removed.jsonl")), "of another run");
}

TEST_F(Clean, ThreadsDoNotMatter) {
  std::string rows;
  for (int i = 0; i < 30'000; ++i)
    rows += Chat("p" + std::to_string(i), i % 7 == 0    ? ""
                                          : i % 11 == 0 ? "a@b.com"
                                                        : "fine " + std::string(i % 90, 'x'));
  WriteFileAtomic(Path("in.jsonl"), rows);
  CleanSettings settings{.stage = {.input = {Path("in.jsonl")}, .output = Path("one")}};
  CleanData(settings);
  settings.stage.output = Path("three");
  settings.stage.threads = 3;
  CleanData(settings);
  for (const char* end : {".jsonl", ".removed.jsonl"})
    EXPECT_EQ(ReadFile(Path("one") + end), ReadFile(Path("three") + end));
}

TEST(TextMending, WhiteSpace) {
  EXPECT_EQ(TidyWhiteSpace(" a  \n\n\n\n b\t\n", true, true), "a\n\n b");
  EXPECT_EQ(TidyWhiteSpace(" a ", false, true), " a");
  EXPECT_EQ(TidyWhiteSpace("a\r\nb\rc", true, true), "a\nb\nc");
  EXPECT_EQ(TidyWhiteSpace("```\nx  \n\n\n\ny\n```\nz", true, true), "```\nx  \n\n\n\ny\n```\nz") << "code stays";
  EXPECT_EQ(TidyWhiteSpace(" \n ", true, true), "");
  for (const char* text : {"", "a", " a", "a\n", "a \nb", "a\n\n\nb", "a\n\nb", "a\rb", "\n", "```\na \n```"}) {
    for (const bool trim : {false, true})
      EXPECT_TRUE(!IsTidy(text, trim, trim) || TidyWhiteSpace(text, trim, trim) == text) << text;
  }
  EXPECT_TRUE(IsTidy("a\n\nb  c", true, true));
}

TEST(TextMending, CodeAndMarkdownStay) {
  for (const char* text :
       {"    return x + 1\n\ndef g():\n\tpass", "\tif (x) {\n\t\ty();\n\t}", "one  \ntwo", "~~~\na   \n\n\n\nb\n~~~",
        "````md\n```py\nx = 1   \n\n\n\ny\n```\nz  \n\n\n\n````\nend", "   ```\n   x\n\n\n   y\n   ```"})
    EXPECT_EQ(TidyWhiteSpace(text, true, true), text[0] == ' ' && text[3] == '`' ? text + 3 : text);
  EXPECT_EQ(TidyWhiteSpace("\n \n    code", true, true), "    code");
  EXPECT_EQ(TidyWhiteSpace("one  \n\ntwo   \nthree", true, true), "one\n\ntwo\nthree") << "no line break is meant";
  EXPECT_EQ(TidyWhiteSpace("```inline``` \n\n\n\nb ", true, true), "```inline```\n\nb");
}

TEST(TextMending, Edits) {
  const std::vector<TextEdit> edits = {{1, 2, "xx"}, {1, 3, "no"}, {4, 4, "!"}};
  EXPECT_EQ(Edited("abcdef", edits), "axxcd!ef");
  EXPECT_EQ(PlainTextOf("<BR />") + PlainTextOf("<span class=x>") + PlainTextOf("&amp;"), "\n&");
}

}  // namespace attune::clean_test
