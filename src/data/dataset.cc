#include "data/dataset.h"

#include <algorithm>
#include <atomic>
#include <exception>
#include <span>
#include <string_view>
#include <thread>
#include <utility>

#include "base/error.h"
#include "base/file.h"
#include "data/data_files.h"
#include "data/jsonl.h"

namespace attune {
namespace {

constexpr size_t kChunkRows = 32;

// One run of rows, encoded by one thread.
struct Chunk {
  std::vector<Example> examples;
  std::exception_ptr error;  // of its first broken row
};

// One file: hands chunks of rows to whichever thread is free; each writes only its own chunk.
class ParallelEncoder {
 public:
  ParallelEncoder(const MappedFile& file, std::span<const JsonlLine> lines, const RowEncoder& encoder)
      : file_(file), lines_(lines), encoder_(encoder), chunks_((lines.size() + kChunkRows - 1) / kChunkRows) {}

  void Run(size_t threads) {
    threads = std::clamp<size_t>(threads, 1, std::max<size_t>(1, chunks_.size()));
    std::vector<std::jthread> workers;
    for (size_t i = 1; i < threads; ++i) workers.emplace_back([this] { Work(); });
    Work();
  }

  // Call after Run. Throws the error of the first broken row.
  std::vector<Example> Take() {
    std::vector<Example> examples;
    examples.reserve(lines_.size());
    for (Chunk& chunk : chunks_) {
      if (chunk.error) std::rethrow_exception(chunk.error);
      std::move(chunk.examples.begin(), chunk.examples.end(), std::back_inserter(examples));
    }
    return examples;
  }

 private:
  void Work() {
    // Chunks are taken in order, so all before a failed one are finished too and the first error is found.
    while (!failed_) {
      const size_t index = next_++;
      if (index >= chunks_.size()) return;
      try {
        EncodeChunk(index);
      } catch (...) {
        chunks_[index].error = std::current_exception();
        failed_ = true;
      }
    }
  }

  void EncodeChunk(size_t index) {
    const auto rows = lines_.subspan(index * kChunkRows, std::min(kChunkRows, lines_.size() - index * kChunkRows));
    for (const JsonlLine& line : rows) {
      Example example = encoder_.Encode(ReadDataRow(line, file_.path(), encoder_.has_chat_template()));
      example.row_line = line.number;
      chunks_[index].examples.push_back(std::move(example));
    }
    const char* first = rows.front().text.data();
    const size_t bytes = static_cast<size_t>(rows.back().text.data() + rows.back().text.size() - first);
    file_.DropPages(std::as_bytes(std::span(first, bytes)));
  }

  const MappedFile& file_;
  std::span<const JsonlLine> lines_;
  const RowEncoder& encoder_;
  std::vector<Chunk> chunks_;
  std::atomic<size_t> next_ = 0;
  std::atomic<bool> failed_ = false;
};

void CountTokens(Dataset& dataset) {
  TokenStats& stats = dataset.stats;
  std::vector<int64_t> lengths;
  for (const Example& example : dataset.examples) {
    lengths.push_back(std::ssize(example.input_ids));
    stats.tokens += lengths.back();
    stats.trained_tokens += TrainedTokens(example);
  }
  if (lengths.empty()) return;
  std::sort(lengths.begin(), lengths.end());
  const size_t n = lengths.size();
  stats.shortest = lengths.front();
  stats.median = lengths[(n - 1) / 2];
  stats.p95 = lengths[(n * 95 + 99) / 100 - 1];  // nearest rank
  stats.longest = lengths.back();
}

}  // namespace

std::string Dataset::RowName(const Example& example) const {
  return fmt::format("{}:{}", files[static_cast<size_t>(example.file)], example.row_line);
}

Dataset LoadDataset(const std::string& path, const RowEncoder& encoder, int threads) {
  Dataset dataset;
  dataset.files = DataFiles(path);
  for (size_t i = 0; i < dataset.files.size(); ++i) {
    const MappedFile file(dataset.files[i]);
    const std::vector<JsonlLine> lines = SplitJsonl(file.text());
    ParallelEncoder parallel(file, lines, encoder);
    parallel.Run(threads > 0 ? static_cast<size_t>(threads) : std::thread::hardware_concurrency());
    for (Example& example : parallel.Take()) {
      example.file = static_cast<int32_t>(i);
      dataset.stats.rows += 1;
      dataset.stats.truncated += example.truncated;
      if (TrainedTokens(example) > 0) dataset.examples.push_back(std::move(example));
    }
  }
  if (dataset.stats.rows == 0) BadInput("{}: holds no rows", path);
  dataset.stats.dropped = dataset.stats.rows - std::ssize(dataset.examples);
  if (dataset.examples.empty()) {
    BadInput(
        "{}: none of its {} rows has a token to train on: there are no answers, or max_length cuts them off "
        "({} rows were cut)",
        path, dataset.stats.rows, dataset.stats.truncated);
  }
  CountTokens(dataset);
  return dataset;
}

}  // namespace attune
