#include "curate/phrases.h"

#include <algorithm>
#include <array>
#include <optional>
#include <string>
#include <vector>

#include "curate/byte_scan.h"

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
    "i'm sorry, but i can", "i am sorry, but i can", "i'm sorry, i can", "i'm sorry, but as", "sorry, but i can",
    "sorry, i can",         "i cannot assist",       "i can't assist",   "i cannot help",     "i can't help",
    "i cannot fulfill",     "i can't fulfill",       "i cannot provide", "i can't provide",   "i cannot answer",
    "i can't answer",       "i'm unable to",         "i am unable to",   "i'm not able to",   "i am not able to",
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
    "AKIA",     "ASIA", "ghp_", "gho_",  "ghu_",  "ghs_",  "ghr_",  "github_pat_", "glpat-", "sk-",         "sk_live_",
    "rk_live_", "hf_",  "npm_", "xoxb-", "xoxp-", "xoxa-", "xoxs-", "AIza",        "eyJ",    "-----BEGIN ", "SG."};

char Lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; }

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
    std::vector<PhraseFilter::Phrase> filtered;
    for (size_t i = 0; i < texts_.size(); ++i) {
      phrases_[i].text = texts_[i];
      by_start_[static_cast<unsigned char>(Lower(texts_[i][0]))].push_back(i);
      const bool prose = phrases_[i].any_case && phrases_[i].kind != kHtml;
      filtered.push_back({texts_[i], phrases_[i].any_case, prose && texts_[i].size() >= PhraseFilter::kWindow});
    }
    filter_.emplace(filtered);
  }

  const Phrase* Next(std::string_view text, size_t* at) const {
    for (size_t i = filter_->Next(text, *at); i < text.size(); i = filter_->Next(text, i + 1)) {
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
  std::optional<PhraseFilter> filter_;
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
