#include "text/decoder.h"

#include <array>
#include <charconv>
#include <optional>
#include <utility>

#include "text/byte_level.h"
#include "text/unicode.h"

namespace attune {
namespace {

void ReplaceAll(std::string* text, std::string_view from, std::string_view to) {
  if (from.empty()) return;
  std::string out;
  size_t at = 0;
  for (size_t found; (found = text->find(from, at)) != std::string::npos; at = found + from.size()) {
    out.append(*text, at, found - at);
    out += to;
  }
  if (at == 0) return;
  out.append(*text, at);
  *text = std::move(out);
}

class FromByteLevel : public Decoder {
  void Apply(std::vector<std::string>* tokens, size_t /*max_bytes*/) const override {
    std::string bytes;
    for (const std::string& token : *tokens) {
      const size_t before = bytes.size();
      for (size_t at = 0; at < token.size();) {
        const std::optional<char> byte = ByteLevelByte(NextCodePoint(token, &at));
        if (!byte) {  // not written in those characters at all, as added tokens may be
          bytes.resize(before);
          bytes += token;
          break;
        }
        bytes += *byte;
      }
    }
    *tokens = {ReplaceInvalidUtf8(bytes)};
  }
};

class FromByteFallback : public Decoder {
  static std::optional<char> Byte(std::string_view token) {
    if (token.size() != 6 || !token.starts_with("<0x") || !token.ends_with('>')) return std::nullopt;
    const char* const begin = token.data() + (token[3] == '+' ? 4 : 3);  // Rust's from_str_radix reads a sign
    const char* const end = token.data() + 5;
    unsigned value = 0;
    const auto [stop, error] = std::from_chars(begin, end, value, 16);
    if (error != std::errc() || stop != end) return std::nullopt;
    return static_cast<char>(value);
  }

  void Apply(std::vector<std::string>* tokens, size_t /*max_bytes*/) const override {
    std::vector<std::string> out;
    std::string run;
    const auto flush = [&] {
      if (run.empty()) return;
      if (IsValidUtf8(run)) {
        out.push_back(run);
      } else {
        out.insert(out.end(), run.size(), "\xEF\xBF\xBD");
      }
      run.clear();
    };
    for (std::string& token : *tokens) {
      if (const std::optional<char> byte = Byte(token)) {
        run += *byte;
      } else {
        flush();
        out.push_back(std::move(token));
      }
    }
    flush();
    *tokens = std::move(out);
  }
};

class Fused : public Decoder {
  void Apply(std::vector<std::string>* tokens, size_t /*max_bytes*/) const override {
    std::string all;
    for (const std::string& token : *tokens) all += token;
    *tokens = {std::move(all)};
  }
};

class StripContent : public Decoder {
 public:
  StripContent(std::string content, size_t start, size_t stop)
      : content_(std::move(content)), start_(start), stop_(stop) {}
  void Apply(std::vector<std::string>* tokens, size_t /*max_bytes*/) const override {
    for (std::string& token : *tokens) {
      std::string_view rest = token;
      for (size_t i = 0; i < start_ && rest.starts_with(content_); ++i) rest.remove_prefix(content_.size());
      for (size_t i = 0; i < stop_ && rest.ends_with(content_); ++i) rest.remove_suffix(content_.size());
      token = std::string(rest);
    }
  }

 private:
  std::string content_;
  size_t start_, stop_;
};

class ReplaceBack : public Decoder {
 public:
  ReplaceBack(Regex pattern, std::string content) : pattern_(std::move(pattern)), content_(std::move(content)) {}
  void Apply(std::vector<std::string>* tokens, size_t max_bytes) const override {
    size_t bytes = 0;
    for (std::string& token : *tokens) {
      token = ReplaceMatches(token, pattern_, content_, max_bytes);
      CheckGrownBytes(bytes += token.size(), max_bytes);
    }
  }

 private:
  Regex pattern_;
  std::string content_;
};

class FromMetaspace : public Decoder {
 public:
  FromMetaspace(std::string replacement, PrependScheme scheme)
      : replacement_(std::move(replacement)), scheme_(scheme) {}
  void Apply(std::vector<std::string>* tokens, size_t /*max_bytes*/) const override {
    bool first = true;
    for (std::string& token : *tokens) {
      ReplaceAll(&token, replacement_, first && scheme_ != PrependScheme::kNever ? "" : " ");
      first = false;
    }
  }

 private:
  std::string replacement_;
  PrependScheme scheme_;
};

class FromWordPiece : public Decoder {
 public:
  FromWordPiece(std::string prefix, bool cleanup) : prefix_(std::move(prefix)), cleanup_(cleanup) {}
  void Apply(std::vector<std::string>* tokens, size_t /*max_bytes*/) const override {
    constexpr std::array<std::pair<std::string_view, std::string_view>, 11> kCleanup = {{{" .", "."},
                                                                                         {" ?", "?"},
                                                                                         {" !", "!"},
                                                                                         {" ,", ","},
                                                                                         {" ' ", "'"},
                                                                                         {" n't", "n't"},
                                                                                         {" 'm", "'m"},
                                                                                         {" do not", " don't"},
                                                                                         {" 's", "'s"},
                                                                                         {" 've", "'ve"},
                                                                                         {" 're", "'re"}}};
    bool first = true;
    for (std::string& token : *tokens) {
      if (!first) token = token.starts_with(prefix_) ? token.substr(prefix_.size()) : " " + token;
      first = false;
      for (const auto& [from, to] : kCleanup) {
        if (cleanup_) ReplaceAll(&token, from, to);
      }
    }
  }

 private:
  std::string prefix_;
  bool cleanup_;
};

class FromBpe : public Decoder {
 public:
  explicit FromBpe(std::string suffix) : suffix_(std::move(suffix)) {}
  void Apply(std::vector<std::string>* tokens, size_t /*max_bytes*/) const override {
    for (std::string& token : *tokens) ReplaceAll(&token, suffix_, &token == &tokens->back() ? "" : " ");
  }

 private:
  std::string suffix_;
};

class DecoderSequence : public Decoder {
 public:
  explicit DecoderSequence(std::vector<std::unique_ptr<Decoder>> parts) : parts_(std::move(parts)) {}
  void Apply(std::vector<std::string>* tokens, size_t max_bytes) const override {
    for (const auto& part : parts_) part->Apply(tokens, max_bytes);
  }

 private:
  std::vector<std::unique_ptr<Decoder>> parts_;
};

}  // namespace

std::unique_ptr<Decoder> ByteLevelDecoder() { return std::make_unique<FromByteLevel>(); }
std::unique_ptr<Decoder> ByteFallbackDecoder() { return std::make_unique<FromByteFallback>(); }
std::unique_ptr<Decoder> FuseDecoder() { return std::make_unique<Fused>(); }
std::unique_ptr<Decoder> StripDecoder(std::string content, size_t start, size_t stop) {
  return std::make_unique<StripContent>(std::move(content), start, stop);
}
std::unique_ptr<Decoder> ReplaceDecoder(Regex pattern, std::string content) {
  return std::make_unique<ReplaceBack>(std::move(pattern), std::move(content));
}
std::unique_ptr<Decoder> MetaspaceDecoder(std::string replacement, PrependScheme scheme) {
  return std::make_unique<FromMetaspace>(std::move(replacement), scheme);
}
std::unique_ptr<Decoder> WordPieceDecoder(std::string prefix, bool cleanup) {
  return std::make_unique<FromWordPiece>(std::move(prefix), cleanup);
}
std::unique_ptr<Decoder> BpeDecoder(std::string suffix) { return std::make_unique<FromBpe>(std::move(suffix)); }
std::unique_ptr<Decoder> SequenceDecoder(std::vector<std::unique_ptr<Decoder>> parts) {
  return std::make_unique<DecoderSequence>(std::move(parts));
}

}  // namespace attune
