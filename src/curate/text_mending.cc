#include "curate/text_mending.h"

#include <algorithm>
#include <utility>

#include "curate/encoding.h"
#include "text/unicode.h"

namespace attune {
namespace {

// Without its odd characters.
std::string WithoutOdd(std::string_view text) {
  std::string out;
  for (size_t at = 0; at < text.size();) {
    const char32_t c = NextCodePoint(text, &at);
    if (c == 0x2028 || c == 0x2029) {
      out += '\n';
    } else if (!IsOddCharacter(c)) {
      AppendUtf8(c, &out);
    }
  }
  return out;
}

bool IsBlankInLine(char c) { return c == ' ' || c == '\t'; }

std::string WithUnixLines(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '\r') {
      out += text[i];
    } else if (i + 1 == text.size() || text[i + 1] != '\n') {
      out += '\n';
    }
  }
  return out;
}

}  // namespace

std::string Edited(std::string_view text, std::span<const TextEdit> edits) {
  std::string out;
  size_t at = 0;
  for (const TextEdit& edit : edits) {
    if (edit.begin < at) continue;
    out += text.substr(at, edit.begin - at);
    out += edit.text;
    at = edit.end;
  }
  return out += text.substr(at);
}

std::string MendEncoding(std::string_view text, std::span<const Finding> findings) {
  std::vector<TextEdit> edits;
  bool normalize = false;
  for (const Finding& finding : findings) {
    const std::string_view found = text.substr(finding.begin, finding.end - finding.begin);
    std::string mended;
    switch (finding.rule) {
      case Rule::kMojibake:
        MendMojibakeAt(found, 0, Mojibake::kLikely, &mended);
        break;
      case Rule::kControlCharacter:
        break;
      case Rule::kOddUnicode:
        mended = WithoutOdd(found);
        break;
      case Rule::kNotNfc:
        normalize = true;
        continue;
      default:
        continue;
    }
    edits.push_back({finding.begin, finding.end, std::move(mended)});
  }
  std::string mended = Edited(text, edits);
  return normalize ? NormalizeUnicode(mended, NormalForm::kNfc) : mended;
}

std::string PlainTextOf(std::string_view html) {
  static constexpr std::pair<std::string_view, const char*> kMeanings[] = {
      {"<br", "\n"},  {"</p", "\n"},    {"</div", "\n"}, {"</li", "\n"},  {"</tr", "\n"}, {"</h1", "\n"},
      {"</h2", "\n"}, {"</h3", "\n"},   {"<li", "- "},   {"&nbsp;", " "}, {"&amp;", "&"}, {"&lt;", "<"},
      {"&gt;", ">"},  {"&quot;", "\""}, {"&#34;", "\""}, {"&apos;", "'"}, {"&#39;", "'"}, {"&#x27;", "'"}};
  std::string lower(html.substr(0, 6));
  std::transform(lower.begin(), lower.end(), lower.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
  for (const auto& [start, meaning] : kMeanings) {
    if (lower.starts_with(start)) return meaning;
  }
  return "";
}

const char* RedactionOf(Rule rule) {
  switch (rule) {
    case Rule::kEmail:
      return "[EMAIL]";
    case Rule::kPhone:
      return "[PHONE]";
    case Rule::kCardNumber:
      return "[CARD]";
    case Rule::kIban:
      return "[IBAN]";
    default:
      return "[SECRET]";
  }
}

bool IsTidy(std::string_view text, bool trim_start, bool trim_end) {
  const auto blank = [](char c) { return c == ' ' || c == '\t' || c == '\n'; };
  if (text.find('\r') != text.npos) return false;
  if (!text.empty() && ((trim_start && blank(text.front())) || (trim_end && blank(text.back()))))
    return false;
  for (size_t at = text.find('\n'); at != text.npos; at = text.find('\n', at + 1)) {
    if ((at > 0 && IsBlankInLine(text[at - 1])) || text.substr(at, 3) == "\n\n\n") return false;
  }
  return true;
}

std::string TidyWhiteSpace(std::string_view given, bool trim_start, bool trim_end) {
  std::string lines;
  if (given.find('\r') != given.npos) given = lines = WithUnixLines(given);
  if (trim_start) given.remove_prefix(std::min(given.find_first_not_of(" \t\n"), given.size()));
  if (trim_end) given = given.substr(0, given.find_last_not_of(" \t\n") + 1);
  std::string out;
  out.reserve(given.size());
  bool in_fence = false;
  size_t empty_lines = 0;
  for (size_t at = 0; at <= given.size();) {
    const size_t end = std::min(given.find('\n', at), given.size());
    std::string_view line = given.substr(at, end - at);
    const bool last = end == given.size();
    if (line.substr(std::min(line.find_first_not_of(' '), line.size())).starts_with("```"))
      in_fence = !in_fence;
    if (!in_fence && !last) {
      while (!line.empty() && IsBlankInLine(line.back())) line.remove_suffix(1);
    }
    empty_lines = line.empty() && !in_fence && at > 0 ? empty_lines + 1 : 0;
    if (empty_lines <= 1 || last) {
      out += line;
      if (!last) out += '\n';
    }
    at = end + 1;
  }
  return out;
}

}  // namespace attune
