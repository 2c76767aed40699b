// Each search against one byte at a time, on texts of every length and from every place.
#include "curate/byte_scan.h"

#include <gtest/gtest.h>

#include <random>

namespace attune::byte_scan_test {

// Mostly prose, with all else that bytes can be.
std::string RandomText(std::mt19937& random, size_t size) {
  constexpr std::string_view kUsual = "the cat is as an AI <br> 0123456789 sk-";
  std::string text;
  while (text.size() < size)
    text += random() % 12 == 0 ? static_cast<char>(random()) : kUsual[random() % kUsual.size()];
  return text;
}

bool IsDigit(unsigned char c) { return c >= '0' && c <= '9'; }
bool IsLetter(unsigned char c) { return (c | 32) >= 'a' && (c | 32) <= 'z' && c < 0x80; }
bool IsUnplain(unsigned char c) { return c >= 0x7F || (c < 0x20 && c != '\n' && c != '\t' && c != '\r'); }

template <class Is>
size_t FirstOf(std::string_view text, size_t at, const Is& is) {
  while (at < text.size() && !is(static_cast<unsigned char>(text[at]))) ++at;
  return std::min(at, text.size());
}

TEST(ByteScan, FindsWhatALoopFinds) {
  std::mt19937 random(1);
  for (size_t size = 0; size < 200; ++size) {
    const std::string text = RandomText(random, size);
    for (size_t at = 0; at <= size; ++at) {
      ASSERT_EQ(NextDigit(text, at), FirstOf(text, at, IsDigit)) << size << " from " << at;
      ASSERT_EQ(NextUnplain(text, at), FirstOf(text, at, IsUnplain)) << size << " from " << at;
    }
    for (size_t i = 0; i < 64; ++i) {
      const unsigned char c = i < size ? static_cast<unsigned char>(text[i]) : 0;
      ASSERT_EQ(LetterBits(text) >> i & 1, IsLetter(c) || c >= 0x80) << size << " at " << i;
      ASSERT_EQ(WordBits(text) >> i & 1, IsLetter(c) || IsDigit(c)) << size << " at " << i;
    }
  }
}

TEST(ByteScan, RunsAreWhole) {
  std::mt19937 random(2);
  for (size_t size = 0; size < 200; ++size) {
    const std::string text = RandomText(random, size);
    std::string joined, expected;
    ForEachRun(text, &WordBits, [&](size_t begin, size_t end) { joined += text.substr(begin, end - begin) + "|"; });
    for (size_t i = 0; i < size; ++i) {
      const bool in_word =
          IsLetter(static_cast<unsigned char>(text[i])) || IsDigit(static_cast<unsigned char>(text[i]));
      if (in_word) expected += text[i];
      if (!in_word && !expected.empty() && expected.back() != '|') expected += '|';
    }
    if (!expected.empty() && expected.back() != '|') expected += '|';
    ASSERT_EQ(joined, expected) << size;
  }
}

TEST(ByteScan, FoldsCaseAndBlanks) {
  std::string out(64, '?');
  ASSERT_TRUE(FoldCase("The CAT\tsat\non [the] Mat \xC3\x89 and went away", out.data()));
  EXPECT_TRUE(out.starts_with("the cat sat on [the] mat \xC3\x89 and went away?")) << out;
  EXPECT_FALSE(FoldCase("two  blanks", out.data()));
  EXPECT_FALSE(FoldCase(std::string(31, 'x') + " \n" + "y", out.data())) << "across two vectors";
  EXPECT_TRUE(FoldCase("", out.data()));
}

TEST(ByteScan, NoPhraseIsLeftOut) {
  const std::vector<PhraseFilter::Phrase> phrases = {{"as an ai language", true, true},
                                                     {"i am sorry", true, true},
                                                     {"<br>", true},
                                                     {"sk-", false},
                                                     {"```", false},
                                                     {"AKIA", false},
                                                     {"\nHuman:", false},
                                                     {"&amp;", true},
                                                     {"eyJ", false},
                                                     {"[INST]", false}};
  const PhraseFilter filter(phrases);
  std::mt19937 random(3);
  for (size_t size = 20; size < 150; ++size) {
    for (const PhraseFilter::Phrase& phrase : phrases) {
      std::string text = RandomText(random, size);
      const size_t place = random() % (size - phrase.text.size());
      text.replace(place, phrase.text.size(), phrase.text);
      if (phrase.by_eight && random() % 2 == 0) text[place] = static_cast<char>(text[place] - 32);
      size_t at = 0;
      while (at < place && filter.Next(text, at) < place) at = filter.Next(text, at) + 1;
      ASSERT_EQ(filter.Next(text, at), place) << phrase.text << " at " << place << " of " << size;
    }
  }
  EXPECT_EQ(filter.Next("", 0), 0u);
}

}  // namespace attune::byte_scan_test
