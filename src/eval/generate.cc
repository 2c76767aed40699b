#include "eval/generate.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/clock.h"
#include "base/error.h"
#include "base/torch_random.h"
#include "text/stream_decoder.h"

namespace attune {

int32_t PickToken(std::span<const float> logits, const SamplingOptions& options, double uniform) {
  const auto largest = std::max_element(logits.begin(), logits.end());
  if (options.temperature <= 0) return static_cast<int32_t>(largest - logits.begin());
  std::vector<int32_t> order(logits.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int32_t a, int32_t b) {
    return logits[static_cast<size_t>(a)] > logits[static_cast<size_t>(b)];
  });
  if (options.top_k > 0 && options.top_k < static_cast<int64_t>(order.size())) order.resize(static_cast<size_t>(options.top_k));
  std::vector<double> weights;
  double total = 0;
  for (const int32_t id : order) {
    weights.push_back(std::exp((logits[static_cast<size_t>(id)] - *largest) / options.temperature));
    total += weights.back();
  }
  double kept = 0;
  size_t count = 0;
  while (count < weights.size()) {
    kept += weights[count++];
    if (kept >= options.top_p * total) break;
  }
  double left = uniform * kept;
  for (size_t i = 0; i < count; ++i) {
    left -= weights[i];
    if (left < 0) return order[i];
  }
  return order[count - 1];
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
