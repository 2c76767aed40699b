#include "data/text_reader.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "base/error.h"

namespace attune::text_reader_test {

class TextReaderTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = testing::TempDir() + "/" + testing::UnitTest::GetInstance()->current_test_info()->name();
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_);
  }
  std::string Write(const std::string& name, const std::string& content) const {
    WriteFileAtomic(folder_ + "/" + name, content);
    return folder_ + "/" + name;
  }
  static std::vector<std::string> All(TextReader reader) {
    std::vector<std::string> texts;
    while (const auto text = reader.Next()) texts.emplace_back(*text);
    return texts;
  }
  static std::string ErrorOf(const std::vector<std::string>& paths) {
    try {
      All(TextReader(paths));
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kBadInput);
      return error.what();
    }
    return "";
  }

  std::string folder_;
};

TEST_F(TextReaderTest, TextOfEveryKindOfRow) {
  const std::string rows = Write("rows.jsonl",
                                 "{\"text\": \"plain\\ntwo lines\"}\n"
                                 "\n"
                                 "{\"messages\": [{\"role\": \"user\", \"content\": \"q\"}, {\"role\": "
                                 "\"assistant\", \"content\": \"a\"}]}\n"
                                 "{\"messages\": [{\"role\": \"user\", \"content\": \"\"}, {\"role\": "
                                 "\"assistant\", \"content\": \"b\"}]}\n"
                                 "{\"prompt\": \"left \", \"completion\": \"right\"}\n"
                                 "{\"instruction\": \"do\", \"input\": \"it\", \"output\": \"done\"}\n");
  const std::string lines = Write("lines.txt", "\xEF\xBB\xBF  first\r\n\n \t\nlast");
  EXPECT_EQ(All(TextReader({lines, rows})), (std::vector<std::string>{"  first", "last", "plain\ntwo lines", "q", "a",
                                                                      "b", "left right", "do\n\nit", "done"}));
  EXPECT_EQ(TextReader({lines, rows}).file_bytes(),
            static_cast<int64_t>(std::filesystem::file_size(lines) + std::filesystem::file_size(rows)));
}

TEST_F(TextReaderTest, BrokenInputIsNamedByFileAndLine) {
  const std::string bad = Write("bad.txt", "fine\n\nnot \xC3\x28 fine\n");
  EXPECT_TRUE(ErrorOf({bad}).starts_with(bad + ":3: the line is not valid UTF-8")) << ErrorOf({bad});
  const std::string cut = Write("cut.jsonl", "{\"text\": \"a\"}\n{\"text\": \n");
  EXPECT_TRUE(ErrorOf({cut}).starts_with(cut + ":2:")) << ErrorOf({cut});
  const std::string ids = Write("ids.jsonl", "{\"input_ids\": [1]}\n");
  EXPECT_TRUE(ErrorOf({ids}).starts_with(ids + ":1: the row holds token ids")) << ErrorOf({ids});
  EXPECT_NE(ErrorOf({folder_ + "/none.txt"}).find("none.txt"), std::string::npos);
}

}  // namespace attune::text_reader_test
