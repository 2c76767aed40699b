// Texts as vectors by the base model's own hidden states.
//
// The model is asked what the text means in one word, and the vector is what its head would read to answer:
// the last state of the last block after the last norm (Jiang et al. 2023, arXiv:2307.16645). The mean over
// the text's own states, tried first, says more of a text's form than of its meaning: with SmolLM2-135M "How
// do I cook rice?" was nearer to "How do I cook pasta?" (cosine 0.97) than to "What is the way to prepare
// rice?" in every layer, and 20 of 32 paraphrases lay nearest to each other among 242 texts; asked this way
// 32 did.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "app/forward_model.h"
#include "base/progress.h"
#include "curate/embeddings.h"

namespace attune {

class TextEmbedder {
 public:
  // `bundle` must outlive it. Texts keep their first `max_tokens` tokens, counting a few of the question.
  // Errors: Error{kBadInput}: a model without a tokenizer.
  explicit TextEmbedder(const ModelBundle& bundle, int64_t max_tokens = 512);

  // A vector of length 1 for each text, as it stands, without a chat template; zeros for an empty one. The
  // same text has the same vector in any company, up to rounding. Models add much of the same to all vectors:
  // CenterEmbeddings takes it out.
  Embeddings Embed(std::span<const std::string> texts, const OnProgress& on_progress = {});

 private:
  const Tokenizer& tokenizer_;
  int64_t max_tokens_;
  std::vector<int32_t> after_text_;
  std::unique_ptr<ForwardModel> model_;
};

}  // namespace attune
