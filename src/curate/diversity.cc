#include "curate/diversity.h"

#include <algorithm>
#include <numeric>
#include <queue>

#include "base/threads.h"

namespace attune {
namespace {

constexpr size_t kMeasuredRows = 2000;
constexpr size_t kCoveredRows = 4096;
constexpr size_t kRowsAPiece = 4096;
constexpr size_t kGainsAtOnce = 32;

struct NoDiversityRoom {};

float DistanceOf(const Embeddings& embeddings, size_t a, size_t b) {
  return 1 - Cosine(embeddings.Row(a), embeddings.Row(b));
}

Places EvenlyFrom(const Places& rows, size_t most) {
  const size_t count = std::min(rows.size(), most);
  Places found;
  for (size_t i = 0; i < count; ++i) found.push_back(rows[i * rows.size() / count]);
  return found;
}

// A candidate of facility location: what it would add, as it was when `chosen` rows had been chosen.
struct Gain {
  double gain = 0;
  size_t row = 0, chosen = 0;
  bool operator<(const Gain& other) const { return gain != other.gain ? gain < other.gain : row > other.row; }
};

class Coverage {
 public:
  Coverage(const Embeddings& embeddings, const Places& rows, int64_t threads)
      : embeddings_(embeddings), threads_(threads), covered_(EvenlyFrom(rows, kCoveredRows)) {
    nearest_.assign(covered_.size(), -1);  // no row is farther than that
  }

  void Update(std::vector<Gain>* gains, size_t chosen) const {
    const size_t pieces = (gains->size() + kGainsAtOnce - 1) / kGainsAtOnce;
    InThreads<NoDiversityRoom>(
        std::min<int64_t>(threads_, static_cast<int64_t>(pieces)), pieces, [&](size_t piece, NoDiversityRoom&) {
          for (size_t i = piece * kGainsAtOnce; i < std::min(gains->size(), (piece + 1) * kGainsAtOnce); ++i)
            (*gains)[i] = {GainOf((*gains)[i].row), (*gains)[i].row, chosen};
        });
  }

  void Add(size_t row) {
    for (size_t i = 0; i < covered_.size(); ++i)
      nearest_[i] = std::max(nearest_[i], Cosine(embeddings_.Row(covered_[i]), embeddings_.Row(row)));
  }

 private:
  double GainOf(size_t row) const {
    double gain = 0;
    for (size_t i = 0; i < covered_.size(); ++i)
      gain += std::max(0.0f, Cosine(embeddings_.Row(covered_[i]), embeddings_.Row(row)) - nearest_[i]);
    return gain;
  }

  const Embeddings& embeddings_;
  int64_t threads_;
  Places covered_;
  std::vector<float> nearest_;  // cosine of each to its nearest chosen row
};

}  // namespace

Places KCentre(const Embeddings& embeddings, const Places& rows, size_t first, size_t count, int64_t threads) {
  std::vector<float> distance(rows.size(), 3);  // to the nearest that is chosen; -1: is chosen
  const size_t pieces = (rows.size() + kRowsAPiece - 1) / kRowsAPiece;
  Places farthest(pieces), chosen;
  for (size_t last = first; chosen.size() < count;) {
    chosen.push_back(rows[last]);
    distance[last] = -1;
    InThreads<NoDiversityRoom>(
        std::min<int64_t>(threads, static_cast<int64_t>(pieces)), pieces, [&](size_t piece, NoDiversityRoom&) {
          const size_t begin = piece * kRowsAPiece, end = std::min(rows.size(), begin + kRowsAPiece);
          farthest[piece] = begin;
          for (size_t i = begin; i < end; ++i) {
            if (distance[i] >= 0)
              distance[i] = std::max(0.0f, std::min(distance[i], DistanceOf(embeddings, chosen.back(), rows[i])));
            if (distance[i] > distance[farthest[piece]]) farthest[piece] = i;
          }
        });
    last = *std::max_element(farthest.begin(), farthest.end(),
                             [&](size_t a, size_t b) { return distance[a] < distance[b]; });
  }
  return chosen;
}

Places FacilityLocation(const Embeddings& embeddings, const Places& rows, size_t count, int64_t threads) {
  Coverage coverage(embeddings, rows, threads);
  std::vector<Gain> gains;
  for (const size_t row : rows) gains.push_back({0, row, 0});
  coverage.Update(&gains, 0);
  std::priority_queue<Gain> queue(std::less<Gain>{}, std::move(gains));
  Places chosen;
  while (chosen.size() < count) {
    // Gains only shrink: one that is up to date and still the largest is the largest of all.
    std::vector<Gain> stale;
    while (!queue.empty() && queue.top().chosen < chosen.size() && stale.size() < kGainsAtOnce) {
      stale.push_back(queue.top());
      queue.pop();
    }
    if (stale.empty()) {
      chosen.push_back(queue.top().row);
      coverage.Add(queue.top().row);
      queue.pop();
      continue;
    }
    coverage.Update(&stale, chosen.size());
    for (const Gain& gain : stale) queue.push(gain);
  }
  return chosen;
}

Diversity DiversityOf(const Embeddings& embeddings, const Places& rows, int64_t threads) {
  const Places looked_at = EvenlyFrom(rows, kMeasuredRows);
  const size_t count = looked_at.size();
  std::vector<float> least(count, 2);
  std::vector<double> squares(count);
  InThreads<NoDiversityRoom>(threads, count, [&](size_t a, NoDiversityRoom&) {
    for (size_t b = 0; b < count; ++b) {
      const float cosine = Cosine(embeddings.Row(looked_at[a]), embeddings.Row(looked_at[b]));
      squares[a] += static_cast<double>(cosine) * cosine;
      if (a != b) least[a] = std::min(least[a], 1 - cosine);
    }
  });
  const auto n = static_cast<double>(count);
  const double sum = std::accumulate(squares.begin(), squares.end(), 0.0);
  return {static_cast<int64_t>(count), count == 0 ? 0 : std::accumulate(least.begin(), least.end(), 0.0) / n,
          sum == 0 ? 0 : n * n / sum};
}

}  // namespace attune
