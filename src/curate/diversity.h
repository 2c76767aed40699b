// Rows that lie far from each other, or stand for all others; and how far apart rows are. Distance is 1 - cosine, 0
// to 2.
#pragma once

#include <cstdint>
#include <vector>

#include "curate/embeddings.h"

namespace attune {

using Places = std::vector<size_t>;  // rows, by their place in the embeddings

// k-centre, greedily: from `first` on, each as far as can be from those before (Gonzalez 1985). Time grows as rows
// times `count`. The result does not depend on the number of threads; this holds for FacilityLocation too.
Places KCentre(const Embeddings& embeddings, const Places& rows, size_t first, size_t count, int64_t threads);

// Each the one that brings the rows nearest to their nearest chosen one, summed over `rows` or, of more than 4096, over
// so many evenly from them (facility location, greedily: Nemhauser et al. 1978; gains are looked at again only where
// they may still be the largest: Minoux 1978).
Places FacilityLocation(const Embeddings& embeddings, const Places& rows, size_t count, int64_t threads);

// Of `rows` or, of more than 2000, so many evenly from them.
struct Diversity {
  int64_t rows = 0;         // that were looked at
  double mean_nearest = 0;  // distance of a row to the nearest other one
  // As how many rows that have nothing in common they count: the Vendi score of order 2, 1 / mean of cosine² over all
  // pairs (Pasarkar & Dieng 2024, arXiv:2310.12952).
  double vendi = 0;
};
Diversity DiversityOf(const Embeddings& embeddings, const Places& rows, int64_t threads);

}  // namespace attune
