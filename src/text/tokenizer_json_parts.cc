// Normalizers, pre-tokenizers, post-processors and decoders of a tokenizer.json. The models are in
// tokenizer_json_models.cc.

#include "text/tokenizer_json_parts.h"

#include <array>
#include <utility>

#include "base/error.h"
#include "text/unicode.h"

namespace attune {
namespace {

[[noreturn]] void RefuseType(const JsonField& field, std::string_view what, std::string_view known) {
  field.At("type").Bad(
      fmt::format("is '{}', which is not a supported {} (supported: {})", field.At("type").String(), what, known));
}

// Sequence: the parts under `key`.
template <class Part, class Read>
std::vector<std::unique_ptr<Part>> ReadParts(const JsonField& field, std::string_view key, const Read& read) {
  std::vector<std::unique_ptr<Part>> parts;
  for (const JsonField& part : field.At(key).Items()) parts.push_back(read(part));
  return parts;
}

// {"String": "..."} or {"Regex": "..."}.
Regex ReadPattern(const JsonField& field) {
  if (const auto text = field.Find("String")) return Regex::Literal(text->String(), text->Place());
  if (const auto regex = field.Find("Regex")) return Regex(regex->String(), regex->Place());
  field.Bad("must hold 'String' or 'Regex'");
}

std::string ReadCodePoint(const JsonField& field) {
  const std::string_view text = field.String();
  if (text.empty() || Utf8Length(text[0]) != text.size()) field.Bad("must be one character");
  return std::string(text);
}

SplitBehavior ReadBehavior(const JsonField& field) {
  constexpr std::array<std::pair<std::string_view, SplitBehavior>, 5> kNames = {
      {{"Removed", SplitBehavior::kRemoved},
       {"Isolated", SplitBehavior::kIsolated},
       {"MergedWithPrevious", SplitBehavior::kMergedWithPrevious},
       {"MergedWithNext", SplitBehavior::kMergedWithNext},
       {"Contiguous", SplitBehavior::kContiguous}}};
  for (const auto& [name, behavior] : kNames) {
    if (field.String() == name) return behavior;
  }
  field.Bad("must be Removed, Isolated, MergedWithPrevious, MergedWithNext or Contiguous");
}

struct MetaspaceSettings {
  std::string replacement;
  PrependScheme scheme = PrependScheme::kAlways;
  bool split = true;
};

MetaspaceSettings ReadMetaspace(const JsonField& field) {
  MetaspaceSettings settings;
  settings.replacement = ReadCodePoint(field.At("replacement"));
  if (const auto scheme = field.Find("prepend_scheme")) {
    const std::string_view name = scheme->String();
    if (name != "always" && name != "first" && name != "never") scheme->Bad("must be always, first or never");
    settings.scheme = name == "always"  ? PrependScheme::kAlways
                      : name == "first" ? PrependScheme::kFirst
                                        : PrependScheme::kNever;
  }
  if (!field.BoolOr("add_prefix_space", true)) {  // the older key
    if (field.Find("prepend_scheme") && settings.scheme != PrependScheme::kNever) {
      field.Bad("has add_prefix_space false beside a prepend_scheme that is not never");
    }
    settings.scheme = PrependScheme::kNever;
  }
  settings.split = field.BoolOr("split", true);
  return settings;
}

int32_t ReadTokenId(const JsonField& field) { return static_cast<int32_t>(field.Integer(0, kMaxTokenId - 1)); }

std::vector<std::optional<int32_t>> ReadTemplate(const JsonField& field) {
  constexpr size_t kMost = 1024;  // what every text is made longer by: a small file must not ask for all memory
  std::vector<std::optional<int32_t>> steps;
  for (const JsonField& piece : field.At("single").Items()) {
    if (const auto sequence = piece.Find("Sequence")) {
      if (sequence->At("id").String() != "A") sequence->Bad("names a second text in the template for one text");
      steps.push_back(std::nullopt);
    } else if (const auto special = piece.Find("SpecialToken")) {
      const JsonField token = field.At("special_tokens").At(special->At("id").String());
      for (const JsonField& id : token.At("ids").Items()) steps.push_back(ReadTokenId(id));
    } else {
      piece.Bad("must hold 'Sequence' or 'SpecialToken'");
    }
    if (steps.size() > kMost) piece.Bad("adds to a text what makes more than 1024 pieces");
  }
  return steps;
}

// ["[SEP]", 102]
int32_t ReadTokenPair(const JsonField& field) {
  const std::vector<JsonField> pair = field.Items();
  if (pair.size() != 2) field.Bad("must be a token and its id");
  return ReadTokenId(pair[1]);
}

}  // namespace

std::unique_ptr<Normalizer> ReadNormalizer(const JsonField& field) {
  const std::string_view type = field.At("type").String();
  if (type == "NFC") return UnicodeNormalizer(NormalForm::kNfc);
  if (type == "NFD") return UnicodeNormalizer(NormalForm::kNfd);
  if (type == "NFKC") return UnicodeNormalizer(NormalForm::kNfkc);
  if (type == "NFKD") return UnicodeNormalizer(NormalForm::kNfkd);
  if (type == "Lowercase") return LowercaseNormalizer();
  if (type == "StripAccents") return StripAccentsNormalizer();
  if (type == "Nmt") return NmtNormalizer();
  if (type == "ByteLevel") return ByteLevelNormalizer();
  if (type == "Strip") return StripNormalizer(field.At("strip_left").Bool(), field.At("strip_right").Bool());
  if (type == "Prepend") return PrependNormalizer(std::string(field.At("prepend").String()));
  if (type == "Replace") {
    return ReplaceNormalizer(ReadPattern(field.At("pattern")), std::string(field.At("content").String()));
  }
  if (type == "BertNormalizer") {
    const bool lowercase = field.BoolOr("lowercase", true);
    return BertNormalizer(field.BoolOr("clean_text", true), field.BoolOr("handle_chinese_chars", true),
                          field.BoolOr("strip_accents", lowercase), lowercase);
  }
  if (type == "Sequence") return SequenceNormalizer(ReadParts<Normalizer>(field, "normalizers", ReadNormalizer));
  RefuseType(field, "normalizer",
             "NFC, NFD, NFKC, NFKD, Lowercase, Strip, StripAccents, Nmt, Prepend, Replace, ByteLevel, "
             "BertNormalizer, "
             "Sequence");
}

std::unique_ptr<PreTokenizer> ReadPreTokenizer(const JsonField& field) {
  const std::string_view type = field.At("type").String();
  if (type == "ByteLevel") {
    return ByteLevelPreTokenizer(field.BoolOr("add_prefix_space", true), field.BoolOr("use_regex", true));
  }
  if (type == "Split") {
    return SplitPreTokenizer(ReadPattern(field.At("pattern")), ReadBehavior(field.At("behavior")),
                             field.BoolOr("invert", false));
  }
  if (type == "Digits") return DigitsPreTokenizer(field.BoolOr("individual_digits", false));
  if (type == "Metaspace") {
    MetaspaceSettings settings = ReadMetaspace(field);
    return MetaspacePreTokenizer(std::move(settings.replacement), settings.scheme, settings.split);
  }
  if (type == "Punctuation") {
    const auto behavior = field.Find("behavior");
    return PunctuationPreTokenizer(behavior ? ReadBehavior(*behavior) : SplitBehavior::kIsolated);
  }
  if (type == "CharDelimiterSplit") {
    const JsonField delimiter = field.At("delimiter");
    return SplitPreTokenizer(Regex::Literal(ReadCodePoint(delimiter), delimiter.Place()), SplitBehavior::kRemoved,
                             false);
  }
  if (type == "Whitespace") return WhitespacePreTokenizer();
  if (type == "WhitespaceSplit") return WhitespaceSplitPreTokenizer();
  if (type == "BertPreTokenizer") return BertPreTokenizer();
  if (type == "Sequence") {
    return SequencePreTokenizer(ReadParts<PreTokenizer>(field, "pretokenizers", ReadPreTokenizer));
  }
  RefuseType(field, "pre-tokenizer",
             "ByteLevel, Split, Digits, Metaspace, Punctuation, CharDelimiterSplit, Whitespace, WhitespaceSplit, "
             "BertPreTokenizer, Sequence");
}

std::unique_ptr<Decoder> ReadDecoder(const JsonField& field) {
  const std::string_view type = field.At("type").String();
  if (type == "ByteLevel") return ByteLevelDecoder();
  if (type == "ByteFallback") return ByteFallbackDecoder();
  if (type == "Fuse") return FuseDecoder();
  if (type == "Strip") {
    constexpr int64_t kMost = INT32_MAX;
    return StripDecoder(ReadCodePoint(field.At("content")), field.At("start").Integer(0, kMost),
                        field.At("stop").Integer(0, kMost));
  }
  if (type == "Replace") {
    return ReplaceDecoder(ReadPattern(field.At("pattern")), std::string(field.At("content").String()));
  }
  if (type == "Metaspace") {
    MetaspaceSettings settings = ReadMetaspace(field);
    return MetaspaceDecoder(std::move(settings.replacement), settings.scheme);
  }
  if (type == "WordPiece") {
    const auto prefix = field.Find("prefix");
    return WordPieceDecoder(std::string(prefix ? prefix->String() : "##"), field.BoolOr("cleanup", true));
  }
  if (type == "BPEDecoder") {
    const auto suffix = field.Find("suffix");
    return BpeDecoder(std::string(suffix ? suffix->String() : "</w>"));
  }
  if (type == "Sequence") return SequenceDecoder(ReadParts<Decoder>(field, "decoders", ReadDecoder));
  RefuseType(field, "decoder",
             "ByteLevel, ByteFallback, Fuse, Strip, Replace, Metaspace, WordPiece, BPEDecoder, Sequence");
}

std::vector<std::optional<int32_t>> ReadPostProcessor(const JsonField& field) {
  const std::string_view type = field.At("type").String();
  if (type == "ByteLevel") return {std::nullopt};  // changes offsets only
  if (type == "TemplateProcessing") return ReadTemplate(field);
  if (type == "BertProcessing" || type == "RobertaProcessing") {
    return {ReadTokenPair(field.At("cls")), std::nullopt, ReadTokenPair(field.At("sep"))};
  }
  if (type == "Sequence") {
    std::vector<std::optional<int32_t>> steps = {std::nullopt};
    bool adds = false;
    for (const JsonField& part : field.At("processors").Items()) {
      if (part.At("type").String() == "ByteLevel") continue;
      if (std::exchange(adds, true)) part.Bad("is a second processor that adds tokens, which is not supported");
      steps = ReadPostProcessor(part);
    }
    return steps;
  }
  RefuseType(field, "post-processor", "ByteLevel, TemplateProcessing, BertProcessing, RobertaProcessing, Sequence");
}

}  // namespace attune
