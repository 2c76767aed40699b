// Takes out rows that repeat a stretch of an evaluation file: what was seen in training measures nothing.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "curate/row.h"
#include "curate/shingles.h"
#include "curate/stage_files.h"

namespace attune {

inline constexpr size_t kShortRun = 8, kLongRun = 12;  // words in a row: both are counted

struct DecontaminateSettings {
  StageInput stage;
  std::vector<std::string> against;  // evaluation files and folders
  size_t words = kShortRun;          // rows with so many words in common in a row are taken out; at least kShortRun
};

// The texts of evaluation rows by their runs of kShortRun words. Words are compared as NormalWords reads
// them. System prompts are left out: everybody shares them. Of a text with fewer words only the whole counts,
// and only where it is a question or a document: many an answer is "Yes.".
class EvalIndex {
 public:
  struct Match {
    size_t words = 0;    // in common in a row; 0: none
    size_t begin = 0;    // the first of them in the text looked at
    uint32_t row = 0;    // of the evaluation rows, as added
    bool whole = false;  // both texts are these words and no more, and it is no answer
  };

  void Add(const Row& row, uint32_t number);
  void Finish();  // call once, after all Add
  // The longest run that the text shares with any of the index.
  Match Longest(const NormalWords& text, Speaker speaker) const;

 private:
  struct Run {
    uint64_t hash;
    uint32_t at;  // in words_
  };
  struct Whole {
    uint64_t hash;
    uint32_t row;
  };
  std::vector<uint64_t> words_;   // hashes, 0 between texts
  std::vector<uint32_t> row_of_;  // of each word
  std::vector<Run> runs_;         // sorted by hash, then place
  std::vector<Whole> wholes_;     // sorted
  std::vector<uint64_t> filter_;  // bits of the hashes in runs_: most questions are answered by it
  NormalWords scratch_;
};

// Returns the manifest: rows, "removed", "rows_sharing_8_words", "rows_sharing_12_words", "eval_rows",
// "eval_rows_found" and examples with the text. A removed line has "eval" (file and line), "words" and
// "text". Errors: as RowSource and StageFiles.
nlohmann::ordered_json DecontaminateData(const DecontaminateSettings& settings);

}  // namespace attune
