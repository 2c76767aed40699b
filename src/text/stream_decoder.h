// Text as it is generated: takes token ids one by one and gives what can be shown.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "text/tokenizer.h"

namespace attune {

// The pieces it gives, joined, are what Decode of all the ids gives (as far as the decoder looks back no
// further than a token). Not for several threads at once. The tokenizer must outlive it.
class StreamDecoder {
 public:
  StreamDecoder(const Tokenizer& tokenizer, bool skip_special_tokens)
      : tokenizer_(tokenizer), skip_special_tokens_(skip_special_tokens) {}

  // The text that `id` completes: valid UTF-8, "" while a character is unfinished. An id outside the
  // vocabulary (a model may have more rows than its tokenizer has tokens) gives nothing.
  std::string Push(int32_t id);

  // What is left, with U+FFFD for unfinished characters. Then starts anew.
  std::string Finish();

 private:
  std::string Take(const std::string& text);

  const Tokenizer& tokenizer_;
  bool skip_special_tokens_;
  std::vector<int32_t> ids_;  // those shown last, for context, then those not shown yet
  size_t shown_ids_ = 0;
  std::string shown_;  // Decode of the former
};

}  // namespace attune
