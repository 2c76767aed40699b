#include "curate/phrases.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <string>
#include <vector>

namespace attune {
namespace {

using enum PhraseKind;
using Family = TemplateFamily;

// With ' for both kinds of apostrophe.
constexpr const char* kRefusals[] = {"as an ai language model",
                                     "as a large language model",
                                     "as an ai assistant",
                                     "as an ai, i",
                                     "as an artificial intelligence",
                                     "i am just an ai",
                                     "i'm just an ai",
                                     "i don't have personal opinions",
                                     "i do not have personal opinions",
                                     "my knowledge cutoff",
                                     "i was trained by openai",
                                     "i am a language model",
                                     "i'm a language model"};
// Only where an answer begins so: in the middle they may be part of a story.
constexpr const char* kRefusalStarts[] = {
    "i'm sorry, but i can", "i am sorry, but i can", "i'm sorry, i can", "i'm sorry, but as",
    "sorry, but i can",     "sorry, i can",          "i cannot assist",  "i can't assist",
    "i cannot help",        "i can't help",          "i cannot fulfill", "i can't fulfill",
    "i cannot provide",     "i can't provide",       "i cannot answer",  "i can't answer",
    "i'm unable to",        "i am unable to",        "i'm not able to",  "i am not able to",
    "i apologize, but i"};
constexpr const char* kBoilerplates[] = {
    "i hope this helps",   "let me know if you have any",     "is there anything else i can",
    "feel free to ask",    "if you have any other questions", "if you have any further questions",
    "i'd be happy to help"};
constexpr const char* kHtmlMarks[] = {
    "<br>",  "<br/>", "<br />", "<p>",    "</p>",  "<div",   "</div>",   "<span",    "</span>",   "<a href",
    "</a>",  "<li>",  "</li>",  "<ul>",   "</ul>", "<ol>",   "</ol>",    "<strong>", "</strong>", "<em>",
    "</em>", "<b>",   "</b>",   "<i>",    "</i>",  "<table", "</table>", "<tr>",     "</tr>",     "<td",
    "</td>", "<img ", "<h1",    "</h1>",  "<h2",   "</h2>",  "<h3",      "</h3>",    "&nbsp;",    "&amp;",
    "&lt;",  "&gt;",  "&quot;", "&apos;", "&#39;", "&#x27;", "&#34;"};
constexpr std::pair<const char*, Family> kTemplateMarks[] = {
    {"<|im_start|>", Family::kChatMl},     {"<|im_end|>", Family::kChatMl},
    {"[INST]", Family::kLlama2},           {"[/INST]", Family::kLlama2},
    {"<<SYS>>", Family::kLlama2},          {"<|start_header_id|>", Family::kLlama3},
    {"<|eot_id|>", Family::kLlama3},       {"<|begin_of_text|>", Family::kLlama3},
    {"### Instruction:", Family::kAlpaca}, {"### Response:", Family::kAlpaca},
    {"### Input:", Family::kAlpaca},       {"USER: ", Family::kVicuna},
    {"ASSISTANT:", Family::kVicuna},       {"### Human:", Family::kHuman},
    {"### Assistant:", Family::kHuman},    {"\nHuman:", Family::kHuman},
    {"\nAssistant:", Family::kHuman},      {"<start_of_turn>", Family::kGemma},
    {"<end_of_turn>", Family::kGemma},     {"<|user|>", Family::kZephyr},
    {"<|assistant|>", Family::kZephyr},    {"<|system|>", Family::kZephyr},
    {"<|endoftext|>", Family::kOther},     {"</s>", Family::kOther}};
constexpr const char* kSecretStarts[] = {
    "AKIA",   "ASIA",  "ghp_",     "gho_",     "ghu_",        "ghs_", "ghr_",  "github_pat_",
    "glpat-", "sk-",   "sk_live_", "rk_live_", "hf_",         "npm_", "xoxb-", "xoxp-",
    "xoxa-",  "xoxs-", "AIza",     "eyJ",      "-----BEGIN ", "SG."};

char Lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; }

// Text is looked at in windows of eight bytes, and whether a phrase may begin there is asked of two filters
// at once: one of the first three bytes as they are, one of all eight without regard to case. Neither answers
// yes often, so the loop hardly ever branches.
constexpr size_t kWindow = 8;

uint64_t WindowAt(std::string_view text, size_t at) {
  uint64_t window = 0;
  std::memcpy(&window, text.data() + at, std::min(kWindow, text.size() - at));
  return window;
}
uint32_t ShortSlot(uint64_t window) { return static_cast<uint32_t>(window & 0xFFFFFF) * 0x9E3779B1u >> 16; }
uint32_t LongSlot(uint64_t window) {
  return static_cast<uint32_t>((window | 0x2020202020202020) * 0x9E3779B97F4A7C15 >> 48);
}

class Filter {
 public:
  void Add(uint32_t slot) { bits_[slot / 64] |= uint64_t{1} << slot % 64; }
  uint64_t Has(uint32_t slot) const { return bits_[slot / 64] >> slot % 64 & 1; }

 private:
  std::array<uint64_t, 1024> bits_{};
};

class PhraseTable {
 public:
  PhraseTable() {
    for (const char* text : kRefusals) AddBoth(text, kRefusal);
    for (const char* text : kRefusalStarts) AddBoth(text, kRefusalAtStart);
    for (const char* text : kBoilerplates) AddBoth(text, kBoilerplate);
    for (const char* text : kHtmlMarks) Add(text, kHtml, true);
    for (const auto& [text, family] : kTemplateMarks) Add(text, kTemplate, false, family);
    for (const char* text : kSecretStarts) Add(text, kSecret, false);
    Add("```", kFence, false);
    for (size_t i = 0; i < texts_.size(); ++i) {
      phrases_[i].text = texts_[i];
      // Prose is found by eight bytes, for three of them are everywhere; marks by their three, of which few
      // are.
      by_start_[static_cast<unsigned char>(Lower(texts_[i][0]))].push_back(i);
      if (phrases_[i].any_case && texts_[i].size() >= kWindow && phrases_[i].kind != kHtml) {
        long_.Add(LongSlot(WindowAt(texts_[i], 0)));
        continue;
      }
      short_.Add(ShortSlot(WindowAt(texts_[i], 0)));
      std::string capitals = texts_[i];
      std::transform(capitals.begin(), capitals.end(), capitals.begin(),
                     [](char c) { return c >= 'a' && c <= 'z' ? static_cast<char>(c - 32) : c; });
      if (phrases_[i].any_case) short_.Add(ShortSlot(WindowAt(capitals, 0)));
    }
  }

  const Phrase* Next(std::string_view text, size_t* at) const {
    size_t i = *at;
    for (; i + kWindow + 3 <= text.size(); i += 4) {  // four places at a time while whole windows are left
      uint64_t hits = 0;
      for (size_t k = 0; k < 4; ++k) {
        uint64_t window = 0;
        std::memcpy(&window, text.data() + i + k, kWindow);
        hits |= MayBegin(window) << k;
      }
      for (size_t k = 0; hits >> k != 0; ++k) {
        if (const Phrase* found = (hits >> k & 1) != 0 ? Match(text, i + k, at) : nullptr) return found;
      }
    }
    for (; i + 3 <= text.size(); ++i) {
      if (MayBegin(WindowAt(text, i)) == 0) continue;
      if (const Phrase* found = Match(text, i, at)) return found;
    }
    return nullptr;
  }

 private:
  void Add(std::string text, PhraseKind kind, bool any_case, Family family = Family::kNone) {
    texts_.push_back(std::move(text));
    phrases_.push_back({{}, kind, any_case, family});
  }
  void AddBoth(std::string text, PhraseKind kind) {
    Add(text, kind, true);
    const size_t apostrophe = text.find('\'');
    if (apostrophe != text.npos) Add(text.replace(apostrophe, 1, "\u2019"), kind, true);
  }

  uint64_t MayBegin(uint64_t window) const {
    return short_.Has(ShortSlot(window)) | long_.Has(LongSlot(window));
  }

  // The phrase at this place, which *at becomes then.
  const Phrase* Match(std::string_view whole, size_t place, size_t* at) const {
    const std::string_view text = whole.substr(place);
    for (const size_t i : by_start_[static_cast<unsigned char>(Lower(text[0]))]) {
      const Phrase& phrase = phrases_[i];
      if (text.size() < phrase.text.size()) continue;
      const bool same = phrase.any_case ? std::equal(phrase.text.begin(), phrase.text.end(), text.begin(),
                                                     [](char known, char c) { return known == Lower(c); })
                                        : text.starts_with(phrase.text);
      if (!same) continue;
      *at = place;
      return &phrase;
    }
    return nullptr;
  }

  std::vector<std::string> texts_;
  std::vector<Phrase> phrases_;
  std::array<std::vector<size_t>, 256> by_start_;  // places in phrases_, by first byte in lower case
  Filter short_, long_;
};

}  // namespace

const char* TemplateFamilyName(TemplateFamily family) {
  static constexpr const char* kNames[] = {
      "no template",         "ChatML", "Llama 2", "Llama 3",         "Alpaca", "Vicuna",
      "Human and Assistant", "Gemma",  "Zephyr",  "another template"};
  return kNames[static_cast<size_t>(family)];
}

const Phrase* NextPhrase(std::string_view text, size_t* at) {
  static const PhraseTable table;
  return table.Next(text, at);
}

}  // namespace attune
