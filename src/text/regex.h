// Regular expressions as tokenizer.json means them (Oniguruma), run by PCRE2 (UTF, UCP, JIT).
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace attune {

struct TextRange {
  size_t begin = 0, end = 0;  // bytes [begin, end)
};

struct TextMatch {
  TextRange range;
  bool is_match = false;
};

// Immutable and safe to use from several threads.
class Regex {
 public:
  // `pattern` in Oniguruma's syntax; `where` names the file and key for errors.
  // Errors: Error{kBadInput} for a pattern that does not compile or uses what PCRE2 cannot express.
  Regex(std::string_view pattern, const std::string& where);
  // Matches exactly this text.
  static Regex Literal(std::string_view text, const std::string& where);
  ~Regex();
  Regex(Regex&&) noexcept;
  Regex& operator=(Regex&&) noexcept;

  // The first match at or after byte `from`. `text` must be valid UTF-8.
  // Errors: Error{kBadInput} when the match exceeds PCRE2's limits (a pattern with runaway backtracking).
  std::optional<TextRange> Search(std::string_view text, size_t from) const;

  // Contiguous ranges covering `text`: matches and what lies between them. Empty matches are listed too, as
  // the onig crate's find_iter gives them (never right after another match).
  std::vector<TextMatch> FindAll(std::string_view text) const;

 private:
  struct Impl;
  explicit Regex(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

// Rewrites Oniguruma's syntax where PCRE2 reads it otherwise: \s \w \h \v, \uHHHH, nested classes and &&,
// {,n} and {n,m}+, script names, (?m). Errors: Error{kBadInput} naming `where` and what is not supported.
std::string TranslateOnigurumaPattern(std::string_view pattern, const std::string& where);

}  // namespace attune
