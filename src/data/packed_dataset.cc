#include "data/packed_dataset.h"

#include <algorithm>
#include <utility>

#include "base/error.h"

namespace attune {
namespace {

void Append(const std::vector<int32_t>& from, const PackedPiece& piece, std::vector<int32_t>& to) {
  const auto begin = from.begin() + static_cast<std::ptrdiff_t>(piece.start);
  to.insert(to.end(), begin, begin + static_cast<std::ptrdiff_t>(piece.length));
}

// One row out of pieces of `examples`.
Example Join(const PackedSequence& pieces, std::span<const Example> examples, PackingStrategy strategy) {
  Example row;
  const Example& first = examples[static_cast<size_t>(pieces.front().example)];
  row.file = first.file;
  row.row_line = first.row_line;
  for (const PackedPiece& piece : pieces) {
    const Example& example = examples[static_cast<size_t>(piece.example)];
    const size_t start = row.input_ids.size();
    Append(example.input_ids, piece, row.input_ids);
    Append(example.labels, piece, row.labels);
    const bool cut = strategy == PackingStrategy::kBfd && piece.length < std::ssize(example.input_ids);
    row.truncated |= example.truncated || cut;
    if (strategy == PackingStrategy::kWrapped) continue;
    row.starts.push_back(static_cast<int32_t>(start));
    row.labels[start] = kIgnoredLabel;
  }
  return row;
}

}  // namespace

std::vector<Example> PackExamples(std::vector<Example> examples, int64_t max_length, PackingStrategy strategy) {
  if (max_length < 1) BadInput("packing needs max_length, the tokens of a packed row: set it to 1 or more");
  std::vector<Example> rows;
  for (size_t first = 0; first < examples.size(); first += kPackingBatch) {
    const auto batch = std::span(examples).subspan(first, std::min(kPackingBatch, examples.size() - first));
    std::vector<int64_t> lengths;
    for (const Example& example : batch) lengths.push_back(std::ssize(example.input_ids));
    for (const PackedSequence& pieces : Pack(lengths, max_length, strategy)) {
      rows.push_back(Join(pieces, batch, strategy));
    }
    for (Example& example : batch) example = Example();  // its memory is in the rows now
  }
  return rows;
}

double PackingEfficiency(std::span<const Example> rows, int64_t max_length) {
  double tokens = 0;
  for (const Example& row : rows) tokens += static_cast<double>(row.input_ids.size());
  const double room = static_cast<double>(rows.size()) * static_cast<double>(max_length);
  return room > 0 ? tokens / room : 0;
}

}  // namespace attune
