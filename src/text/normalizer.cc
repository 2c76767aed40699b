#include "text/normalizer.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "base/error.h"
#include "text/byte_level.h"

namespace attune {
namespace {

// A normalizer that maps the text piece by piece: what comes of the bytes at the origin is at the origin.
class MappingNormalizer : public Normalizer {
 public:
  void Apply(NormalizedText* text) const override {
    if (text->at_origin != 0) {
      text->at_origin = Map(std::string_view(text->text).substr(0, text->at_origin)).size();
    }
    text->text = Map(text->text);
  }

 protected:
  virtual std::string Map(std::string_view text) const = 0;
};

class Unicode : public MappingNormalizer {
 public:
  explicit Unicode(NormalForm form) : form_(form) {}
  std::string Map(std::string_view text) const override { return NormalizeUnicode(text, form_); }

 private:
  NormalForm form_;
};

class Lowercase : public MappingNormalizer {
  std::string Map(std::string_view text) const override { return LowercaseUnicode(text); }
};

class ByteLevelMapping : public MappingNormalizer {
  std::string Map(std::string_view text) const override {
    std::string out;
    AppendByteLevel(text, &out);
    return out;
  }
};

// Each code point becomes another one or disappears.
class CodePoints : public MappingNormalizer {
 public:
  using Function = std::optional<char32_t> (*)(char32_t);
  explicit CodePoints(Function function) : function_(function) {}
  std::string Map(std::string_view text) const override {
    std::string out;
    out.reserve(text.size());
    for (size_t at = 0; at < text.size();) {
      if (const auto mapped = function_(NextCodePoint(text, &at))) AppendUtf8(*mapped, &out);
    }
    return out;
  }

 private:
  Function function_;
};

std::optional<char32_t> DropMark(char32_t c) { return IsMark(c) ? std::nullopt : std::optional(c); }
std::optional<char32_t> DropNonSpacingMark(char32_t c) { return IsNonSpacingMark(c) ? std::nullopt : std::optional(c); }

// SentencePiece's nmt rule set without its compatibility mappings.
std::optional<char32_t> Nmt(char32_t c) {
  const bool dropped =
      (c >= 0x01 && c <= 0x08) || c == 0x0B || (c >= 0x0E && c <= 0x1F) || c == 0x7F || c == 0x8F || c == 0x9F;
  if (dropped) return std::nullopt;
  const bool space = c == 0x09 || c == 0x0A || c == 0x0C || c == 0x0D || c == 0x1680 || (c >= 0x200B && c <= 0x200F) ||
                     c == 0x2028 || c == 0x2029 || c == 0x2581 || c == 0xFEFF || c == 0xFFFD;
  return space ? U' ' : c;
}

// BERT's text cleaning.
std::optional<char32_t> CleanText(char32_t c) {
  if (c == '\t' || c == '\n' || c == '\r') return U' ';
  if (c == 0 || c == 0xFFFD || IsOther(c)) return std::nullopt;
  return IsWhitespace(c) ? U' ' : c;
}

bool IsChinese(char32_t c) {
  return (c >= 0x4E00 && c <= 0x9FFF) || (c >= 0x3400 && c <= 0x4DBF) || (c >= 0x20000 && c <= 0x2A6DF) ||
         (c >= 0x2A700 && c <= 0x2B73F) || (c >= 0x2B740 && c <= 0x2B81F) || (c >= 0x2B920 && c <= 0x2CEAF) ||
         (c >= 0xF900 && c <= 0xFAFF) || (c >= 0x2F800 && c <= 0x2FA1F);
}

class SpaceChinese : public MappingNormalizer {
  std::string Map(std::string_view text) const override {
    std::string out;
    for (size_t at = 0; at < text.size();) {
      const char32_t c = NextCodePoint(text, &at);
      if (IsChinese(c)) out += ' ';
      AppendUtf8(c, &out);
      if (IsChinese(c)) out += ' ';
    }
    return out;
  }
};

class StripEnds : public Normalizer {
 public:
  StripEnds(bool left, bool right) : left_(left), right_(right) {}
  void Apply(NormalizedText* text) const override {
    std::string& t = text->text;
    size_t begin = 0, end = t.size();
    while (left_ && begin < end) {
      size_t next = begin;
      if (!IsWhitespace(NextCodePoint(t, &next))) break;
      begin = next;
    }
    while (right_ && end > begin) {
      size_t last = PreviousCodePoint(t, end), at = last;
      if (!IsWhitespace(NextCodePoint(t, &at))) break;
      end = last;
    }
    text->at_origin -= std::min(text->at_origin, begin);
    t = t.substr(begin, end - begin);
  }

 private:
  bool left_, right_;
};

class Prepend : public Normalizer {
 public:
  explicit Prepend(std::string prefix) : prefix_(std::move(prefix)) {}
  void Apply(NormalizedText* text) const override {
    if (text->text.empty()) return;
    text->text.insert(0, prefix_);
    if (text->at_origin != 0) text->at_origin += prefix_.size();
  }

 private:
  std::string prefix_;
};

class ReplacePattern : public Normalizer {
 public:
  ReplacePattern(Regex pattern, std::string content) : pattern_(std::move(pattern)), content_(std::move(content)) {}
  void Apply(NormalizedText* text) const override {
    const std::string_view t = text->text;
    std::string out;
    size_t at_origin = 0;
    for (const TextMatch& match : pattern_.FindAll(t)) {
      const auto [begin, end] = match.range;
      // What replaces a match belongs to its last byte.
      if (match.is_match) {
        out += content_;
        if (end <= text->at_origin) at_origin = out.size();
      } else {
        out += t.substr(begin, end - begin);
        if (begin < text->at_origin) at_origin = out.size() - (end - std::min(end, text->at_origin));
      }
      CheckGrownBytes(out.size(), text->max_bytes);
    }
    text->text = std::move(out);
    text->at_origin = at_origin;
  }

 private:
  Regex pattern_;
  std::string content_;
};

class NormalizerSequence : public Normalizer {
 public:
  explicit NormalizerSequence(std::vector<std::unique_ptr<Normalizer>> parts) : parts_(std::move(parts)) {}
  void Apply(NormalizedText* text) const override {
    for (const auto& part : parts_) {
      part->Apply(text);
      CheckGrownBytes(text->text.size(), text->max_bytes);
    }
  }

 private:
  std::vector<std::unique_ptr<Normalizer>> parts_;
};

}  // namespace

std::unique_ptr<Normalizer> UnicodeNormalizer(NormalForm form) { return std::make_unique<Unicode>(form); }
std::unique_ptr<Normalizer> LowercaseNormalizer() { return std::make_unique<Lowercase>(); }
std::unique_ptr<Normalizer> StripNormalizer(bool left, bool right) { return std::make_unique<StripEnds>(left, right); }
std::unique_ptr<Normalizer> StripAccentsNormalizer() { return std::make_unique<CodePoints>(DropMark); }
std::unique_ptr<Normalizer> NmtNormalizer() { return std::make_unique<CodePoints>(Nmt); }
std::unique_ptr<Normalizer> PrependNormalizer(std::string prefix) {
  return std::make_unique<Prepend>(std::move(prefix));
}
std::unique_ptr<Normalizer> ReplaceNormalizer(Regex pattern, std::string content) {
  return std::make_unique<ReplacePattern>(std::move(pattern), std::move(content));
}
std::unique_ptr<Normalizer> ByteLevelNormalizer() { return std::make_unique<ByteLevelMapping>(); }

std::unique_ptr<Normalizer> BertNormalizer(bool clean_text, bool handle_chinese_chars, bool strip_accents,
                                           bool lowercase) {
  std::vector<std::unique_ptr<Normalizer>> parts;
  if (clean_text) parts.push_back(std::make_unique<CodePoints>(CleanText));
  if (handle_chinese_chars) parts.push_back(std::make_unique<SpaceChinese>());
  if (strip_accents) {
    parts.push_back(UnicodeNormalizer(NormalForm::kNfd));
    parts.push_back(std::make_unique<CodePoints>(DropNonSpacingMark));
  }
  if (lowercase) parts.push_back(LowercaseNormalizer());
  return SequenceNormalizer(std::move(parts));
}

std::unique_ptr<Normalizer> SequenceNormalizer(std::vector<std::unique_ptr<Normalizer>> parts) {
  return std::make_unique<NormalizerSequence>(std::move(parts));
}

void CheckGrownBytes(size_t bytes, size_t max_bytes) {
  if (bytes > max_bytes) {
    BadInput("the tokenizer's rules blow a text up to more than {} bytes; its tokenizer.json cannot be right",
             max_bytes);
  }
}

std::string ReplaceMatches(std::string_view text, const Regex& pattern, std::string_view content, size_t max_bytes) {
  std::string out;
  for (const auto& [range, is_match] : pattern.FindAll(text)) {
    out += is_match ? content : text.substr(range.begin, range.end - range.begin);
    CheckGrownBytes(out.size(), max_bytes);
  }
  return out;
}

}  // namespace attune
