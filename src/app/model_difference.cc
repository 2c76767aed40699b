#include "app/model_difference.h"

#include <algorithm>
#include <cmath>

#include "app/forward_model.h"
#include "base/error.h"
#include "data/dataset.h"

namespace attune {
namespace {

constexpr size_t kMostTokens = 128;

constexpr const char* kText =
    "The old lighthouse keeper wrote down the weather every evening: wind from the north-west, clear sky, a ship on "
    "the "
    "horizon. In the morning he counted 14 gulls and two letters. \"Dear Sir,\" one began, \"the committee has read "
    "your "
    "report and would like to know how the lamp is kept burning in a storm.\" He laughed, put the kettle on, and "
    "started his "
    "answer with a list: 1. oil, 2. patience, 3. a dry match.";

ChunkLimits LimitsOf(const std::vector<std::vector<int32_t>>& sequences) {
  ChunkLimits limits;
  for (const auto& ids : sequences) {
    limits.tokens = limits.length = limits.labelled = std::max<int64_t>(limits.tokens, std::ssize(ids));
  }
  return limits;
}

std::vector<std::vector<float>> LogitsOf(const ModelFiles& files, const std::string& adapter,
                                         const std::vector<std::vector<int32_t>>& sequences) {
  const auto model = MakeForwardModel(files, {adapter, false, true}, LimitsOf(sequences));
  std::vector<std::vector<float>> logits(sequences.size());
  for (size_t i = 0; i < sequences.size(); ++i) {
    model->AllLogits(sequences[i], [&](std::span<const float> piece) {
      logits[i].insert(logits[i].end(), piece.begin(), piece.end());
    });
  }
  return logits;
}

// log of the sum of exponentials
double LogSum(std::span<const float> row) {
  const double largest = *std::max_element(row.begin(), row.end());
  double sum = 0;
  for (const float x : row) sum += std::exp(x - largest);
  return largest + std::log(sum);
}

void AddRow(std::span<const float> a, std::span<const float> b, ModelDifference* total) {
  const double log_a = LogSum(a), log_b = LogSum(b);
  double kl = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    total->largest = std::max(total->largest, std::fabs(static_cast<double>(a[i]) - b[i]));
    kl += std::exp(a[i] - log_a) * ((a[i] - log_a) - (b[i] - log_b));
  }
  // A number that is not finite anywhere makes all of it so.
  if (!std::isfinite(kl)) kl = INFINITY;
  total->mean_kl += kl;
  total->same_best +=
      std::max_element(a.begin(), a.end()) - a.begin() == std::max_element(b.begin(), b.end()) - b.begin();
  total->tokens += 1;
}

}  // namespace

nlohmann::ordered_json ModelDifference::ToJson() const {
  return {
      {"tokens", tokens}, {"largest_logit_difference", largest}, {"mean_kl", mean_kl}, {"same_best_token", same_best}};
}

std::vector<std::vector<int32_t>> TokensToCompare(const ModelBundle& bundle, const std::string& data) {
  const int64_t vocab = bundle.files.spec().vocab_size;
  std::vector<std::vector<int32_t>> sequences;
  if (!data.empty()) {
    const NoTokenizer none(bundle.files.path());
    const Tokenizer& tokenizer = bundle.tokenizer != nullptr ? *bundle.tokenizer : static_cast<const Tokenizer&>(none);
    EncodeOptions options;
    options.max_length = kMostTokens;
    options.vocab_size = vocab;
    size_t tokens = 0;
    for (Example& example :
         LoadDataset(data, RowEncoder(tokenizer, bundle.chat_format(), bundle.eos_token(), options)).examples) {
      tokens += example.input_ids.size();
      if (tokens > kMostTokens && !sequences.empty()) break;
      sequences.push_back(std::move(example.input_ids));
    }
    return sequences;
  }
  sequences.emplace_back();
  if (bundle.tokenizer != nullptr) {
    sequences[0] = bundle.tokenizer->Encode(kText, true);
    sequences[0].resize(std::min(sequences[0].size(), kMostTokens));
  } else {
    for (int64_t t = 0; t < 64; ++t) sequences[0].push_back(static_cast<int32_t>((t * 37 + 11) % vocab));
  }
  return sequences;
}

ModelDifference CompareModels(const ModelFiles& before, const std::string& adapter, const ModelFiles& after,
                              const std::vector<std::vector<int32_t>>& sequences) {
  const auto vocab = static_cast<size_t>(before.spec().vocab_size);
  const std::vector<std::vector<float>> a = LogitsOf(before, adapter, sequences), b = LogitsOf(after, "", sequences);
  ModelDifference total;
  for (size_t i = 0; i < sequences.size(); ++i) {
    for (size_t t = 0; t < sequences[i].size(); ++t) {
      AddRow(std::span(a[i]).subspan(t * vocab, vocab), std::span(b[i]).subspan(t * vocab, vocab), &total);
    }
  }
  total.mean_kl /= static_cast<double>(total.tokens);
  total.same_best /= static_cast<double>(total.tokens);
  return total;
}

}  // namespace attune
