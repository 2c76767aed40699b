// Pre-tokenizers of tokenizer.json: how normalised text is cut into the pieces that the model sees.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "text/normalizer.h"
#include "text/regex.h"

namespace attune {

// One stretch of text between added tokens, cut into pieces. A pre-tokenizer may also rewrite the text.
struct Pieces {
  struct Piece {
    TextRange range;       // of text; never empty
    size_t at_origin = 0;  // as in NormalizedText, of this piece's bytes
  };
  explicit Pieces(NormalizedText whole);
  std::string_view View(const Piece& piece) const {
    return std::string_view(text).substr(piece.range.begin, piece.range.end - piece.range.begin);
  }

  std::string text;
  std::vector<Piece> pieces;
  size_t max_bytes;
};

// Immutable and safe to use from several threads.
class PreTokenizer {
 public:
  virtual ~PreTokenizer() = default;
  // Errors: Error{kBadInput} as Normalizer::Apply.
  virtual void Apply(Pieces* pieces) const = 0;
};

// What becomes of a delimiter: "the-final--countdown" split on "-" gives
enum class SplitBehavior {
  kRemoved,             // the final countdown
  kIsolated,            // the - final - - countdown
  kMergedWithPrevious,  // the- final- - countdown
  kMergedWithNext,      // the -final - -countdown
  kContiguous,          // the - final -- countdown
};

enum class PrependScheme { kFirst, kNever, kAlways };

// With `invert` the pattern matches what is kept and the rest is the delimiter.
std::unique_ptr<PreTokenizer> SplitPreTokenizer(Regex pattern, SplitBehavior behavior, bool invert);
std::unique_ptr<PreTokenizer> DigitsPreTokenizer(bool individual_digits);
std::unique_ptr<PreTokenizer> PunctuationPreTokenizer(SplitBehavior behavior);
std::unique_ptr<PreTokenizer> WhitespacePreTokenizer();       // \w+|[^\w\s]+
std::unique_ptr<PreTokenizer> WhitespaceSplitPreTokenizer();  // at White_Space
std::unique_ptr<PreTokenizer> BertPreTokenizer();
// Spaces become `replacement` (one code point), which may also be put in front.
std::unique_ptr<PreTokenizer> MetaspacePreTokenizer(std::string replacement, PrependScheme scheme, bool split);
// Bytes become GPT-2's characters; `use_regex` splits as GPT-2 does before that.
std::unique_ptr<PreTokenizer> ByteLevelPreTokenizer(bool add_prefix_space, bool use_regex);
std::unique_ptr<PreTokenizer> SequencePreTokenizer(std::vector<std::unique_ptr<PreTokenizer>> parts);

}  // namespace attune
