// Normalizers of tokenizer.json: what happens to text before it is split.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "text/regex.h"
#include "text/unicode.h"

namespace attune {

// Text on its way through the pipeline. Hugging Face's library keeps where each byte came from; all that ever
// decides about tokens is whether a piece starts at byte 0 of the user's text (Metaspace's "first"), so that
// is all kept here: the first `at_origin` bytes of `text` do. (Origins never decrease, so those bytes are a
// prefix.)
struct NormalizedText {
  std::string text;  // valid UTF-8
  size_t at_origin = 0;
  size_t max_bytes = SIZE_MAX;  // a file's rules may not blow the text up beyond this
};

// The most that a text of `bytes` may become; far above what any real tokenizer does.
inline size_t MaxGrownBytes(size_t bytes) { return 64 * bytes + (1 << 16); }

// Errors: Error{kBadInput} when `bytes` is more than `max_bytes`.
void CheckGrownBytes(size_t bytes, size_t max_bytes);

// Immutable and safe to use from several threads.
class Normalizer {
 public:
  virtual ~Normalizer() = default;
  // Errors: Error{kBadInput} when the text outgrows max_bytes or a pattern gives up.
  virtual void Apply(NormalizedText* text) const = 0;
};

std::unique_ptr<Normalizer> UnicodeNormalizer(NormalForm form);
std::unique_ptr<Normalizer> LowercaseNormalizer();
std::unique_ptr<Normalizer> StripNormalizer(bool left, bool right);  // white space
std::unique_ptr<Normalizer> StripAccentsNormalizer();                // all marks
std::unique_ptr<Normalizer> NmtNormalizer();                         // control characters away, odd spaces to ' '
std::unique_ptr<Normalizer> PrependNormalizer(std::string prefix);   // to text that is not empty
std::unique_ptr<Normalizer> ReplaceNormalizer(Regex pattern, std::string content);
std::unique_ptr<Normalizer> ByteLevelNormalizer();
std::unique_ptr<Normalizer> BertNormalizer(bool clean_text, bool handle_chinese_chars, bool strip_accents,
                                           bool lowercase);
std::unique_ptr<Normalizer> SequenceNormalizer(std::vector<std::unique_ptr<Normalizer>> parts);

// `text` with every match replaced by `content`. Errors: as Normalizer::Apply.
std::string ReplaceMatches(std::string_view text, const Regex& pattern, std::string_view content, size_t max_bytes);

}  // namespace attune
