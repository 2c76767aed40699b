// The decoder: one block for every family, forward and hand-written backward, on a device, in the memory of a static
// plan. It knows nothing of files, text or optimisers.
//
// A batch is T tokens of packed sequences. TrainBatch adds to the gradient vector; the caller decides when to step. Not
// thread-safe: one engine thread.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "models/decoder_plan.h"
#include "models/linear.h"
#include "models/model_spec.h"
#include "models/trainable.h"
#include "models/weights.h"

namespace attune {

// Packed sequences on the host.
struct PackedBatch {
  std::vector<int32_t> input_ids;  // T
  std::vector<int32_t> positions;  // T, from 0 in every sequence
  std::vector<int32_t> starts;     // sequences + 1
  std::vector<int32_t> keys;       // T keys of dropout and noise (DropoutKey); empty: neither
  std::vector<int32_t> rows;       // rows whose next token is trained or scored
  std::vector<int32_t> targets;    // that next token

  int64_t tokens() const { return static_cast<int64_t>(input_ids.size()); }

  // Appends one sequence; labels are unshifted, -100 where masked (row t predicts labels[t + 1]).
  void Append(std::span<const int32_t> ids, std::span<const int32_t> labels);
};

// Everything a token's dropout may depend on, in 32 bits: the same token of the same example in the same step draws the
// same masks in any packing, recomputation or resumed run.
int32_t DropoutKey(uint64_t seed, int64_t step, int64_t example, int64_t position);

struct BatchLoss {
  double sum = 0;  // of -log p over the rows
  int64_t rows = 0;
  int64_t correct = 0;  // rows whose target had the largest logit
};

class Decoder {
 public:
  // `trainables`, with `vectors`, are what AdapterTrainables(adapter) lists; both empty: nothing is trained. `weights`
  // must outlive the decoder.
  Decoder(Device& device, const ModelSpec& spec, const ModelWeights& weights, const AdapterSpec& adapter,
          const std::vector<TrainableTensor>& trainables, const TrainableVectors* vectors,
          const DecoderSettings& settings);
  ~Decoder();

  // Brings what products read up to date with the trained vector. Call after every change of it.
  void RefreshTrained();

  // The first value of every DoRA magnitude: the norm of its row, so that training starts from the adapter without it.
  void InitializeMagnitudes();

  // Forward and backward; gradients of scale * (sum of losses) are added to the gradient vector.
  BatchLoss TrainBatch(const PackedBatch& batch, float scale);

  // Forward only. `losses`: where not null, takes -log p of each of batch.rows.
  BatchLoss EvaluateBatch(const PackedBatch& batch, std::vector<float>* losses = nullptr);

  // Logits of batch.rows, piece by piece: sink(first, logits) with (rows, vocab) f32 on the host.
  void Logits(const PackedBatch& batch, const std::function<void(int64_t, std::span<const float>)>& sink);

  // What the head reads of batch.rows, the last residual after the last norm: (rows, hidden_size) f32. The head does
  // not run.
  std::vector<float> LastHidden(const PackedBatch& batch);

  // Runs the batch forward, without dropout, and hands out what the projections of each block read: observer(layer,
  // slot, x), x (T, in) C, for the first slot of LayerBuffers::low that reads it: 0 (q, k, v), 3 (o), 4 (gate, up), 6
  // (down).
  using InputObserver = std::function<void(int64_t layer, int slot, const Matrix& x)>;
  void ObserveInputs(const PackedBatch& batch, const InputObserver& observer);

  // Runs the batch forward as training would and names the first module whose output holds a value that is not finite
  // ("model.layers.3.mlp"), or gives "" where all are finite.
  std::string FirstNonFinite(const PackedBatch& batch);

  // The tensor whose gradient holds a value that is not finite, by its key: of several the one nearest to the loss. "":
  // none.
  std::string FirstNonFiniteGradient();

  // Whether training needs keys in its batches.
  bool draws_random_numbers() const {
    return (adapter_.dropout > 0 && !adapter_.modules.empty()) || settings_.neftune_noise_alpha > 0;
  }

  const DecoderPlan& plan() const { return plan_; }
  size_t vocab_size() const { return static_cast<size_t>(spec_.vocab_size); }
  int64_t hidden_size() const { return spec_.hidden_size; }
  int64_t max_tokens() const { return settings_.max_tokens; }  // of a batch

 private:
  struct Norm {
    Matrix weight, dweight;  // (1, H) f32, of queries and keys (1, head_dim); dweight empty: frozen
  };
  struct Layer {
    Linear projections[7];
    Norm norm1, norm2;
    Norm q_norm, k_norm;  // empty: the model has none
  };
  // The embedding and its low-rank adapter, which PEFT gives no dropout: x = E[id] + scale A[id] B, all in f32.
  struct Table {
    Matrix weight, dweight;  // (V, H)
    Matrix a, b, da, db;     // (V, rank), (rank, H); empty: no adapter
    Matrix rows, drows;      // (tokens, H): of tokens that are trained
    float scale = 1.0f;
    bool trained() const { return dweight || da || drows; }
  };

  Matrix At(StepPlan::Id id, int64_t rows) const { return plan_.plan.View(arena_, id, rows); }
  void BindWeights(const ModelWeights& weights);
  Linear MakeLinear(const std::string& path, int slot, const ModelWeights& weights);
  Norm MakeNorm(const std::string& path, const ModelWeights& weights);
  void BindTable(const ModelWeights& weights);
  void BindTrained(const std::string& path, Linear* linear);
  void MakeComputeCopies();
  void PutTokenRows();
  void MakeDora();
  void RefreshMagnitudes();
  Matrix Copied(const TrainableTensor& tensor) const;
  int64_t LowestTrainedLayer() const;
  void Upload(const PackedBatch& batch);
  void UploadTokenSlots(const PackedBatch& batch);
  void AddHeadTokenGradient(const Matrix& dlogits, const Matrix& x);
  void UploadInts(StepPlan::Id id, const std::vector<int32_t>& values);
  LinearContext Context() const;
  Matrix Low(StepPlan::Id id, const Linear& linear) const;
  Matrix Direction(StepPlan::Id id, const Linear& linear) const;
  AttentionShape ShapeOf(int64_t layer) const;
  void RunRope(int64_t layer, const Matrix& q, const Matrix& k, bool inverse);
  void NormHeads(int64_t layer, const Matrix& q, const Matrix& k);
  void BackwardHeadNorms(int64_t layer, const Matrix& dq, const Matrix& dk);

  void ForwardAll();
  void ReleaseHead();
  void ForwardEmbedding();
  void AddEmbeddingAdapter(const Matrix& x, const Matrix& ids);
  void ForwardBlock(int64_t layer, bool recompute);
  void ForwardAttention(int64_t layer, const Matrix& x, const Matrix& x2);
  void ForwardMlp(int64_t layer, const Matrix& x2, const Matrix& x_next, bool recompute);
  void NormHeadRows(int64_t rows);
  BatchLoss RunHead(bool train, float scale, std::vector<float>* losses);
  void BackwardAll();
  void BackwardEmbedding();
  void BackwardNorm(const Norm& norm, const RmsNormBackward& op);
  void BackwardMlp(int64_t layer);
  void BackwardAttention(int64_t layer);
  void NormInto(const Matrix& out, const Matrix& x, const Norm& norm, const Matrix& rstd);
  Matrix LayerInput(int64_t layer) const;
  bool HasNonFinite(const Matrix& x);

  Device& device_;
  ModelSpec spec_;
  const ModelWeights& weights_;
  DecoderSettings settings_;
  AdapterSpec adapter_;
  DecoderPlan plan_;
  DeviceAddress arena_;
  std::vector<Layer> layers_;
  Linear head_;
  Norm final_norm_;
  Table table_;
  int64_t lowest_trained_layer_ = 0;  // -1: the embedding; nothing below needs a gradient

  // Trained tensors by module, and what products in bf16 read of them.
  struct ComputeCopy {
    Matrix from, to;
  };
  const TrainableVectors* vectors_;
  std::vector<TrainableTensor> trainables_;
  std::unordered_map<std::string, std::vector<TrainableTensor>> trained_;
  std::vector<ComputeCopy> copies_;
  struct DoraLinear {
    const Linear* linear;
    int64_t layer;  // num_hidden_layers: the head
  };
  std::vector<DoraLinear> dora_;  // those with magnitudes, in the order of the forward pass
  DeviceAddress dora_room_;

  int64_t tokens_ = 0, sequences_ = 0, labelled_ = 0;
  std::vector<int32_t> starts_;              // of the batch, as on the device
  bool has_keys_ = false, dropout_ = false;  // of the batch: training, with dropout
  InputObserver observer_;                   // while ObserveInputs runs
};

// The tensors that are trained, by the names of the files they are saved in, offsets assigned.
std::vector<TrainableTensor> AdapterTrainables(const AdapterSpec& adapter);

// Bytes a decoder allocates beside its arena and the trained vectors: what bf16 products read of trained matrices.
int64_t ComputeCopyBytes(const ModelSpec& spec, const AdapterSpec& adapter, DType compute);

// Likewise: the norms of weight-decomposed adapters, and the room they are computed in.
int64_t DoraNormBytes(const AdapterSpec& adapter, DType compute);

}  // namespace attune
