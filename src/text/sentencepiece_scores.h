// SentencePiece adds the scores of a unigram segmentation in float, tokenizers in double, so that two
// segmentations of one score (the same pieces in another order, as in a run of spaces) are told apart by
// rounding, and differently. Scores that are multiples of 1/64 add up exactly in both, and both then take the
// same one.
#pragma once

#include <string>

namespace attune {

// Rounds the score of every piece in a model file (sentencepiece_model.proto: ModelProto.pieces[].score) to
// the nearest multiple of 1/64, in place. Sums are then exact in float while they stay below 2^18, tens of
// thousands of pieces. Errors: Error{kFailed} when the file is not such a message.
void RoundScores(std::string* model_file);

}  // namespace attune
