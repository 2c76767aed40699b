// The documents against the program: every setting is in docs/training.md, and what documents name is there.
// A document that nobody holds to the code goes wrong in silence.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <regex>
#include <string>
#include <vector>

#include "app/config.h"
#include "app/foreign_keys.h"
#include "base/file.h"
#include "curate/rules.h"

namespace attune::docs_test {

namespace fs = std::filesystem;

fs::path Root() { return fs::path(ATTUNE_TEST_DATA).parent_path().parent_path(); }

std::string Read(const fs::path& path) { return ReadFile(path.string()); }

// README.md and docs/*.md.
std::vector<fs::path> Documents() {
  std::vector<fs::path> found = {Root() / "README.md"};
  for (const auto& entry : fs::directory_iterator(Root() / "docs")) {
    if (entry.path().extension() == ".md") found.push_back(entry.path());
  }
  std::sort(found.begin(), found.end());
  return found;
}

// The text under "## NAME", to the next heading of that level; "" where there is none.
std::string Section(const std::string& text, const std::string& name) {
  const size_t begin = ("\n" + text).find("\n## " + name + "\n");
  if (begin == std::string::npos) return "";
  const size_t end = text.find("\n## ", begin + 1);
  return text.substr(begin, end == std::string::npos ? end : end - begin);
}

// What the first group of `expression` matches, everywhere in the text.
std::vector<std::string> Matches(const std::string& text, const std::string& expression) {
  const std::regex regex(expression);
  std::vector<std::string> found;
  for (std::sregex_iterator it(text.begin(), text.end(), regex), end; it != end; ++it) found.push_back((*it)[1].str());
  return found;
}

TEST(Documents, ListEverySetting) {
  const std::string text = Read(Root() / "docs/training.md");
  ASSERT_GT(ConfigKeys().size(), 60u);
  for (const std::string& full : ConfigKeys()) {
    const size_t dot = full.find('.');
    const std::string section = full.substr(0, dot), key = full.substr(dot + 1);
    EXPECT_NE(Section(text, section).find("`" + key + "`"), std::string::npos)
        << "docs/training.md: the section \"" << section << "\" lacks `" << key << "`";
  }
}

TEST(Documents, ListEveryForeignKeyWithWhatIsAccepted) {
  const std::string text = Section(Read(Root() / "docs/training.md"), "training");
  for (const ForeignKey& foreign : ForeignKeys()) {
    const size_t at = text.find("`" + foreign.name + "`");
    ASSERT_NE(at, std::string::npos) << "docs/training.md lacks `" << foreign.name << "`";
    const size_t begin = text.rfind('\n', at) + 1;
    const std::string row = text.substr(begin, text.find('\n', at) - begin);
    if (foreign.accepted.size() == 2 && foreign.accepted[0].is_boolean() && foreign.accepted[1].is_boolean())
      continue;  // any
    for (const auto& value : foreign.accepted) {
      std::string shown = value.is_string() ? value.get<std::string>() : value.dump();
      if (value == "" || (value == nlohmann::ordered_json::array() && row.find("[]") == std::string::npos))
        shown = "empty";
      EXPECT_NE(row.find(shown), std::string::npos) << "docs/training.md: `" << foreign.name << "` accepts " << shown;
    }
  }
}

TEST(Documents, ListEveryRuleOfData) {
  const std::string text = Section(Read(Root() / "docs/data.md"), "check");
  for (const RuleInfo& info : RuleTable()) {
    const size_t begin = text.find("\n| `" + std::string(info.id) + "` |");
    ASSERT_NE(begin, std::string::npos) << "docs/data.md lacks `" << info.id << "`";
    const std::string row = text.substr(begin + 1, text.find('\n', begin + 1) - begin - 1);
    const std::string action = info.actions == 0 ? "–" : ActionName(info.usual);
    EXPECT_NE(row.rfind("| " + action), std::string::npos) << row;
    const bool has_kind = row.find(std::string("| ") + SeverityName(info.severity) + " |") != std::string::npos;
    EXPECT_TRUE(has_kind || info.rule == Rule::kWhiteSpace) << row;
  }
}

TEST(Documents, LinkToFilesThatExist) {
  for (const fs::path& document : Documents()) {
    for (const std::string& target : Matches(Read(document), R"(\]\(([^)#]+)\))")) {
      if (target.starts_with("http")) continue;
      EXPECT_TRUE(fs::exists(document.parent_path() / target)) << document << " links to " << target;
    }
  }
}

// `train/trainer.cc`, `ops/gemm.h`: a file of src/ by its folder. `tests/...`, `scripts/...`, `bench/...`:
// from the root.
TEST(Documents, NameSourceFilesThatExist) {
  size_t checked = 0;
  for (const fs::path& document : Documents()) {
    const std::string text = Read(document);
    for (const std::string& name : Matches(text, R"(`([a-z]+/[a-z0-9_/-]+\.(?:cc|h|sh|py))`)")) {
      EXPECT_TRUE(fs::exists(Root() / "src" / name) || fs::exists(Root() / name)) << document << " names " << name;
      ++checked;
    }
    for (const std::string& name : Matches(text, R"(`((?:scripts|tests|bench|examples)/[a-z0-9_/-]+)`)")) {
      EXPECT_TRUE(fs::exists(Root() / name)) << document << " names " << name;
    }
  }
  EXPECT_GT(checked, 15u);
}

}  // namespace attune::docs_test
