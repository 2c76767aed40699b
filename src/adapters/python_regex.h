// Regular expressions as Python's `re` reads them, run by PCRE2: PEFT's settings hold such patterns
// (target_modules, exclude_modules, rank_pattern, alpha_pattern, layers_pattern), and attune eval looks for them in
// answers. The two dialects agree on what occurs there.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>

namespace attune {

// Immutable and movable. Errors: Error{kBadInput} naming `where` for a pattern that does not compile, and on
// matching when it backtracks without end.
class PythonRegex {
 public:
  PythonRegex(const std::string& pattern, const std::string& where);

  bool FullMatch(std::string_view text) const;   // re.fullmatch
  bool StartMatch(std::string_view text) const;  // re.match: from the start, the end left open

  bool Search(std::string_view text) const;  // re.search: anywhere

  // re.match, then the group of this name; nothing when there is no match.
  std::optional<std::string> StartMatchGroup(std::string_view text, const char* group) const;

 private:
  struct Code;
  bool Run(std::string_view text, unsigned options, const char* group, std::string* captured) const;

  std::shared_ptr<const Code> code_;
};

}  // namespace attune
