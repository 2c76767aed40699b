// Decoders of tokenizer.json: from the texts of tokens back to text.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "text/pre_tokenizer.h"
#include "text/regex.h"

namespace attune {

// Immutable and safe to use from several threads. `max_bytes` bounds what the tokens together may grow to.
class Decoder {
 public:
  virtual ~Decoder() = default;
  // Rewrites the list of token texts; the decoded text is their join.
  // Errors: Error{kBadInput} when they outgrow max_bytes or a pattern gives up.
  virtual void Apply(std::vector<std::string>* tokens, size_t max_bytes) const = 0;
};

std::unique_ptr<Decoder> ByteLevelDecoder();     // GPT-2's characters to bytes; invalid UTF-8 becomes U+FFFD
std::unique_ptr<Decoder> ByteFallbackDecoder();  // runs of <0xHH>; an invalid run becomes one U+FFFD a byte
std::unique_ptr<Decoder> FuseDecoder();          // all in one
std::unique_ptr<Decoder> StripDecoder(std::string content, size_t start, size_t stop);  // from each token
std::unique_ptr<Decoder> ReplaceDecoder(Regex pattern, std::string content);
std::unique_ptr<Decoder> MetaspaceDecoder(std::string replacement, PrependScheme scheme);
std::unique_ptr<Decoder> WordPieceDecoder(std::string prefix, bool cleanup);
std::unique_ptr<Decoder> BpeDecoder(std::string suffix);  // end-of-word suffix to a space, none at the end
std::unique_ptr<Decoder> SequenceDecoder(std::vector<std::unique_ptr<Decoder>> parts);

}  // namespace attune
