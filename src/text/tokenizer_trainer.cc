#include "text/tokenizer_trainer.h"

#include <sentencepiece_processor.h>
#include <sentencepiece_trainer.h>

#include <algorithm>
#include <deque>
#include <exception>
#include <nlohmann/json.hpp>
#include <set>
#include <span>
#include <unordered_map>
#include <utility>

#include "base/error.h"
#include "base/file.h"
#include "text/added_tokens.h"
#include "text/sentencepiece_scores.h"
#include "text/tokenizer_export.h"
#include "text/tokenizer_gguf.h"
#include "text/tokenizer_gguf_rules.h"
#include "text/unicode.h"

namespace attune {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::string_view kUnk = "<unk>", kBos = "<s>", kPad = "<pad>";
constexpr size_t kSentenceBytes = 4000;  // SentencePiece passes over sentences of more than 4192
constexpr size_t kLongestSpecial = 256;

std::string ByteToken(int byte) { return fmt::format("<0x{:02X}>", byte); }

std::vector<std::string> SpecialTokensInOrder(const TokenizerSettings& s) {
  std::vector<std::string> all = {std::string(kUnk), std::string(kBos), s.eos_token, std::string(kPad)};
  all.insert(all.end(), s.special_tokens.begin(), s.special_tokens.end());
  return all;
}

void CheckSettings(const TokenizerSettings& s) {
  std::set<std::string> seen;
  for (int byte = 0; byte < 256; ++byte) seen.insert(ByteToken(byte));
  for (const std::string& token : SpecialTokensInOrder(s)) {
    if (token.empty()) BadInput("special_tokens: an empty token; leave it out");
    if (token.size() <= Utf8Length(token[0])) {
      BadInput("special_tokens: {} is one character, which text needs for itself",
               Json(token).dump(-1, ' ', true, Json::error_handler_t::replace));
    }
    if (!IsValidUtf8(token) || token.size() > kLongestSpecial) {
      BadInput("special_tokens: a token must be UTF-8 of at most {} bytes", kLongestSpecial);
    }
    if (std::any_of(token.begin(), token.end(), [](char c) { return static_cast<unsigned char>(c) < ' '; })) {
      BadInput("special_tokens: {} holds a control character", Json(token).dump());
    }
    if (token.find(kMetaspace) != token.npos) {
      BadInput("special_tokens: \"{}\" holds U+2581, which stands for a space: choose another", token);
    }
    if (!seen.insert(token).second) BadInput("special_tokens: \"{}\" is there already; leave it out", token);
  }
  const auto least = static_cast<int64_t>(seen.size()) + 1;
  if (s.vocab_size < least || s.vocab_size > kMaxTokenId) {
    BadInput("vocab_size is {}: it must be from {} (the 256 bytes, {} special tokens and one piece) to {}",
             s.vocab_size, least, seen.size() - 256, kMaxTokenId);
  }
  if (!(s.character_coverage >= 0.98 && s.character_coverage <= 1)) {
    BadInput("character_coverage is {}: it must be from 0.98 to 1", s.character_coverage);
  }
}

// Characters that are tokens whatever the text holds: the space, which does not come back from bytes; and for
// unigram what WriteTokenizerJson relies on, that a text like "<0x41>" is cheaper spelled out than as a byte.
std::string RequiredCharacters(const TokenizerSettings& s) {
  return std::string(kMetaspace) + (s.model == SubwordModel::kUnigram ? "<>x0123456789ABCDEF" : "");
}

// What SentencePiece learns from, cut to what it takes: lines of bounded length, without text that spells a
// token which is not to be learned (tokenizer.json finds special tokens before the model sees the text).
class Sentences : public sentencepiece::SentenceIterator {
 public:
  Sentences(const TokenizerSettings& settings, const NextText& next)
      : settings_(settings), next_(next), reserved_(Reserved(settings), Vocabulary(), nullptr, "special_tokens") {
    Next();
    // What is required must occur, too; and where nothing does, SentencePiece ends the process.
    if (!done_) waiting_.insert(waiting_.end(), {" ", RequiredCharacters(settings)});
  }

  bool done() const override { return done_; }
  const std::string& value() const override { return sentence_; }
  sentencepiece::util::Status status() const override {
    if (error_ == nullptr) return {};
    return {sentencepiece::util::StatusCode::kAborted, "reading failed"};
  }
  // An exception must not pass through a library that does not expect one: it waits in error().
  void Next() override {
    try {
      Advance();
    } catch (...) {
      error_ = std::current_exception();
      done_ = true;
    }
  }

  std::exception_ptr error() const { return error_; }
  int64_t texts() const { return texts_; }

 private:
  static std::vector<AddedToken> Reserved(const TokenizerSettings& settings) {
    std::vector<AddedToken> tokens;
    const auto add = [&tokens](std::string content) {
      AddedToken token;
      token.content = std::move(content);
      tokens.push_back(std::move(token));
    };
    for (const std::string& token : SpecialTokensInOrder(settings)) add(token);
    for (int byte = 0; byte < 256; ++byte) add(ByteToken(byte));
    add("\xE2\x96\x85");        // U+2585, which SentencePiece keeps for itself
    add(std::string(1, '\0'));  // and what it refuses
    return tokens;
  }

  void Advance() {
    while (waiting_.empty()) {
      const std::optional<std::string_view> text = next_();
      if (!text) {
        done_ = true;
        return;
      }
      if (IsDrawn(settings_.seed, static_cast<uint64_t>(texts_++), settings_.sample_fraction)) Cut(*text);
    }
    sentence_ = std::move(waiting_.front());
    waiting_.pop_front();
  }

  void Cut(std::string_view text) {
    while (!text.empty()) {
      const size_t end = std::min(text.find('\n'), text.size());
      for (const auto& [range, id] : reserved_.FindRaw(text.substr(0, end))) {
        if (id < 0) CutToLength(text.substr(range.begin, range.end - range.begin));
      }
      text.remove_prefix(std::min(end + 1, text.size()));
    }
  }

  // At a space where there is one: SentencePiece puts one before each sentence.
  void CutToLength(std::string_view line) {
    while (line.size() > kSentenceBytes) {
      size_t end = line.rfind(' ', kSentenceBytes);
      const bool at_space = end != line.npos && end > 0;
      if (!at_space) end = PreviousCodePoint(line, kSentenceBytes);
      Add(line.substr(0, end));
      line.remove_prefix(end + at_space);
    }
    Add(line);
  }

  // SentencePiece makes no piece of a tab, and ends the process where there is nothing else.
  void Add(std::string_view sentence) {
    if (sentence.find_first_not_of('\t') != sentence.npos) waiting_.emplace_back(sentence);
  }

  const TokenizerSettings& settings_;
  const NextText& next_;
  AddedTokens reserved_;
  std::deque<std::string> waiting_;
  std::string sentence_;
  std::exception_ptr error_;
  int64_t texts_ = 0;
  bool done_ = false;
};

// An entry of a list in SentencePiece's settings, which are comma-separated values.
std::string ListEntry(const std::string& token) {
  std::string quoted = "\"";
  for (const char c : token) quoted += c == '"' ? "\"\"" : std::string(1, c);
  return quoted + '"';
}

std::unordered_map<std::string, std::string> Arguments(const TokenizerSettings& s) {
  const auto boolean = [](bool value) { return value ? "true" : "false"; };
  std::string specials;
  for (const std::string& token : s.special_tokens) specials += (specials.empty() ? "" : ",") + ListEntry(token);
  std::unordered_map<std::string, std::string> arguments = {
      {"model_type", s.model == SubwordModel::kBpe ? "bpe" : "unigram"},
      {"vocab_size", std::to_string(s.vocab_size)},
      {"character_coverage", fmt::format("{}", s.character_coverage)},
      {"normalization_rule_name", "identity"},
      {"add_dummy_prefix", boolean(s.add_dummy_prefix)},
      {"remove_extra_whitespaces", "false"},
      {"allow_whitespace_only_pieces", "true"},
      {"split_digits", boolean(s.split_digits)},
      {"byte_fallback", "true"},
      {"required_chars", RequiredCharacters(s)},
      {"unk_id", "0"},
      {"bos_id", "1"},
      {"eos_id", "2"},
      {"pad_id", "3"},
      {"unk_piece", std::string(kUnk)},
      {"bos_piece", std::string(kBos)},
      {"eos_piece", s.eos_token},
      {"pad_piece", std::string(kPad)},
      {"num_threads", "16"},  // whatever the machine has: sums over threads are part of the result
      {"minloglevel", "3"},   // it must not print
  };
  if (!specials.empty()) arguments["control_symbols"] = specials;
  return arguments;
}

// SentencePiece's reason, in our words where it is the user's to mend.
[[noreturn]] void RefuseTraining(const TokenizerSettings& s, const std::string& reason) {
  constexpr std::string_view kLimit = "value <= ";
  if (const size_t at = reason.find(kLimit); at != reason.npos) {
    const std::string limit = reason.substr(at + kLimit.size());
    BadInput("vocab_size {} is more than this text can give: use at most {}, or more text", s.vocab_size,
             limit.substr(0, limit.find_first_not_of("0123456789")));
  }
  if (reason.find("smaller than required_chars") != reason.npos || reason.find("(vocab_size) >= (0)") != reason.npos) {
    BadInput(
        "vocab_size {} is too small for the characters of this text, each of which is a token: use more, or "
        "lower "
        "character_coverage ({})",
        s.vocab_size, s.character_coverage);
  }
  BadInput("SentencePiece cannot train on this text: {}", reason);
}

// The tables of a trained model as a GGUF file would hold them, which is what is written from.
struct PieceTables {
  explicit PieceTables(const sentencepiece::SentencePieceProcessor& model, const TokenizerSettings& settings) {
    enum : int64_t { kNormal = 1, kUnknown = 2, kControl = 3, kByte = 6 };
    v.where = "tokenizer.model";
    v.model = settings.model == SubwordModel::kBpe ? "llama" : "t5";
    for (int id = 0; id < model.GetPieceSize(); ++id) {
      tokens.emplace_back(model.IdToPiece(id));
      v.scores.push_back(model.GetScore(id));
      v.token_types.push_back(model.IsUnknown(id)   ? kUnknown
                              : model.IsControl(id) ? kControl
                              : model.IsByte(id)    ? kByte
                                                    : kNormal);
    }
    v.tokens = tokens;
    v.unk_id = model.unk_id();
    v.bos_id = model.bos_id();
    v.eos_id = model.eos_id();
    v.add_space_prefix = settings.add_dummy_prefix;
  }
  PieceTables(const PieceTables&) = delete;
  PieceTables& operator=(const PieceTables&) = delete;

  std::vector<std::string_view> tokens;  // the model's own strings
  GgufVocabulary v;
};

}  // namespace

void UseChatMl(TokenizerSettings* settings) {
  settings->eos_token = "<|im_end|>";
  std::erase_if(settings->special_tokens, [](const auto& t) { return t == "<|im_start|>" || t == "<|im_end|>"; });
  settings->special_tokens.insert(settings->special_tokens.begin(), "<|im_start|>");
  settings->chat_template =
      "{{ bos_token }}{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + "
      "message['content'] + "
      "'<|im_end|>\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif "
      "%}";
}

bool IsDrawn(uint64_t seed, uint64_t index, double fraction) {
  if (fraction >= 1) return true;
  uint64_t z = seed * 0xD1342543DE82EF95u + (index + 1) * 0x9E3779B97F4A7C15u;  // splitmix64
  z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
  z = (z ^ z >> 27) * 0x94D049BB133111EBu;
  z ^= z >> 31;
  return static_cast<double>(z >> 11) < fraction * 0x1p53;
}

TrainedTokenizer TrainTokenizer(TokenizerSettings settings, const NextText& next) {
  CheckSettings(settings);
  TrainedTokenizer trained{std::move(settings), "", 0};
  Sentences sentences(trained.settings, next);
  if (sentences.error() != nullptr) std::rethrow_exception(sentences.error());
  if (sentences.done()) BadInput("the input holds no text to train a tokenizer on");
  const auto status =
      sentencepiece::SentencePieceTrainer::Train(Arguments(trained.settings), &sentences, &trained.model_file);
  if (sentences.error() != nullptr) std::rethrow_exception(sentences.error());
  if (!status.ok()) RefuseTraining(trained.settings, status.error_message());
  if (trained.settings.model == SubwordModel::kUnigram) RoundScores(&trained.model_file);
  trained.texts = sentences.texts();
  return trained;
}

void WriteTrainedTokenizer(const TrainedTokenizer& trained, const std::string& folder) {
  const TokenizerSettings& settings = trained.settings;
  sentencepiece::SentencePieceProcessor model;
  const auto status = model.LoadFromSerializedProto(trained.model_file);
  if (!status.ok()) Failed("SentencePiece cannot read the model it made: {}", status.error_message());
  WriteTokenizerJson(PieceTables(model, settings).v, folder + "/tokenizer.json");

  const Json special_tokens = {
      {"bos_token", kBos}, {"eos_token", settings.eos_token}, {"unk_token", kUnk}, {"pad_token", kPad}};
  Json config = {{"tokenizer_class", "PreTrainedTokenizerFast"}};
  config.update(special_tokens);
  config["model_input_names"] = {"input_ids", "attention_mask"};
  config["clean_up_tokenization_spaces"] = false;
  if (!settings.chat_template.empty()) config["chat_template"] = settings.chat_template;
  WriteFileAtomic(folder + "/tokenizer_config.json", config.dump(2) + "\n");
  WriteFileAtomic(folder + "/special_tokens_map.json", special_tokens.dump(2) + "\n");
  WriteFileAtomic(folder + "/tokenizer.model", trained.model_file);
}

}  // namespace attune
