// A tokenizer and chat formats small enough to see through, for the tests of this folder.
#pragma once

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "data/chat_spans.h"
#include "text/tokenizer.h"

namespace attune {

// Greedy longest match over special tokens, a few words and the 256 bytes. Ids: bytes 0-255, then `pieces`.
class FakeTokenizer : public Tokenizer {
 public:
  explicit FakeTokenizer(std::vector<std::string> words = {}) : pieces_(kSpecial) {
    pieces_.insert(pieces_.end(), words.begin(), words.end());
  }

  std::vector<int32_t> Encode(std::string_view text, bool add_special_tokens) const override {
    std::vector<int32_t> ids;
    if (add_special_tokens) ids.push_back(256);
    while (!text.empty()) {
      int32_t best = static_cast<unsigned char>(text[0]);
      size_t length = 1;
      for (size_t i = 0; i < pieces_.size(); ++i) {
        if (text.starts_with(pieces_[i]) && pieces_[i].size() > length) {
          best = 256 + static_cast<int32_t>(i);
          length = pieces_[i].size();
        }
      }
      ids.push_back(best);
      text.remove_prefix(length);
    }
    return ids;
  }
  std::string Decode(std::span<const int32_t> ids, bool) const override {
    std::string text;
    for (int32_t id : ids) text += IdToToken(id);
    return text;
  }
  std::optional<int32_t> TokenToId(std::string_view) const override { return std::nullopt; }
  std::string IdToToken(int32_t id) const override {
    return id < 256 ? std::string(1, static_cast<char>(id)) : pieces_[id - 256];
  }
  bool IsSpecial(int32_t id) const override {
    return id >= 256 && id < 256 + static_cast<int32_t>(std::size(kSpecial));
  }
  int32_t VocabularySize() const override { return 256 + static_cast<int32_t>(pieces_.size()); }

 private:
  inline static const std::vector<std::string> kSpecial = {"<s>",     "</s>",          "<|im_start|>", "<|im_end|>",
                                                           "<|end|>", "<end_of_turn>", "<call>"};
  std::vector<std::string> pieces_;
};

using FakeTemplate = std::string (*)(const nlohmann::ordered_json& messages, bool add_generation_prompt);

inline ChatFormat FakeChat(FakeTemplate render) {
  return {.render = [render](const nlohmann::ordered_json& messages, const DataRow&, bool add_generation_prompt) {
    return RenderedChat{render(messages, add_generation_prompt), {}};
  }};
}

inline std::string ContentOf(const nlohmann::ordered_json& message) {
  return message.contains("content") && message["content"].is_string() ? message["content"].get<std::string>() : "";
}

inline std::string ChatMl(const nlohmann::ordered_json& messages, bool add_generation_prompt) {
  std::string text;
  for (const auto& m : messages) {
    text += "<|im_start|>" + m["role"].get<std::string>() + "\n" + ContentOf(m);
    if (m.contains("tool_calls")) text += "<call>" + m["tool_calls"].dump() + "</call>";
    text += "<|im_end|>\n";
  }
  return add_generation_prompt ? text + "<|im_start|>assistant\n" : text;
}

}  // namespace attune
