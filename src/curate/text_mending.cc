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

// Where text begins behind blanks. Four blanks or a tab before its first line are code, as in Markdown.
size_t StartOfText(std::string_view text) {
  const size_t first = std::min(text.find_first_not_of(" \t\n"), text.size());
  const size_t line = first == 0 ? 0 : text.rfind('\n', first - 1) + 1;  // npos + 1 is 0
  const std::string_view indent = text.substr(line, first - line);
  return first < text.size() && (indent.size() >= 4 || indent.find('\t') != indent.npos) ? line : first;
}

// Two blanks behind a line of text break it in Markdown, where another line follows.
bool IsHardBreak(std::string_view line, std::string_view behind) {
  const size_t text = line.find_last_not_of(" \t");
  if (text == line.npos || line.substr(text + 1) != "  ") return false;
  const size_t next = behind.find_first_not_of(" \t");
  return next != behind.npos && behind[next] != '\n';
}

// Opens or closes a fence of code at this line: three or more backticks or tildes, closed by as many (CommonMark 4.5).
void TakeFence(std::string_view line, std::string_view* open) {
  line.remove_prefix(std::min(line.find_first_not_of(' '), line.size()));
  const char mark = line.empty() ? ' ' : line[0];
  if (mark != '`' && mark != '~') return;
  const std::string_view marks = line.substr(0, line.find_first_not_of(mark)), rest = line.substr(marks.size());
  if (marks.size() < 3) return;
  if (open->empty()) {
    if (rest.find('`') == rest.npos) *open = marks;
  } else if (marks[0] == open->front() && marks.size() >= open->size() && rest.find_first_not_of(" \t") == rest.npos) {
    *open = {};
  }
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
  if (!text.empty() && ((trim_start && blank(text.front())) || (trim_end && blank(text.back())))) return false;
  for (size_t at = text.find('\n'); at != text.npos; at = text.find('\n', at + 1)) {
    if ((at > 0 && IsBlankInLine(text[at - 1])) || text.substr(at, 3) == "\n\n\n") return false;
  }
  return true;
}

std::string TidyWhiteSpace(std::string_view given, bool trim_start, bool trim_end) {
  std::string lines;
  if (given.find('\r') != given.npos) given = lines = WithUnixLines(given);
  if (trim_start) given.remove_prefix(StartOfText(given));
  if (trim_end) given = given.substr(0, given.find_last_not_of(" \t\n") + 1);
  std::string out;
  out.reserve(given.size());
  std::string_view fence;  // that is open
  size_t empty_lines = 0;
  for (size_t at = 0; at <= given.size();) {
    const size_t end = std::min(given.find('\n', at), given.size());
    std::string_view line = given.substr(at, end - at);
    const bool last = end == given.size();
    const bool was_open = !fence.empty();
    TakeFence(line, &fence);
    const bool in_fence = was_open && !fence.empty();
    if (!in_fence && !last && !IsHardBreak(line, given.substr(end + 1))) {
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
