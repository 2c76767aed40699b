#include "eval/text_metrics.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <map>

#include "text/unicode.h"

namespace attune {
namespace {

bool IsAsciiPunctuation(char32_t c) { return c < 0x80 && std::ispunct(static_cast<int>(c)) != 0; }
bool IsDigit(char c) { return c >= '0' && c <= '9'; }

std::vector<std::string> WordsBetweenSpaces(std::string_view text) {
  std::vector<std::string> words;
  bool inside = false;
  for (size_t at = 0; at < text.size();) {
    const size_t begin = at;
    const bool space = IsWhitespace(NextCodePoint(text, &at));
    if (!space && !inside) words.emplace_back();
    if (!space) words.back() += text.substr(begin, at - begin);
    inside = !space;
  }
  return words;
}

// Every run of word characters that is an article becomes a space.
std::string WithoutArticles(std::string_view text) {
  std::string out, word;
  const auto put = [&] {
    out += word == "a" || word == "an" || word == "the" ? " " : word;
    word.clear();
  };
  for (size_t at = 0; at < text.size();) {
    const size_t begin = at;
    const bool is_word = IsWord(NextCodePoint(text, &at));
    if (!is_word) put();
    (is_word ? word : out) += text.substr(begin, at - begin);
  }
  put();
  return out;
}

std::vector<std::string> RougeWords(std::string_view text) {
  const std::string lower = LowercaseUnicode(text);
  std::vector<std::string> words;
  bool inside = false;
  for (size_t at = 0; at < lower.size();) {
    const size_t begin = at;
    const char32_t c = NextCodePoint(lower, &at);
    const bool is_word = IsWord(c) && c != U'_';
    if (is_word && !inside) words.emplace_back();
    if (is_word) words.back() += lower.substr(begin, at - begin);
    inside = is_word;
  }
  return words;
}

double HarmonicMean(double a, double b) { return a + b > 0 ? 2 * a * b / (a + b) : 0; }

}  // namespace

std::string NormalizedAnswer(std::string_view text) {
  const std::string lower = LowercaseUnicode(text);
  std::string bare;
  for (size_t at = 0; at < lower.size();) {
    const size_t begin = at;
    if (!IsAsciiPunctuation(NextCodePoint(lower, &at))) bare += lower.substr(begin, at - begin);
  }
  std::string out;
  for (const std::string& word : WordsBetweenSpaces(WithoutArticles(bare))) out += (out.empty() ? "" : " ") + word;
  return out;
}

double ExactMatch(std::string_view answer, std::string_view reference) {
  return NormalizedAnswer(answer) == NormalizedAnswer(reference) ? 1 : 0;
}

double TokenF1(std::string_view answer, std::string_view reference) {
  const std::vector<std::string> a = WordsBetweenSpaces(NormalizedAnswer(answer)),
                                 r = WordsBetweenSpaces(NormalizedAnswer(reference));
  if (a.empty() || r.empty()) return a.empty() == r.empty() ? 1 : 0;
  std::map<std::string_view, int64_t> left;
  for (const std::string& word : r) ++left[word];
  double shared = 0;
  for (const std::string& word : a) {
    const auto found = left.find(word);
    if (found == left.end() || found->second == 0) continue;
    --found->second;
    ++shared;
  }
  return HarmonicMean(shared / static_cast<double>(a.size()), shared / static_cast<double>(r.size()));
}

double RougeL(std::string_view answer, std::string_view reference) {
  const std::vector<std::string> a = RougeWords(answer), r = RougeWords(reference);
  if (a.empty() || r.empty()) return 0;
  std::vector<int64_t> row(r.size() + 1, 0);  // of the table of common lengths; `diagonal` is the cell above and left
  for (const std::string& word : a) {
    int64_t diagonal = 0;
    for (size_t j = 1; j <= r.size(); ++j) {
      const int64_t above = row[j];
      row[j] = word == r[j - 1] ? diagonal + 1 : std::max(above, row[j - 1]);
      diagonal = above;
    }
  }
  const auto common = static_cast<double>(row.back());
  return HarmonicMean(common / static_cast<double>(a.size()), common / static_cast<double>(r.size()));
}

std::optional<double> LastNumber(std::string_view text) {
  std::optional<double> last;
  for (size_t at = 0; at < text.size();) {
    if (!IsDigit(text[at])) {
      ++at;
      continue;
    }
    std::string number;
    if (at > 0 && text[at - 1] == '-' && (at == 1 || !std::isalnum(static_cast<unsigned char>(text[at - 2]))))
      number = "-";
    bool has_point = false;
    for (; at < text.size(); ++at) {
      const bool digit_next = at + 1 < text.size() && IsDigit(text[at + 1]);
      if (text[at] == ',' && digit_next && !has_point) continue;
      if (text[at] == '.' && digit_next && !has_point) {
        has_point = true;
      } else if (!IsDigit(text[at])) {
        break;
      }
      number += text[at];
    }
    if (at < text.size() && (text[at] == 'e' || text[at] == 'E')) {
      const size_t sign = at + 1 < text.size() && (text[at + 1] == '-' || text[at + 1] == '+') ? 1 : 0;
      if (at + 1 + sign < text.size() && IsDigit(text[at + 1 + sign])) {
        number += 'e';
        if (sign == 1 && text[at + 1] == '-') number += '-';
        for (at += 1 + sign; at < text.size() && IsDigit(text[at]); ++at) number += text[at];
      }
    }
    double value = 0;
    if (std::from_chars(number.data(), number.data() + number.size(), value).ec == std::errc()) last = value;
  }
  return last;
}

double NumericMatch(std::string_view answer, std::string_view reference, double tolerance) {
  const std::optional<double> a = LastNumber(answer), r = LastNumber(reference);
  return a && r && std::fabs(*a - *r) <= tolerance * std::max(1.0, std::fabs(*r)) ? 1 : 0;
}

std::string FencedOrWhole(std::string_view text) {
  const size_t fence = text.find("```");
  if (fence == std::string_view::npos) return std::string(text);
  const size_t line = text.find('\n', fence);
  if (line == std::string_view::npos) return std::string(text);
  return std::string(text.substr(line + 1, text.find("```", line + 1) - line - 1));
}

}  // namespace attune
