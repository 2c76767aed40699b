#include "app/text_embedder.h"

#include <algorithm>

#include "models/damaged_weights.h"

namespace attune {
namespace {

constexpr int64_t kEmbeddedTokensInFlight = 1024;
constexpr const char* kBeforeText = "This text: \"";
constexpr const char* kAfterText = "\" means in one word: \"";

}  // namespace

TextEmbedder::TextEmbedder(const ModelBundle& bundle, int64_t max_tokens)
    : tokenizer_(bundle.RequireTokenizer()),
      max_tokens_(max_tokens),
      after_text_(tokenizer_.Encode(kAfterText, false)) {
  const int64_t longest = max_tokens + std::ssize(after_text_), tokens = std::max(kEmbeddedTokensInFlight, longest);
  model_ = MakeForwardModel(bundle.files, {}, {tokens, tokens, longest, tokens});
}

Embeddings TextEmbedder::Embed(std::span<const std::string> texts, const OnProgress& on_progress) {
  std::vector<Example> questions;
  for (const std::string& text : texts) {
    std::vector<int32_t>& ids = questions.emplace_back().input_ids;
    if (text.empty()) continue;
    ids = tokenizer_.Encode(kBeforeText + text, true);
    ids.resize(std::min(ids.size(), static_cast<size_t>(max_tokens_)));
    ids.insert(ids.end(), after_text_.begin(), after_text_.end());
    questions.back().labels.assign(ids.size(), kIgnoredLabel);
  }
  Embeddings found;
  found.width = static_cast<size_t>(model_->decoder->hidden_size());
  found.values.resize(found.width * texts.size());
  int64_t done = 0;
  for (const Chunk& chunk : CutAllIntoChunks(ShapesOf(questions), model_->decoder->max_tokens())) {
    PackedBatch batch;
    std::vector<size_t> asked;
    for (const int64_t text : chunk) {
      const Example& question = questions[static_cast<size_t>(text)];
      if (question.input_ids.empty()) continue;
      AppendExample(question, &batch);
      batch.rows.push_back(static_cast<int32_t>(batch.tokens()) - 1);
      asked.push_back(static_cast<size_t>(text));
    }
    batch.targets.assign(batch.rows.size(), 0);
    const std::vector<float> hidden = asked.empty() ? std::vector<float>() : model_->decoder->LastHidden(batch);
    for (size_t i = 0; i < asked.size(); ++i) {
      std::copy_n(hidden.begin() + static_cast<std::ptrdiff_t>(i * found.width), found.width,
                  found.Row(asked[i]).begin());
      const std::span<float> row = found.Row(asked[i]);
      if (!AllFinite(row)) RefuseNonFinite(model_->path, "what it makes of a text");
      Normalize(row);
    }
    done += std::ssize(chunk);
    if (on_progress) on_progress("reading rows with the model", done, std::ssize(texts));
  }
  return found;
}

}  // namespace attune
