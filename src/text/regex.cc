#include "text/regex.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "text/unicode.h"

namespace attune {

template <class T, void (*Free)(T*)>
struct Deleter {
  void operator()(T* pointer) const { Free(pointer); }
};
using Code = std::unique_ptr<pcre2_code, Deleter<pcre2_code, pcre2_code_free>>;

namespace {

using CompileContext =
    std::unique_ptr<pcre2_compile_context, Deleter<pcre2_compile_context, pcre2_compile_context_free>>;
using MatchContext = std::unique_ptr<pcre2_match_context, Deleter<pcre2_match_context, pcre2_match_context_free>>;
using MatchData = std::unique_ptr<pcre2_match_data, Deleter<pcre2_match_data, pcre2_match_data_free>>;
using JitStack = std::unique_ptr<pcre2_jit_stack, Deleter<pcre2_jit_stack, pcre2_jit_stack_free>>;

constexpr size_t kMaxPatternBytes = 1 << 16;
constexpr uint32_t kMatchLimit = 10'000'000;

// What a match writes to: one a thread, since Regex itself is shared between threads.
struct MatchScratch {
  MatchScratch()
      : data(pcre2_match_data_create(1, nullptr)),
        context(pcre2_match_context_create(nullptr)),
        stack(pcre2_jit_stack_create(32 * 1024, 8 * 1024 * 1024, nullptr)) {
    if (!data || !context || !stack) Failed("out of memory for a regular expression");
    pcre2_jit_stack_assign(context.get(), nullptr, stack.get());
  }
  MatchData data;
  MatchContext context;
  JitStack stack;
};

std::string Message(int code) {
  PCRE2_UCHAR buffer[256];
  pcre2_get_error_message(code, buffer, sizeof buffer);
  return reinterpret_cast<const char*>(buffer);
}

}  // namespace

struct Regex::Impl {
  Code code;
  std::string pattern, where;
};

Regex::Regex(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Regex::~Regex() = default;
Regex::Regex(Regex&&) noexcept = default;
Regex& Regex::operator=(Regex&&) noexcept = default;

Regex::Regex(std::string_view pattern, const std::string& where) : impl_(std::make_unique<Impl>()) {
  if (pattern.size() > kMaxPatternBytes) {
    BadInput("{}: the regular expression has {} bytes; at most {} are read", where, pattern.size(), kMaxPatternBytes);
  }
  const std::string translated = TranslateOnigurumaPattern(pattern, where);
  const CompileContext context(pcre2_compile_context_create(nullptr));
  if (!context) Failed("out of memory for a regular expression");
  pcre2_set_newline(context.get(), PCRE2_NEWLINE_LF);
  pcre2_set_parens_nest_limit(context.get(), 100);
  int error = 0;
  PCRE2_SIZE offset = 0;
  // Oniguruma's ^ and $ stand at every line.
  impl_->code.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(translated.data()), translated.size(),
                                  PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C, &error, &offset,
                                  context.get()));
  if (!impl_->code) BadInput("{}: the regular expression '{}' is not valid: {}", where, pattern, Message(error));
  const int jit = pcre2_jit_compile(impl_->code.get(), PCRE2_JIT_COMPLETE);
  if (jit != 0 && jit != PCRE2_ERROR_JIT_BADOPTION && jit != PCRE2_ERROR_NOMEMORY) {
    BadInput("{}: the regular expression '{}' cannot be compiled: {}", where, pattern, Message(jit));
  }
  impl_->pattern = pattern;
  impl_->where = where;
}

Regex Regex::Literal(std::string_view text, const std::string& where) {
  std::string escaped;
  for (const char c : text) {
    if (static_cast<unsigned char>(c) < 0x80 && IsPunctuation(static_cast<unsigned char>(c))) escaped += '\\';
    escaped += c;
  }
  return Regex(escaped, where);
}

std::optional<TextRange> Regex::Search(std::string_view text, size_t from) const {
  thread_local MatchScratch scratch;
  // A scan over the text must fit, so the limit grows with it; runaway backtracking grows faster.
  const uint64_t limit = kMatchLimit + 64 * static_cast<uint64_t>(text.size());
  pcre2_set_match_limit(scratch.context.get(), static_cast<uint32_t>(std::min<uint64_t>(limit, UINT32_MAX)));
  const int rc = pcre2_match(impl_->code.get(), reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), from,
                             PCRE2_NO_UTF_CHECK, scratch.data.get(), scratch.context.get());
  if (rc == PCRE2_ERROR_NOMATCH) return std::nullopt;
  if (rc < 0) {
    BadInput("{}: the regular expression '{}' gives up on a text of {} bytes: {}", impl_->where, impl_->pattern,
             text.size(), Message(rc));
  }
  const PCRE2_SIZE* range = pcre2_get_ovector_pointer(scratch.data.get());
  return TextRange{range[0], range[1]};
}

std::vector<TextMatch> Regex::FindAll(std::string_view text) const {
  std::vector<TextMatch> out;
  size_t from = 0, covered = 0;
  std::optional<size_t> last_end;
  while (from <= text.size()) {
    const std::optional<TextRange> match = Search(text, from);
    if (!match) break;
    if (match->begin == match->end && last_end == match->end) {
      from += from < text.size() ? Utf8Length(text[from]) : 1;
      continue;
    }
    if (match->begin > covered) out.push_back({{covered, match->begin}, false});
    out.push_back({*match, true});
    from = covered = match->end;
    last_end = match->end;
  }
  if (covered < text.size()) out.push_back({{covered, text.size()}, false});
  return out;
}

}  // namespace attune
