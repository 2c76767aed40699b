// A training file: lines, JSON, row formats, and encoding with a byte tokenizer and a ChatML template.
#include <cstdint>
#include <string_view>

#include "base/error.h"
#include "data/encode.h"
#include "data/fake_text_for_test.h"
#include "data/formats.h"
#include "data/jsonl.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace attune;
  static const FakeTokenizer tokenizer({"\n\n", "ab", "abc", "assistant"});
  static const RowEncoder with_chat(tokenizer, FakeChat(ChatMl), "</s>", {.max_length = 64});
  static const RowEncoder plain(tokenizer, {}, "", {.truncation_mode = TruncationMode::kKeepEnd, .vocab_size = 300});
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  for (const JsonlLine& line : SplitJsonl(text)) {
    for (const RowEncoder* encoder : {&with_chat, &plain}) {
      try {
        const Example example =
            encoder->Encode(ParseRow(ParseJsonlLine(line, "f"), encoder->has_chat_template(), "f:1"));
        if (example.input_ids.size() != example.labels.size()) __builtin_trap();
      } catch (const Error& error) {
        if (std::string_view(error.what()).find('\n') != std::string_view::npos) __builtin_trap();  // one line
      }
    }
  }
  return 0;
}
