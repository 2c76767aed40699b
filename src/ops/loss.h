// The end of the forward pass and the start of the backward one.
#pragma once

#include "tensor/matrix.h"

namespace attune {

// Softmax cross-entropy by row; the gradient overwrites the logits.
//   losses[i] = -log softmax(logits[i])[targets[i]];  correct[i] = 1 where the target is the largest logit
//   logits[i] = scale * (softmax(logits[i]) - onehot(targets[i]))   when gradient
// With label_smoothing e (transformers' LabelSmoother) the target is (1 - e) onehot + e / V everywhere, in
// the loss and in the gradient: losses[i] = (1 - e) nll + e mean over v of -log softmax(logits[i])[v].
struct CrossEntropy {
  static constexpr const char* kName = "cross_entropy";
  Matrix logits;    // (n, V) f32
  Matrix targets;   // (1, n) I32
  Matrix losses;    // (1, n) f32
  Matrix correct;   // (1, n) f32
  Matrix gradient;  // (n, V) C; may be the logits themselves; empty: no gradient
  float scale = 1.0f;
  float label_smoothing = 0.0f;  // in [0, 1)
};

}  // namespace attune
