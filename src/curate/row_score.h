// What a model says of a row. Models are above this layer: whoever has one supplies the numbers.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "curate/embeddings.h"

namespace attune {

struct RowScore {
  int64_t tokens = 0;     // of the answers, that the losses are means over; 0: the row has no score
  double loss = 0;        // nats a token, given what stands before
  double loss_alone = 0;  // nats a token of the same tokens without that; 0: the row has no prompt

  bool scored() const { return tokens > 0; }
  // Instruction-following difficulty (Li et al. 2023, arXiv:2308.12032): how much of the answer's loss is left once the
  // prompt is known. From 1 on the prompt does not help, or belongs to another answer. nullopt: no score, or no prompt.
  std::optional<double> Ifd() const {
    if (!scored() || loss_alone <= 0) return std::nullopt;
    return loss / loss_alone;
  }
};

// By number over all files, rows that cannot be read among them.
struct RowScores {
  std::vector<RowScore> rows;
  int64_t refused = 0;  // rows that cannot be read, or that training would stop at
};

// Called once, when it is certain that the results can be written: a model takes its time.
using ScoreSource = std::function<RowScores()>;
using EmbeddingSource = std::function<Embeddings()>;

}  // namespace attune
