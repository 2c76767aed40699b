#include "curate/text_scan.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "curate/encoding.h"
#include "curate/personal_data.h"
#include "text/unicode.h"

namespace attune {
namespace {

constexpr size_t kLongAnswer = 80, kLongLine = 40;  // bytes: shorter ones may well end without a full stop
constexpr size_t kStartOfAnswer = 40;

bool Mentions(const Row& row, std::string_view word, std::string_view capital) {
  return std::any_of(row.parts.begin(), row.parts.end(), [&](const TextPart& part) {
    return part.text.find(word) != part.text.npos || part.text.find(capital) != part.text.npos;
  });
}

// Tags are no left-overs where the talk is of them.
bool IsAboutMarkup(const Row& row) {
  return Mentions(row, "html", "HTML") || Mentions(row, "xml", "XML") || Mentions(row, "markdown", "Markdown") ||
         Mentions(row, "css", "CSS") || Mentions(row, " tag", "Tag");
}

size_t EndOfHtml(std::string_view text, size_t at, std::string_view phrase) {
  const size_t end = at + phrase.size();
  if (phrase.front() == '&' || phrase.back() == '>') return end;
  const size_t close = text.substr(end, 300).find('>');
  return close == text.npos ? end : end + close + 1;
}

// A long answer whose last line is long too and stops after a letter or a comma.
void FindTruncation(std::string_view text, uint32_t part, std::vector<Finding>* findings) {
  const size_t last = text.find_last_not_of(" \t\r\n");
  if (text.size() < kLongAnswer || last == text.npos) return;
  const char c = text[last];
  const bool ends_within =
      (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == ',' || c == ';' || c == '-' || c == '(' || c == '/';
  const size_t line = text.rfind('\n', last) == text.npos ? 0 : text.rfind('\n', last) + 1;
  if (!ends_within || last - line < kLongLine) return;
  const char first = text[std::min(text.find_first_not_of(' ', line), last)];
  if (first == '-' || first == '*' || first == '|' || first == '#' || (first >= '0' && first <= '9'))
    return;  // lists, tables
  if (text.substr(line, last - line).find("://") != text.npos) return;
  findings->push_back({Rule::kTruncatedAnswer, part, last, last + 1, ""});
}

// Whether a row is about markup, looked at when it is first asked and for all its parts.
class AboutMarkup {
 public:
  explicit AboutMarkup(const Row& row) : row_(row) {}
  bool IsIt() {
    if (!is_it_) is_it_ = IsAboutMarkup(row_);
    return *is_it_;
  }

 private:
  const Row& row_;
  std::optional<bool> is_it_;
};

class PartScanner {
 public:
  PartScanner(const Row& row, uint32_t part, AboutMarkup* markup, std::vector<Finding>* findings, uint32_t* templates)
      : row_(row),
        part_(part),
        text_(row.parts[part].text),
        markup_(*markup),
        findings_(*findings),
        templates_(templates) {}

  void Scan() {
    FindEncoding(text_, part_, &findings_);
    const Speaker speaker = row_.parts[part_].speaker;
    answers_ = speaker == Speaker::kAssistant;
    size_t at = 0, fence = 0, fence_end = 0;
    while (const Phrase* phrase = NextPhrase(text_, &at)) {
      size_t end = at + phrase->text.size();
      if (phrase->kind == PhraseKind::kFence) {
        while (end < text_.size() && text_[end] == '`') ++end;
        if (!in_fence_ || end - at >= fence_end - fence) {  // a longer fence holds shorter ones
          in_fence_ = !in_fence_;
          fence = at;
          fence_end = end;
        }
      } else {
        end = Take(*phrase, at, end);
      }
      at = end;
    }
    if (in_fence_) Add(Rule::kUnbalancedFence, fence, fence_end);
    if (answers_) FindTruncation(text_, part_, &findings_);
    FindPersonalData(text_, part_, &findings_);
  }

 private:
  void Add(Rule rule, size_t begin, size_t end) { findings_.push_back({rule, part_, begin, end, ""}); }

  // Returns where the search goes on.
  size_t Take(const Phrase& phrase, size_t at, size_t end) {
    switch (phrase.kind) {
      case PhraseKind::kRefusal:
        if (answers_) Add(Rule::kRefusal, at, end);
        break;
      case PhraseKind::kRefusalAtStart:
        if (answers_ && at <= kStartOfAnswer) Add(Rule::kRefusal, at, end);
        break;
      case PhraseKind::kBoilerplate:
        if (answers_) Add(Rule::kBoilerplate, at, end);
        break;
      case PhraseKind::kTemplate:
        if (in_fence_) break;
        if (templates_ != nullptr) *templates_ |= 1u << static_cast<unsigned>(phrase.family);
        Add(Rule::kTemplateToken, at, end);
        break;
      case PhraseKind::kHtml:
        if (in_fence_ || InInlineCode(at) || markup_.IsIt() || IsComparison(phrase.text, end)) break;
        end = EndOfHtml(text_, at, phrase.text);
        Add(Rule::kHtml, at, end);
        break;
      default:
        if (const auto secret = secrets_.End(at, phrase.text)) {
          Add(Rule::kSecret, at, *secret);
          end = *secret;
        }
    }
    return end;
  }

  // Whether an odd number of backticks stand before `at` on its line. Places only grow, so each byte is looked at once.
  bool InInlineCode(size_t at) {
    for (; ticks_until_ < at; ++ticks_until_) {
      if (text_[ticks_until_] == '\n') inline_code_ = false;
      if (text_[ticks_until_] == '`') inline_code_ = !inline_code_;
    }
    return inline_code_;
  }

  // "a<b>c" and "vector<i>" are no tags: of these two the end must come too.
  bool IsComparison(std::string_view tag, size_t end) {
    if (tag != "<b>" && tag != "<i>") return false;
    size_t& closing = closing_[tag == "<i>"];
    const auto closes = [&](size_t at) {
      const std::string_view name = text_.substr(at + 2, 2);
      return name.size() == 2 && (name[0] | 0x20) == tag[1] && name[1] == '>';
    };
    while (closing != text_.npos && (closing < end || !closes(closing)))
      closing = text_.find("</", std::max(end, closing + 1));
    return closing == text_.npos;
  }

  const Row& row_;
  uint32_t part_;
  std::string_view text_;
  AboutMarkup& markup_;
  std::vector<Finding>& findings_;
  uint32_t* templates_;
  SecretFinder secrets_{text_};
  bool answers_ = false, in_fence_ = false, inline_code_ = false;
  size_t ticks_until_ = 0;
  size_t closing_[2] = {};  // of bold and italic: where the next end is that has been looked for
};

}  // namespace

void ScanTexts(const Row& row, std::vector<Finding>* findings, uint32_t* templates) {
  AboutMarkup markup(row);
  for (uint32_t part = 0; part < row.parts.size(); ++part) PartScanner(row, part, &markup, findings, templates).Scan();
}

std::string Excerpt(const Row& row, const Finding& finding) {
  constexpr size_t kAround = 24, kLongest = 60;
  if (finding.begin == finding.end) return finding.detail;
  const std::string_view text = row.parts[finding.part].text;
  const bool hidden = finding.rule == Rule::kSecret || finding.rule == Rule::kCardNumber || finding.rule == Rule::kIban;
  size_t begin = finding.begin - std::min(finding.begin, kAround);
  size_t end = hidden ? std::min(finding.begin + 4, finding.end)
                      : std::min({finding.end + kAround, text.size(), finding.begin + kLongest});
  while (begin > 0 && (text[begin] & 0xC0) == 0x80) --begin;
  while (end < text.size() && (text[end] & 0xC0) == 0x80) ++end;
  std::string excerpt = begin > 0 ? "…" : "";
  for (const char c : text.substr(begin, end - begin))
    excerpt += static_cast<unsigned char>(c) < 0x20 || c == 0x7F ? ' ' : c;
  if (end < text.size()) excerpt += "…";
  return excerpt;
}

}  // namespace attune
