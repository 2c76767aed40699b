#include "curate/similar_rows.h"

#include <hnswlib/hnswlib.h>

#include <algorithm>
#include <tuple>

#include "base/threads.h"

namespace attune {
namespace {

constexpr size_t kLinks = 16, kBuildWidth = 200;  // of the index: the authors' M and efConstruction
constexpr size_t kNeighbours = 32, kSearchWidth = 128;
constexpr size_t kRowsSearchedAtOnce = 64;

}  // namespace

std::vector<SimilarPair> FindSimilarPairs(const Embeddings& embeddings, std::span<const uint32_t> rows,
                                          double threshold, int64_t threads) {
  if (rows.size() < 2) return {};
  hnswlib::InnerProductSpace space(embeddings.width);
  hnswlib::HierarchicalNSW<float> index(&space, rows.size(), kLinks, kBuildWidth);
  for (const uint32_t row : rows) index.addPoint(embeddings.Row(row).data(), row);
  index.setEf(kSearchWidth);
  struct NoSearchRoom {};
  const size_t pieces = (rows.size() + kRowsSearchedAtOnce - 1) / kRowsSearchedAtOnce;
  std::vector<std::vector<SimilarPair>> found(pieces);
  InThreads<NoSearchRoom>(
      std::min<int64_t>(threads, static_cast<int64_t>(pieces)), pieces, [&](size_t piece, NoSearchRoom&) {
        const size_t begin = piece * kRowsSearchedAtOnce;
        for (const uint32_t row : rows.subspan(begin, std::min(kRowsSearchedAtOnce, rows.size() - begin))) {
          auto nearest =
              index.searchKnn(embeddings.Row(row).data(), std::min(kNeighbours + 1, rows.size()));  // itself among them
          for (; !nearest.empty(); nearest.pop()) {
            const auto other = static_cast<uint32_t>(nearest.top().second);
            const float cosine = Cosine(embeddings.Row(row), embeddings.Row(other));
            if (other != row && cosine >= threshold)
              found[piece].push_back({std::min(row, other), std::max(row, other), cosine});
          }
        }
      });
  std::vector<SimilarPair> pairs;
  for (const auto& part : found) pairs.insert(pairs.end(), part.begin(), part.end());
  std::sort(pairs.begin(), pairs.end(),
            [](const SimilarPair& x, const SimilarPair& y) { return std::tie(x.a, x.b) < std::tie(y.a, y.b); });
  pairs.erase(std::unique(pairs.begin(), pairs.end()), pairs.end());
  return pairs;
}

}  // namespace attune
