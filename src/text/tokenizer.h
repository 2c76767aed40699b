// Text to token ids and back: the pipeline of Hugging Face's tokenizer.json (normalizer, pre-tokenizer, model,
// post-processor, decoder, added tokens), built from that file or from a GGUF file's tokenizer metadata.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace attune {

// Immutable after construction and safe to use from several threads.
class Tokenizer {
 public:
  virtual ~Tokenizer() = default;

  // `text` must be UTF-8; invalid bytes are replaced as the tokenizers library's Python binding would see them
  // (U+FFFD). add_special_tokens: what the post-processor adds (BOS, ...).
  virtual std::vector<int32_t> Encode(std::string_view text, bool add_special_tokens) const = 0;

  // An id that the vocabulary does not have is no text, as in the tokenizers library.
  virtual std::string Decode(std::span<const int32_t> ids, bool skip_special_tokens) const = 0;

  virtual std::optional<int32_t> TokenToId(std::string_view token) const = 0;
  virtual std::string IdToToken(int32_t id) const = 0;  // "" when there is no such id
  virtual bool IsSpecial(int32_t id) const = 0;
  virtual int32_t VocabularySize() const = 0;  // highest id + 1, added tokens included
};

}  // namespace attune
