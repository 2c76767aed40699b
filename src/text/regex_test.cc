// Oniguruma's syntax through PCRE2: each expectation was checked against the tokenizers library (onig).

#include "text/regex.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace attune::regex_test {

// Matches between brackets, the rest as it is.
std::string Marked(std::string_view pattern, std::string_view text) {
  std::string out;
  for (const auto& [range, is_match] : Regex(pattern, "test").FindAll(text)) {
    const std::string part(text.substr(range.begin, range.end - range.begin));
    out += is_match ? "[" + part + "]" : part;
  }
  return out;
}

TEST(Regex, Matches) {
  EXPECT_EQ(Marked("b+", "abba"), "a[bb]a");
  EXPECT_EQ(Marked("x*", "axx"), "[]a[xx]");
  EXPECT_EQ(Marked("", "ab"), "[]a[]b[]");
  EXPECT_EQ(Marked("a", ""), "");
  EXPECT_EQ(Marked(R"(\s+(?!\S)|\s+)", "a   b "), "a[  ][ ]b[ ]");
  EXPECT_EQ(Marked("^.", "ab\ncd"), "[a]b\n[c]d");
  EXPECT_EQ(Marked("b$", "ab\nab"), "a[b]\na[b]");
}

TEST(Regex, OnigurumaSyntax) {
  EXPECT_EQ(Marked(R"(\h+)", "xbeef9g"), "x[beef9]g");
  EXPECT_EQ(Marked(R"(\u4e2d)", "\u4e2d\u6587"), "[\u4e2d]\u6587");
  EXPECT_EQ(Marked(R"(\s)", "a\u180e\u3000"), "a\u180e[\u3000]");
  EXPECT_EQ(Marked(R"(\w+)", "e\u0301\u00b2 _"), "[e\u0301\u00b2] [_]");
  EXPECT_EQ(Marked(R"([^\W_]+)", "a_b"), "[a]_[b]");
  EXPECT_EQ(Marked(R"(\b)", "e\u0301\u0928\u092e\u094d x"), "[]e\u0301\u0928\u092e\u094d[] []x[]");
  EXPECT_EQ(Marked(R"(\B)", "e\u0301 "), "e[]\u0301 []");
  EXPECT_EQ(Marked("[a-z&&[^aeiou]]+", "atlas"), "a[tl]a[s]");
  EXPECT_EQ(Marked("[ab[x-z]]+", "cabxyzc"), "c[abxyz]c");
  EXPECT_EQ(Marked(R"([[:punct:]]+)", "a$!b"), "a[$!]b");
  EXPECT_EQ(Marked(R"([[:^alpha:]]+)", "a1!b"), "a[1!]b");
  EXPECT_EQ(Marked(R"(\p{N}{1,3}+)", "12345"), "[12345]");
  EXPECT_EQ(Marked(R"(\p{N}{1,3})", "12345"), "[123][45]");
  EXPECT_EQ(Marked("a{,2}b", "aab"), "[aab]");
  EXPECT_EQ(Marked("(?:ab){2}?c", "ababcc"), "[ababc][c]");
  EXPECT_EQ(Marked("a{x", "a{x"), "[a{x]");
  EXPECT_EQ(Marked("(?m).+", "a\nb"), "[a\nb]");
  EXPECT_EQ(Marked(R"(\p{Han}+)", "\u4e2d\u3001\u6587"), "[\u4e2d]\u3001[\u6587]");
  EXPECT_EQ(Marked(R"(\p{^L}+)", "a1b"), "a[1]b");
  EXPECT_EQ(Marked(R"(\p{Uppercase_Letter})", "aB"), "a[B]");
  EXPECT_EQ(Marked("(?i:'LL)", "we'll"), "we['ll]");
}

TEST(Regex, LiteralTakesEveryCharacterAsItIs) {
  EXPECT_TRUE(Regex::Literal("a.[*", "test").Search("xa.[*", 0));
  EXPECT_FALSE(Regex::Literal("a.[*", "test").Search("xab[*", 0));
}

std::string ErrorOf(std::string_view pattern) {
  try {
    Regex regex(pattern, "t.json: pattern");
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

TEST(Regex, ErrorsNameThePattern) {
  EXPECT_EQ(ErrorOf("(a"), "t.json: pattern: the regular expression '(a' is not valid: missing closing parenthesis");
  EXPECT_EQ(ErrorOf("a)"),
            "t.json: pattern: the regular expression 'a)' uses an unmatched ')', which is not supported");
  EXPECT_EQ(ErrorOf("[a"),
            "t.json: pattern: the regular expression '[a' uses an unfinished character class, which is not "
            "supported");
  EXPECT_NE(ErrorOf("\\"), "no error");
  EXPECT_NE(ErrorOf("\\p{Nonsense}"), "no error");
  EXPECT_NE(ErrorOf("(?x) a"), "no error");
  EXPECT_NE(ErrorOf(std::string(1000, '[')), "no error");
  EXPECT_NE(ErrorOf(std::string(1000, '(')), "no error");
}

TEST(Regex, RunawayBacktrackingIsAnError) {
  const Regex regex("(?:a+)+$", "test");
  EXPECT_THROW(regex.Search(std::string(64, 'a') + "b", 0), Error);
}

}  // namespace attune::regex_test
