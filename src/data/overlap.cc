#include "data/overlap.h"

#include <functional>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace attune {
namespace {

// The ids' own bytes as a key.
std::string_view Bytes(const Example& example) {
  return {reinterpret_cast<const char*>(example.input_ids.data()), example.input_ids.size() * sizeof(int32_t)};
}

}  // namespace

Overlap CountOverlap(const Dataset& train, const Dataset& eval) {
  // Of each different text of the evaluation set, the training row that has it.
  std::unordered_map<std::string_view, const Example*> twins;
  for (const Example& example : eval.examples) twins.emplace(Bytes(example), nullptr);
  for (const Example& example : train.examples) {
    const auto found = twins.find(Bytes(example));
    if (found != twins.end() && found->second == nullptr) found->second = &example;
  }
  Overlap overlap;
  overlap.eval_rows = std::ssize(eval.examples);
  for (const Example& example : eval.examples) {
    const Example* twin = twins.at(Bytes(example));
    if (twin == nullptr) continue;
    if (overlap.rows++ > 0) continue;
    overlap.eval_row = eval.RowName(example);
    overlap.train_row = train.RowName(*twin);
  }
  return overlap;
}

}  // namespace attune
