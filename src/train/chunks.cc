#include "train/chunks.h"

#include <algorithm>
#include <numeric>

namespace attune {
namespace {

// Calls with the bounds of each sequence of a row.
template <class Visit>
void ForEachSequence(const Example& example, const Visit& visit) {
  const size_t sequences = std::max<size_t>(1, example.starts.size());
  for (size_t s = 0; s < sequences; ++s) {
    const auto begin = example.starts.empty() ? size_t{0} : static_cast<size_t>(example.starts[s]);
    const size_t end =
        s + 1 < example.starts.size() ? static_cast<size_t>(example.starts[s + 1]) : example.input_ids.size();
    visit(begin, end);
  }
}

}  // namespace

RowShape ShapeOf(const Example& example) {
  RowShape shape;
  shape.tokens = static_cast<int64_t>(example.input_ids.size());
  shape.sequences = 0;
  ForEachSequence(example, [&](size_t begin, size_t end) {
    shape.sequences += 1;
    shape.longest = std::max(shape.longest, static_cast<int64_t>(end - begin));
    for (size_t t = begin + 1; t < end; ++t) shape.labelled += example.labels[t] != kIgnoredLabel;
  });
  return shape;
}

std::vector<RowShape> ShapesOf(std::span<const Example> examples) {
  std::vector<RowShape> shapes;
  for (const Example& example : examples) shapes.push_back(ShapeOf(example));
  return shapes;
}

void AppendExample(const Example& example, PackedBatch* batch) {
  const std::span<const int32_t> ids(example.input_ids), labels(example.labels);
  ForEachSequence(example, [&](size_t begin, size_t end) {
    batch->Append(ids.subspan(begin, end - begin), labels.subspan(begin, end - begin));
  });
}

std::vector<Chunk> CutIntoChunks(std::span<const int64_t> rows, std::span<const RowShape> shapes,
                                 int64_t tokens_in_flight) {
  std::vector<Chunk> chunks;
  int64_t tokens = 0;
  for (const int64_t row : rows) {
    const int64_t length = shapes[static_cast<size_t>(row)].tokens;
    if (chunks.empty() || tokens + length > tokens_in_flight) {
      chunks.emplace_back();
      tokens = 0;
    }
    chunks.back().push_back(row);
    tokens += length;
  }
  return chunks;
}

std::vector<Chunk> CutAllIntoChunks(std::span<const RowShape> shapes, int64_t tokens_in_flight) {
  std::vector<int64_t> rows(shapes.size());
  std::iota(rows.begin(), rows.end(), int64_t{0});
  return CutIntoChunks(rows, shapes, tokens_in_flight);
}

void ChunkLimits::Include(const Chunk& chunk, std::span<const RowShape> shapes) {
  ChunkLimits sum{0, 0, 0, 0};
  for (const int64_t row : chunk) {
    const RowShape& shape = shapes[static_cast<size_t>(row)];
    sum.tokens += shape.tokens;
    sum.sequences += shape.sequences;
    sum.length = std::max(sum.length, shape.longest);
    sum.labelled += shape.labelled;
  }
  Include(sum);
}

void ChunkLimits::Include(const ChunkLimits& other) {
  tokens = std::max(tokens, other.tokens);
  sequences = std::max(sequences, other.sequences);
  length = std::max(length, other.length);
  labelled = std::max(labelled, other.labelled);
}

}  // namespace attune
