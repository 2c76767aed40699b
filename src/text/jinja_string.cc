#include "text/jinja_string.h"

#include <algorithm>

namespace attune::jinja {
namespace {

bool IsContinuation(char c) { return (static_cast<unsigned char>(c) & 0xC0) == 0x80; }

size_t SequenceSize(char lead) {
  const auto byte = static_cast<unsigned char>(lead);
  return byte < 0xC2 ? 1 : byte < 0xE0 ? 2 : byte < 0xF0 ? 3 : byte < 0xF5 ? 4 : 1;
}

size_t PreviousStart(std::string_view text, size_t end) {
  // A sequence starts at most three bytes before its last one, and must end exactly here.
  for (size_t back = 1; back <= 4 && back <= end; ++back)
    if (!IsContinuation(text[end - back])) return CodePointSize(text, end - back) == back ? end - back : end - 1;
  return end - 1;
}

std::vector<std::string_view> SplitAtSpaces(std::string_view text, int64_t limit) {
  std::vector<std::string_view> parts;
  text = Strip(text, true, false);
  while (!text.empty()) {
    if (limit >= 0 && static_cast<int64_t>(parts.size()) == limit) {
      parts.push_back(text);
      break;
    }
    size_t end = 0;
    while (end < text.size() && !IsPythonSpace(CodePointAt(text, end))) end += CodePointSize(text, end);
    parts.push_back(text.substr(0, end));
    text = Strip(text.substr(end), true, false);
  }
  return parts;
}

std::vector<std::string_view> SplitAtSpacesFromRight(std::string_view text, int64_t limit) {
  std::vector<std::string_view> parts;
  text = Strip(text, false, true);
  while (!text.empty()) {
    if (limit >= 0 && static_cast<int64_t>(parts.size()) == limit) {
      parts.push_back(text);
      break;
    }
    size_t start = text.size();
    while (start > 0) {
      const size_t before = PreviousStart(text, start);
      if (IsPythonSpace(CodePointAt(text, before))) break;
      start = before;
    }
    parts.push_back(text.substr(start));
    text = Strip(text.substr(0, start), false, true);
  }
  std::reverse(parts.begin(), parts.end());
  return parts;
}

}  // namespace

size_t CodePointSize(std::string_view text, size_t at) {
  const size_t want = SequenceSize(text[at]);
  for (size_t i = 1; i < want; ++i)
    if (at + i >= text.size() || !IsContinuation(text[at + i])) return 1;
  return want;
}

size_t CountCodePoints(std::string_view text) {
  size_t count = 0;
  for (size_t at = 0; at < text.size(); at += CodePointSize(text, at)) ++count;
  return count;
}

size_t ByteOffset(std::string_view text, size_t n) {
  size_t at = 0;
  for (; n > 0 && at < text.size(); --n) at += CodePointSize(text, at);
  return at;
}

char32_t CodePointAt(std::string_view text, size_t at) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[at + i]); };
  switch (CodePointSize(text, at)) {
    case 2:
      return (byte(0) & 0x1Fu) << 6 | (byte(1) & 0x3Fu);
    case 3:
      return (byte(0) & 0x0Fu) << 12 | (byte(1) & 0x3Fu) << 6 | (byte(2) & 0x3Fu);
    case 4:
      return (byte(0) & 0x07u) << 18 | (byte(1) & 0x3Fu) << 12 | (byte(2) & 0x3Fu) << 6 | (byte(3) & 0x3Fu);
    default:
      return byte(0) < 0x80 ? byte(0) : 0xFFFD;
  }
}

void AppendCodePoint(char32_t c, std::string* out) {
  const auto put = [&](char32_t byte) { out->push_back(static_cast<char>(byte)); };
  if (c < 0x80) {
    put(c);
  } else if (c < 0x800) {
    put(0xC0 | c >> 6);
    put(0x80 | (c & 0x3F));
  } else if (c < 0x10000) {
    put(0xE0 | c >> 12);
    put(0x80 | (c >> 6 & 0x3F));
    put(0x80 | (c & 0x3F));
  } else {
    put(0xF0 | c >> 18);
    put(0x80 | (c >> 12 & 0x3F));
    put(0x80 | (c >> 6 & 0x3F));
    put(0x80 | (c & 0x3F));
  }
}

bool IsPythonSpace(char32_t c) {
  if (c < 0x80) return (c >= 9 && c <= 13) || (c >= 0x1C && c <= 0x20);
  return c == 0x85 || c == 0xA0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 ||
         c == 0x202F || c == 0x205F || c == 0x3000;
}

std::string_view Strip(std::string_view text, bool left, bool right) {
  while (left && !text.empty() && IsPythonSpace(CodePointAt(text, 0))) text.remove_prefix(CodePointSize(text, 0));
  while (right && !text.empty()) {
    const size_t start = PreviousStart(text, text.size());
    if (!IsPythonSpace(CodePointAt(text, start))) break;
    text = text.substr(0, start);
  }
  return text;
}

std::string_view Strip(std::string_view text, std::string_view chars, bool left, bool right) {
  const auto among = [&](std::string_view one) {
    for (size_t at = 0; at < chars.size();) {
      const size_t size = CodePointSize(chars, at);
      if (chars.substr(at, size) == one) return true;
      at += size;
    }
    return false;
  };
  while (left && !text.empty() && among(text.substr(0, CodePointSize(text, 0))))
    text.remove_prefix(CodePointSize(text, 0));
  while (right && !text.empty()) {
    const size_t start = PreviousStart(text, text.size());
    if (!among(text.substr(start))) break;
    text = text.substr(0, start);
  }
  return text;
}

std::vector<std::string_view> Split(std::string_view text, std::string_view separator, int64_t limit, bool from_right) {
  if (separator.empty()) return from_right ? SplitAtSpacesFromRight(text, limit) : SplitAtSpaces(text, limit);
  std::vector<std::string_view> parts;
  while (limit < 0 || static_cast<int64_t>(parts.size()) < limit) {
    const size_t at = from_right ? text.rfind(separator) : text.find(separator);
    if (at == text.npos) break;
    if (from_right) {
      parts.push_back(text.substr(at + separator.size()));
      text = text.substr(0, at);
    } else {
      parts.push_back(text.substr(0, at));
      text = text.substr(at + separator.size());
    }
  }
  parts.push_back(text);
  if (from_right) std::reverse(parts.begin(), parts.end());
  return parts;
}

std::vector<std::string_view> SplitLines(std::string_view text, bool keep_ends) {
  std::vector<std::string_view> lines;
  size_t start = 0;
  for (size_t at = 0; at < text.size();) {
    const char32_t c = CodePointAt(text, at);
    size_t size = CodePointSize(text, at);
    const bool ends = (c >= 10 && c <= 13) || (c >= 0x1C && c <= 0x1E) || c == 0x85 || c == 0x2028 || c == 0x2029;
    if (ends) {
      if (c == '\r' && at + 1 < text.size() && text[at + 1] == '\n') size = 2;
      lines.push_back(text.substr(start, at - start + (keep_ends ? size : 0)));
      start = at + size;
    }
    at += size;
  }
  if (start < text.size()) lines.push_back(text.substr(start));
  return lines;
}

std::string Replace(std::string_view text, std::string_view from, std::string_view to, int64_t limit) {
  std::string out;
  size_t at = 0;
  if (from.empty()) {  // before every code point and at the end
    while (limit != 0) {
      out += to;
      --limit;
      if (at >= text.size()) break;
      const size_t size = CodePointSize(text, at);
      out += text.substr(at, size);
      at += size;
    }
  } else {
    for (; limit != 0; --limit) {
      const size_t found = text.find(from, at);
      if (found == text.npos) break;
      out.append(text, at, found - at);
      out += to;
      at = found + from.size();
    }
  }
  if (at < text.size()) out.append(text, at);
  return out;
}

std::string EscapeHtml(std::string_view text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&#34;";
        break;
      case '\'':
        out += "&#39;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

}  // namespace attune::jinja
