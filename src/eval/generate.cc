#include "eval/generate.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/clock.h"
#include "base/error.h"
#include "base/torch_random.h"
#include "text/stream_decoder.h"

namespace attune {
namespace {

// Tokens by falling logit, of equals the lower first, put in order only as far as they are asked for: a draw looks at a
// few of a vocabulary.
class FallingTokens {
 public:
  explicit FallingTokens(std::span<const float> logits) : below_{logits}, left_(logits.size()) {
    std::iota(left_.begin(), left_.end(), 0);
    std::make_heap(left_.begin(), left_.end(), below_);
  }

  int32_t operator[](size_t place) {
    while (taken_.size() <= place) {
      std::pop_heap(left_.begin(), left_.end(), below_);
      taken_.push_back(left_.back());
      left_.pop_back();
    }
    return taken_[place];
  }

 private:
  struct Below {
    std::span<const float> logits;
    bool operator()(int32_t a, int32_t b) const {
      const float x = logits[static_cast<size_t>(a)], y = logits[static_cast<size_t>(b)];
      return x < y || (x == y && a > b);
    }
  };

  Below below_;
  std::vector<int32_t> left_, taken_;
};

}  // namespace

int32_t PickToken(std::span<const float> logits, const SamplingOptions& options, double uniform) {
  const auto largest = std::max_element(logits.begin(), logits.end());
  if (options.temperature <= 0) return static_cast<int32_t>(largest - logits.begin());
  const auto weight = [&](float logit) { return std::exp((logit - *largest) / options.temperature); };
  FallingTokens tokens(logits);
  const size_t most = options.top_k > 0 ? std::min(logits.size(), static_cast<size_t>(options.top_k)) : logits.size();
  double total = 0;
  if (most < logits.size()) {
    for (size_t i = 0; i < most; ++i) total += weight(logits[static_cast<size_t>(tokens[i])]);
  } else {
    for (const float logit : logits) total += weight(logit);
  }
  size_t count = most;
  double kept = total;
  if (options.top_p < 1) {
    kept = 0;
    for (count = 0; count < most && kept < options.top_p * total; ++count)
      kept += weight(logits[static_cast<size_t>(tokens[count])]);
    count = std::max<size_t>(count, 1);
  }
  double left = uniform * kept;
  for (size_t i = 0; i < count; ++i) {
    left -= weight(logits[static_cast<size_t>(tokens[i])]);
    if (left < 0) return tokens[i];
  }
  return tokens[count - 1];
}

Generation Generate(InferenceModel& model, const Tokenizer& tokenizer, std::span<const int32_t> prompt,
                    std::span<const int32_t> eos, const SamplingOptions& options,
                    const std::function<void(const std::string&)>& on_text) {
  if (prompt.empty()) BadInput("the prompt has no tokens");
  Generation result;
  result.prompt_tokens = static_cast<int64_t>(prompt.size());
  TorchGenerator random(options.seed);
  StreamDecoder stream(tokenizer, true);
  const auto say = [&](const std::string& piece) {
    if (piece.empty()) return;
    result.text += piece;
    if (on_text) on_text(piece);
  };
  const double begin = Now();
  std::span<const float> logits = model.Append(prompt);
  const double prompt_end = Now();
  result.prompt_seconds = prompt_end - begin;
  while (static_cast<int64_t>(result.ids.size()) < options.max_new_tokens) {
    const int32_t id = PickToken(logits, options, options.temperature > 0 ? random.UniformDouble() : 0);
    if (std::find(eos.begin(), eos.end(), id) != eos.end()) {
      result.ended = true;
      break;
    }
    result.ids.push_back(id);
    say(stream.Push(id));
    if (model.length() >= model.capacity()) break;
    logits = model.Append(std::span(&id, 1));
  }
  say(stream.Finish());
  result.decode_seconds = Now() - prompt_end;
  return result;
}

}  // namespace attune
