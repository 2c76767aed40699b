#include "adapters/python_regex.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "base/error.h"

namespace attune {
namespace {

constexpr uint32_t kMatchLimit = 1'000'000;  // steps of one match: far more than any sane pattern takes

std::string ErrorText(int code) {
  unsigned char text[200];
  return pcre2_get_error_message(code, text, sizeof text) < 0 ? "error" : reinterpret_cast<const char*>(text);
}

}  // namespace

struct PythonRegex::Code {
  pcre2_code* code = nullptr;
  pcre2_match_context* context = nullptr;
  std::string pattern, where;

  Code() = default;
  Code(const Code&) = delete;
  Code& operator=(const Code&) = delete;
  ~Code() {
    pcre2_match_context_free(context);
    pcre2_code_free(code);
  }
};

PythonRegex::PythonRegex(const std::string& pattern, const std::string& where) {
  auto code = std::make_shared<Code>();
  code->pattern = pattern.substr(0, 100);
  code->where = where;
  int error = 0;
  size_t offset = 0;
  code->code = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(), PCRE2_UTF | PCRE2_UCP,
                             &error, &offset, nullptr);
  if (code->code == nullptr) {
    BadInput("{}: \"{}\" is not a regular expression: {} at character {}", where, code->pattern, ErrorText(error),
             offset + 1);
  }
  code->context = pcre2_match_context_create(nullptr);
  if (code->context == nullptr) Failed("out of memory");
  pcre2_set_match_limit(code->context, kMatchLimit);
  code_ = std::move(code);
}

bool PythonRegex::Run(std::string_view text, unsigned options, const char* group, std::string* captured) const {
  const std::unique_ptr<pcre2_match_data, decltype(&pcre2_match_data_free)> data(
      pcre2_match_data_create_from_pattern(code_->code, nullptr), pcre2_match_data_free);
  if (data == nullptr) Failed("out of memory");
  const int result = pcre2_match(code_->code, reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), 0, options,
                                 data.get(), code_->context);
  if (result == PCRE2_ERROR_NOMATCH) return false;
  if (result < 0) {
    BadInput("{}: the regular expression \"{}\" failed on \"{}\": {}", code_->where, code_->pattern,
             text.substr(0, 100), ErrorText(result));
  }
  if (group != nullptr) {
    const int number = pcre2_substring_number_from_name(code_->code, reinterpret_cast<PCRE2_SPTR>(group));
    if (number > 0) {
      const size_t* ranges = pcre2_get_ovector_pointer(data.get());
      const size_t begin = ranges[2 * number], end = ranges[2 * number + 1];
      if (begin != PCRE2_UNSET) *captured = text.substr(begin, end - begin);
    }
  }
  return true;
}

bool PythonRegex::FullMatch(std::string_view text) const {
  return Run(text, PCRE2_ANCHORED | PCRE2_ENDANCHORED, nullptr, nullptr);
}

bool PythonRegex::StartMatch(std::string_view text) const { return Run(text, PCRE2_ANCHORED, nullptr, nullptr); }

bool PythonRegex::Search(std::string_view text) const { return Run(text, 0, nullptr, nullptr); }

std::optional<std::string> PythonRegex::StartMatchGroup(std::string_view text, const char* group) const {
  std::string captured;
  return Run(text, PCRE2_ANCHORED, group, &captured) ? std::optional(captured) : std::nullopt;
}

}  // namespace attune
