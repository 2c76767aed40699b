// Finds fixed phrases in a text, all of them in one pass: refusals, left-overs of HTML and of chat templates,
// the beginnings of keys and tokens. A pass for each would cost more than all the rest of a check.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace attune {

enum class PhraseKind : uint8_t { kRefusal, kRefusalAtStart, kBoilerplate, kHtml, kTemplate, kSecret, kFence };

// The chat template that a phrase belongs to.
enum class TemplateFamily : uint8_t {
  kNone,
  kChatMl,
  kLlama2,
  kLlama3,
  kAlpaca,
  kVicuna,
  kHuman,
  kGemma,
  kZephyr,
  kOther
};
inline constexpr size_t kTemplateFamilies = static_cast<size_t>(TemplateFamily::kOther) + 1;
const char* TemplateFamilyName(TemplateFamily family);

struct Phrase {
  std::string_view text;  // at least 3 bytes; lower case where any_case
  PhraseKind kind;
  bool any_case = false;
  TemplateFamily family = TemplateFamily::kNone;
};

// The next phrase that begins at byte *at or later, *at being moved to where it begins; null: none.
// Overlapping phrases at one place: the one listed first.
const Phrase* NextPhrase(std::string_view text, size_t* at);

}  // namespace attune
