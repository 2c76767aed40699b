// A GGUF file's tokenizer as the files that Hugging Face's transformers loads, so that a model trained from a
// GGUF file can leave for a folder of safetensors.
#pragma once

#include <string>

#include "formats/gguf.h"
#include "text/tokenizer_gguf.h"

namespace attune {

// Writes tokenizer.json, tokenizer_config.json and special_tokens_map.json into `folder`, which exists. The
// tokenizer they describe gives the ids that TokenizerFromGguf gives. Errors: Error{kBadInput} as
// TokenizerFromGguf, and for what tokenizer.json has no way to say: one text with two ids, and in a "llama"
// tokenizer two joined tokens with one score. Error{kFailed} when a file cannot be written.
void WriteTokenizerFiles(const GgufFile& file, const std::string& folder);

// The tokenizer.json alone, of tables that are known to be sound. Beside "gpt2" and "llama", `model` may be "t5":
// a SentencePiece unigram model whose text is not normalised.
void WriteTokenizerJson(const GgufVocabulary& vocabulary, const std::string& path);

}  // namespace attune
