// The parts of a tokenizer.json, from their JSON. Internal to text/.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "text/decoder.h"
#include "text/json_field.h"
#include "text/normalizer.h"
#include "text/pre_tokenizer.h"
#include "text/token_model.h"

namespace attune {

// Errors of all: Error{kBadInput} naming the file and the key.
std::unique_ptr<Normalizer> ReadNormalizer(const JsonField& field);
std::unique_ptr<PreTokenizer> ReadPreTokenizer(const JsonField& field);
std::unique_ptr<Decoder> ReadDecoder(const JsonField& field);
std::unique_ptr<TokenModel> ReadTokenModel(const JsonField& field);
std::vector<std::optional<int32_t>> ReadPostProcessor(const JsonField& field);  // as TokenizerParts has it

}  // namespace attune
