// Trains a tokenizer on raw text with SentencePiece, and writes it as the files that transformers and attune
// load. Text is not normalised, so that every text but one with U+2581 (SentencePiece's sign for a space)
// decodes to itself.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace attune {

enum class SubwordModel { kBpe, kUnigram };

struct TokenizerSettings {
  SubwordModel model = SubwordModel::kBpe;
  int64_t vocab_size = 0;  // everything counted: special tokens, the 256 bytes, characters, pieces
  // Beside <unk>, <s>, the token that ends a text, and <pad>, which have the ids 0 to 3; these follow.
  std::vector<std::string> special_tokens;
  std::string eos_token = "</s>";
  std::string chat_template;           // Jinja; "" for none
  double character_coverage = 0.9995;  // this share of the text's characters get tokens of their own, the rest bytes
  bool split_digits = true;            // no token of several digits
  bool add_dummy_prefix = true;        // a space before the first word, and before text behind a special token
  double sample_fraction = 1;          // of the texts, drawn one by one by `seed`
  uint64_t seed = 42;
};

// ChatML: <|im_start|>ROLE\nCONTENT<|im_end|>. Sets the template, makes <|im_end|> the token that ends a text
// (so that it ends an answer too) and adds <|im_start|>.
void UseChatMl(TokenizerSettings* settings);

// The next text to learn from (a document, a line), UTF-8; nullopt at the end. The view holds until the next
// call. May throw; training ends with that error.
using NextText = std::function<std::optional<std::string_view>()>;

struct TrainedTokenizer {
  TokenizerSettings settings;
  std::string model_file;  // SentencePiece's own format
  int64_t texts = 0;       // read, those not drawn included
};

// The result depends on texts and settings alone. Takes memory of up to 25 times the drawn texts.
// Errors: Error{kBadInput} for settings that cannot be, no text, and a
// vocab_size that the text cannot give (naming the limit, where SentencePiece tells it); what `next` throws.
TrainedTokenizer TrainTokenizer(TokenizerSettings settings, const NextText& next);

// tokenizer.json, tokenizer_config.json, special_tokens_map.json and tokenizer.model in `folder`, which
// exists. All of them give the same ids, except for text that spells a special token: tokenizer.json gives
// that token's id, and tokenizer.model the ids of its letters. Errors: Error{kFailed} when a file cannot be
// written.
void WriteTrainedTokenizer(const TrainedTokenizer& trained, const std::string& folder);

// Whether item number `index` is drawn when `fraction` of all items are: a function of its arguments alone.
bool IsDrawn(uint64_t seed, uint64_t index, double fraction);

}  // namespace attune
