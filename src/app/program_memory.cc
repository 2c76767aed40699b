#include "app/program_memory.h"

namespace attune {
namespace {

// Fitted to what `attune train` has resident just before it allocates: 10.5 MiB with ten short rows and no
// tokenizer, 46.3 with 20,000 rows of 200 tokens, 40.0 with 100,000 rows of 10, 21.0 with SmolLM2's tokenizer and the
// quickstart's rows.
constexpr int64_t kProgram = int64_t{21} << 19;
constexpr int64_t kTokenBytes = 210;  // of a vocabulary: texts, hash tables, merges
constexpr int64_t kRowBytes = 230;    // an Example, its vectors' own headers, its shape in the plan

int64_t RowBytes(const std::vector<Example>& examples) {
  int64_t bytes = 0;
  for (const Example& e : examples) {
    bytes +=
        kRowBytes + static_cast<int64_t>((e.input_ids.size() + e.labels.size() + e.starts.size()) * sizeof(int32_t));
  }
  return bytes;
}

}  // namespace

int64_t ProgramBytes(int64_t vocabulary, const std::vector<Example>& train, const Dataset* eval) {
  return kProgram + kTokenBytes * vocabulary + RowBytes(train) + (eval != nullptr ? RowBytes(eval->examples) : 0);
}

}  // namespace attune
