// A tokenizer.json up to the first NUL byte, then a text. Whatever both hold, the tokenizer must end in ids
// or in an Error, and what it decodes must be UTF-8.

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "base/error.h"
#include "text/stream_decoder.h"
#include "text/tokenizer_json.h"
#include "text/unicode.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view all(reinterpret_cast<const char*>(data), size);
  const size_t nul = std::min(all.find('\0'), size);
  const std::string_view text = all.substr(std::min(nul + 1, size));
  try {
    const auto tokenizer = attune::TokenizerFromJson(all.substr(0, nul), "fuzz");
    const auto ids = tokenizer->Encode(text, true);
    if (!attune::IsValidUtf8(tokenizer->Decode(ids, false))) std::abort();
    attune::StreamDecoder stream(*tokenizer, true);
    for (size_t i = 0; i < ids.size() && i < 1000; ++i) {
      if (!attune::IsValidUtf8(stream.Push(ids[i]))) std::abort();
    }
    stream.Finish();
  } catch (const attune::Error&) {
  }
  return 0;
}
