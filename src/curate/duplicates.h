// Which rows say the same: exactly (after Unicode, case and white space are made alike), nearly (Jaccard
// similarity of their shingles) or, where the caller has vectors of what they say, in other words. Memory grows by 200
// to 350 bytes a row, and by the shingles of rows that may have a double; with DuplicateSettings::memory all but some
// 60 bytes a row can go to a file.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "curate/row.h"
#include "curate/row_score.h"
#include "curate/stage_files.h"

namespace attune {

enum class CompareBy { kPrompt, kAnswer, kBoth };
inline constexpr const char* kCompareNames[] = {"prompt", "answer", "both"};

// The text of a row that is compared; `scratch` may hold it.
std::string_view ComparedText(const Row& row, CompareBy by, PromptAnswerScratch* scratch);

struct DuplicateSettings {
  CompareBy by = CompareBy::kBoth;
  bool near = true;            // not only exact ones
  double threshold = 0.7;      // Jaccard
  EmbeddingSource embeddings;  // of the compared texts, by number of the row; absent: their meaning is not looked at
  double semantic_threshold = 0.9;      // cosine of two embeddings
  nlohmann::ordered_json model;         // what a manifest says of where they come from
  std::string score;                    // a column of numbers, kept in RowOrigin::score; empty: none
  std::string label;                    // a column, of which RowOrigin::label is a hash; empty: none
  int64_t memory = 0;                   // bytes the index may take before it goes to a file beside the output; 0: any
  std::vector<std::string> signatures;  // SketchData's files of all shards of the input, in any order; empty: made now
};

struct RowOrigin {
  uint32_t file = 0;
  uint32_t length = 0;  // bytes of the compared text
  int64_t line = 0;
  uint64_t content = 0;  // a hash of the compared text, the same wherever the row stands; 0: none, or it cannot be read
  uint64_t label = 0;    // 0: the row has none
  double score = 0;      // -infinity where the row has none
};

inline constexpr uint32_t kNoRow = UINT32_MAX;

// All rows of the input by number, in its order, those that cannot be read among them (they are like no
// other).
struct DuplicateClusters {
  std::vector<RowOrigin> rows;
  std::vector<uint32_t> cluster;  // of each row: the lowest row of its cluster
  // Of each row one that it was found to be like, and how like (1: exactly); kNoRow: none.
  std::vector<uint32_t> twin;
  std::vector<float> similarity;
  std::vector<bool> semantic;  // by their embeddings: similarity is a cosine
  int64_t candidates = 0,
          near_pairs = 0;  // pairs compared, pairs that were alike enough to join two clusters
  // What it took: to read, parse and sketch all rows; to find candidates; to read again and compare them.
  double sketch_seconds = 0, candidate_seconds = 0, compare_seconds = 0;
};

// The lowest row of a cluster while clusters grow: `cluster` leads each row to a lower one, at last to that.
uint32_t RootOf(std::vector<uint32_t>& cluster, uint32_t row);

// Every pair that shares a cluster is joined by a chain of pairs at or above the threshold, each compared
// exactly. Pairs are found by MinHash (curate/minhash.h). The result does not depend on the number of
// threads. Errors: Error{kBadInput} as RowSource, for more than 4 billion rows, and with strict for the first
// broken row.
DuplicateClusters FindDuplicates(const StageInput& stage, const DuplicateSettings& settings);

// The first half of that for stage.shard: writes NAME.signatures (curate/signatures.h), the output's NAME. Returns
// "rows" and "signatures", its path. Errors: as FindDuplicates; Error{kBadInput} where the file is there already.
nlohmann::ordered_json SketchData(const StageInput& stage, const DuplicateSettings& settings);

// What a manifest says of the comparison.
nlohmann::ordered_json ToJson(const DuplicateSettings& settings);

}  // namespace attune
