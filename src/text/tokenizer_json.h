// Tokenizers from Hugging Face's tokenizer.json (tokenizers 0.23).
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "text/tokenizer.h"

namespace attune {

// `where` names the file in errors. Truncation and padding settings in the file are not applied.
// Errors: Error{kBadInput} naming the key: not JSON, wrong types, merges of unknown tokens, ids that are
// negative, huge or used twice, and parts that are not supported (Precompiled, CTC, UnicodeScripts, dropout
// ...), by name.
std::unique_ptr<Tokenizer> TokenizerFromJson(std::string_view json, const std::string& where);

}  // namespace attune
