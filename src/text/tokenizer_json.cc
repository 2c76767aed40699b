#include "text/tokenizer_json.h"

#include <simdjson.h>

#include <unordered_map>
#include <utility>
#include <vector>

#include "base/error.h"
#include "text/json_field.h"
#include "text/tokenizer_json_parts.h"
#include "text/tokenizer_pipeline.h"

namespace attune {
namespace {

constexpr size_t kMaxDepth = 64;  // also bounds the recursion of Sequence in Sequence

std::vector<AddedToken> ReadAddedTokens(const JsonField& field) {
  std::vector<AddedToken> tokens;
  std::unordered_map<int64_t, std::string> by_id;
  for (const JsonField& entry : field.Items()) {
    AddedToken token;
    token.id = static_cast<int32_t>(entry.At("id").Integer(0, kMaxTokenId - 1));
    token.content = entry.At("content").String();
    token.special = entry.BoolOr("special", false);
    token.single_word = entry.BoolOr("single_word", false);
    token.lstrip = entry.BoolOr("lstrip", false);
    token.rstrip = entry.BoolOr("rstrip", false);
    token.normalized = entry.BoolOr("normalized", !token.special);
    const auto [known, is_new] = by_id.emplace(token.id, token.content);
    if (!is_new && known->second != token.content) {
      entry.Bad(fmt::format("gives the id {} to '{}', which '{}' has already", token.id, token.content, known->second));
    }
    tokens.push_back(std::move(token));
  }
  return tokens;
}

}  // namespace

std::unique_ptr<Tokenizer> TokenizerFromJson(std::string_view json, const std::string& where) {
  simdjson::dom::parser parser;
  if (parser.allocate(json.size() + 1, kMaxDepth) != simdjson::SUCCESS) {
    BadInput("{}: a JSON document of {} bytes is too large", where, json.size());
  }
  const simdjson::padded_string padded(json);
  simdjson::dom::element root;
  if (const simdjson::error_code error = parser.parse(padded).get(root); error != simdjson::SUCCESS) {
    BadInput("{}: not a tokenizer.json: {}", where, simdjson::error_message(error));
  }
  const JsonField document(root, "", &where);
  if (!document.IsObject()) document.Bad("must be an object");
  if (const auto version = document.Find("version"); version && version->String() != "1.0") {
    version->Bad(fmt::format("is '{}'; only 1.0 is supported", version->String()));
  }
  TokenizerParts parts;
  parts.model = ReadTokenModel(document.At("model"));
  if (const auto field = document.Find("normalizer")) parts.normalizer = ReadNormalizer(*field);
  if (const auto field = document.Find("pre_tokenizer")) parts.pre_tokenizer = ReadPreTokenizer(*field);
  if (const auto field = document.Find("post_processor")) parts.post_processor = ReadPostProcessor(*field);
  if (const auto field = document.Find("decoder")) parts.decoder = ReadDecoder(*field);
  if (const auto field = document.Find("added_tokens")) parts.added_tokens = ReadAddedTokens(*field);
  return BuildTokenizer(std::move(parts), where);
}

}  // namespace attune
