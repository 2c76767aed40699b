#include "text/pre_tokenizer.h"

#include <algorithm>
#include <utility>

#include "text/byte_level.h"
#include "text/unicode.h"

namespace attune {
namespace {

constexpr std::string_view kGpt2Pattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

// The ranges that are left once the delimiters are dealt with. Matches cover a piece from end to end.
std::vector<TextRange> Split(const std::vector<TextMatch>& matches, SplitBehavior behavior) {
  std::vector<TextRange> out;
  bool previous = false;
  switch (behavior) {
    case SplitBehavior::kRemoved:
      for (const TextMatch& m : matches) {
        if (!m.is_match) out.push_back(m.range);
      }
      break;
    case SplitBehavior::kIsolated:
      for (const TextMatch& m : matches) out.push_back(m.range);
      break;
    case SplitBehavior::kContiguous:
    case SplitBehavior::kMergedWithPrevious:
      for (const TextMatch& m : matches) {
        const bool join = behavior == SplitBehavior::kContiguous ? m.is_match == previous : m.is_match && !previous;
        if (join && !out.empty()) {
          out.back().end = m.range.end;
        } else {
          out.push_back(m.range);
        }
        previous = m.is_match;
      }
      break;
    case SplitBehavior::kMergedWithNext:
      for (auto m = matches.rbegin(); m != matches.rend(); ++m) {
        if (m->is_match && !previous && !out.empty()) {
          out.back().begin = m->range.begin;
        } else {
          out.push_back(m->range);
        }
        previous = m->is_match;
      }
      std::reverse(out.begin(), out.end());
  }
  return out;
}

// Cuts every piece by what `find` returns for its text; ranges are relative to the piece.
template <class Find>
void CutPieces(Pieces* pieces, SplitBehavior behavior, const Find& find) {
  std::vector<Pieces::Piece> out;
  out.reserve(pieces->pieces.size());
  for (const Pieces::Piece& piece : pieces->pieces) {
    for (const auto [begin, end] : Split(find(pieces->View(piece)), behavior)) {
      if (begin == end) continue;
      const size_t at_origin = std::min(piece.at_origin - std::min(piece.at_origin, begin), end - begin);
      out.push_back({{piece.range.begin + begin, piece.range.begin + end}, at_origin});
    }
  }
  pieces->pieces = std::move(out);
}

// Every code point that `is_delimiter` holds for is a match of its own.
template <class Predicate>
std::vector<TextMatch> MatchCodePoints(std::string_view text, const Predicate& is_delimiter) {
  std::vector<TextMatch> out;
  size_t covered = 0;
  for (size_t at = 0; at < text.size();) {
    const size_t begin = at;
    if (!is_delimiter(NextCodePoint(text, &at))) continue;
    if (covered < begin) out.push_back({{covered, begin}, false});
    out.push_back({{begin, at}, true});
    covered = at;
  }
  if (covered < text.size()) out.push_back({{covered, text.size()}, false});
  return out;
}

class SplitByPattern : public PreTokenizer {
 public:
  SplitByPattern(Regex pattern, SplitBehavior behavior, bool invert)
      : pattern_(std::move(pattern)), behavior_(behavior), invert_(invert) {}
  void Apply(Pieces* pieces) const override {
    CutPieces(pieces, behavior_, [this](std::string_view text) {
      std::vector<TextMatch> matches = pattern_.FindAll(text);
      for (TextMatch& m : matches) m.is_match ^= invert_;
      return matches;
    });
  }

 private:
  Regex pattern_;
  SplitBehavior behavior_;
  bool invert_;
};

class SplitByCodePoint : public PreTokenizer {
 public:
  SplitByCodePoint(bool (*is_delimiter)(char32_t), SplitBehavior behavior)
      : is_delimiter_(is_delimiter), behavior_(behavior) {}
  void Apply(Pieces* pieces) const override {
    CutPieces(pieces, behavior_, [this](std::string_view text) { return MatchCodePoints(text, is_delimiter_); });
  }

 private:
  bool (*is_delimiter_)(char32_t);
  SplitBehavior behavior_;
};

// Rewrites each piece's text: `map(text, piece, out)` appends to `out` and returns how many of the bytes it
// put in front of the piece's own.
template <class Map>
void RewritePieces(Pieces* pieces, const Map& map) {
  std::string out;
  out.reserve(pieces->text.size() + pieces->text.size() / 8);
  for (Pieces::Piece& piece : pieces->pieces) {
    const size_t begin = out.size();
    const std::string_view text = pieces->View(piece);
    const size_t head = std::min(piece.at_origin, text.size());  // both parts are mapped alike
    map(text.substr(0, head), &out, piece, true);
    const size_t at_origin = out.size() - begin;
    map(text.substr(head), &out, piece, head == 0);
    piece = {{begin, out.size()}, head == 0 ? 0 : at_origin};
    CheckGrownBytes(out.size(), pieces->max_bytes);
  }
  pieces->text = std::move(out);
}

class SplitByMetaspace : public PreTokenizer {
 public:
  SplitByMetaspace(std::string replacement, PrependScheme scheme, bool split)
      : replacement_(std::move(replacement)), scheme_(scheme), split_(split) {
    size_t at = 0;
    code_point_ = NextCodePoint(replacement_, &at);
  }
  void Apply(Pieces* pieces) const override {
    RewritePieces(pieces, [this](std::string_view text, std::string* out, const Pieces::Piece& piece, bool is_start) {
      const bool wanted =
          scheme_ == PrependScheme::kAlways || (scheme_ == PrependScheme::kFirst && piece.at_origin != 0);
      if (is_start && wanted && !text.empty() && text[0] != ' ' && !text.starts_with(replacement_))
        *out += replacement_;
      for (const char c : text) {
        if (c == ' ') {
          *out += replacement_;
        } else {
          *out += c;
        }
      }
    });
    if (!split_) return;
    CutPieces(pieces, SplitBehavior::kMergedWithNext, [this](std::string_view text) {
      return MatchCodePoints(text, [this](char32_t c) { return c == code_point_; });
    });
  }

 private:
  std::string replacement_;
  char32_t code_point_;
  PrependScheme scheme_;
  bool split_;
};

class SplitByByteLevel : public PreTokenizer {
 public:
  SplitByByteLevel(bool add_prefix_space, bool use_regex) : add_prefix_space_(add_prefix_space) {
    if (use_regex) pattern_.emplace(kGpt2Pattern, "ByteLevel");
  }
  void Apply(Pieces* pieces) const override {
    if (add_prefix_space_) {
      RewritePieces(pieces, [](std::string_view text, std::string* out, const Pieces::Piece&, bool is_start) {
        if (is_start && !text.empty() && text[0] != ' ') *out += ' ';
        *out += text;
      });
    }
    if (pattern_) {
      CutPieces(pieces, SplitBehavior::kIsolated, [this](std::string_view text) { return pattern_->FindAll(text); });
    }
    RewritePieces(pieces, [](std::string_view text, std::string* out, const Pieces::Piece&, bool) {
      AppendByteLevel(text, out);
    });
  }

 private:
  bool add_prefix_space_;
  std::optional<Regex> pattern_;
};

class PreTokenizerSequence : public PreTokenizer {
 public:
  explicit PreTokenizerSequence(std::vector<std::unique_ptr<PreTokenizer>> parts) : parts_(std::move(parts)) {}
  void Apply(Pieces* pieces) const override {
    for (const auto& part : parts_) part->Apply(pieces);
  }

 private:
  std::vector<std::unique_ptr<PreTokenizer>> parts_;
};

}  // namespace

Pieces::Pieces(NormalizedText whole) : text(std::move(whole.text)), max_bytes(whole.max_bytes) {
  if (!text.empty()) pieces.push_back({{0, text.size()}, whole.at_origin});
}

std::unique_ptr<PreTokenizer> SplitPreTokenizer(Regex pattern, SplitBehavior behavior, bool invert) {
  return std::make_unique<SplitByPattern>(std::move(pattern), behavior, invert);
}

std::unique_ptr<PreTokenizer> DigitsPreTokenizer(bool individual_digits) {
  return std::make_unique<SplitByCodePoint>(IsNumeric,
                                            individual_digits ? SplitBehavior::kIsolated : SplitBehavior::kContiguous);
}

std::unique_ptr<PreTokenizer> PunctuationPreTokenizer(SplitBehavior behavior) {
  return std::make_unique<SplitByCodePoint>(IsPunctuation, behavior);
}

std::unique_ptr<PreTokenizer> WhitespacePreTokenizer() {
  // \w as Rust's regex crate has it.
  constexpr std::string_view kPattern = R"([\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\x{200C}\x{200D}]+)"
                                        R"(|[^\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\x{200C}\x{200D}\s]+)";
  return SplitPreTokenizer(Regex(kPattern, "Whitespace"), SplitBehavior::kRemoved, true);
}

std::unique_ptr<PreTokenizer> WhitespaceSplitPreTokenizer() {
  return std::make_unique<SplitByCodePoint>(IsWhitespace, SplitBehavior::kRemoved);
}

std::unique_ptr<PreTokenizer> BertPreTokenizer() {
  std::vector<std::unique_ptr<PreTokenizer>> parts;
  parts.push_back(WhitespaceSplitPreTokenizer());
  parts.push_back(PunctuationPreTokenizer(SplitBehavior::kIsolated));
  return SequencePreTokenizer(std::move(parts));
}

std::unique_ptr<PreTokenizer> MetaspacePreTokenizer(std::string replacement, PrependScheme scheme, bool split) {
  return std::make_unique<SplitByMetaspace>(std::move(replacement), scheme, split);
}

std::unique_ptr<PreTokenizer> ByteLevelPreTokenizer(bool add_prefix_space, bool use_regex) {
  return std::make_unique<SplitByByteLevel>(add_prefix_space, use_regex);
}

std::unique_ptr<PreTokenizer> SequencePreTokenizer(std::vector<std::unique_ptr<PreTokenizer>> parts) {
  return std::make_unique<PreTokenizerSequence>(std::move(parts));
}

}  // namespace attune
