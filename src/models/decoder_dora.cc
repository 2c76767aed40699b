// The magnitudes of a decoder's weight-decomposed adapters and the norms they go with. A norm changes with A and B
// alone, so it is computed once after each update and not in every pass.
#include <algorithm>

#include "models/decoder.h"
#include "models/dora.h"

namespace attune {

int64_t DoraNormBytes(const AdapterSpec& adapter, DType compute) {
  int64_t norms = 0, room = 0;
  for (const AdapterModule& m : adapter.modules) {
    if (!adapter.HasDora(m.path)) continue;
    norms += 3 * AlignedBytes(m.out * 4);
    room = std::max(room, DoraNormRoomBytes(PaddedRank(m.rank, compute), m.out));
  }
  return norms + room;
}

void Decoder::MakeDora() {
  const int64_t bytes = DoraNormBytes(adapter_, settings_.compute);
  if (bytes == 0) return;
  DeviceAddress next = device_.Allocate(bytes, "the norms of DoRA");
  const auto take = [&](Linear& linear, int64_t layer) {
    LinearDora& dora = linear.adapter.dora;
    if (!dora.magnitude) return;
    for (Matrix* row : {&dora.norm, &dora.factor, &dora.squares}) {
      *row = DenseMatrix(next, DType::kF32, 1, dora.magnitude.cols);
      next = next.Plus(AlignedBytes(dora.magnitude.cols * 4));
    }
    device_.Run(RowSquares{dora.squares, linear.weight});
    dora_.push_back({&linear, layer});
  };
  for (int64_t l = 0; l < spec_.num_hidden_layers; ++l) {
    for (Linear& linear : layers_[static_cast<size_t>(l)].projections) take(linear, l);
    weights_.Release(l);
  }
  take(head_, spec_.num_hidden_layers);
  ReleaseHead();
  dora_room_ = next;
}

void Decoder::RefreshMagnitudes() {
  for (size_t i = 0; i < dora_.size(); ++i) {
    const int64_t layer = dora_[i].layer;
    if (i == 0 || layer != dora_[i - 1].layer) weights_.Prefetch(layer + 1);
    RefreshDora(device_, *dora_[i].linear, dora_room_);
    if (i + 1 < dora_.size() && dora_[i + 1].layer == layer) continue;
    layer == spec_.num_hidden_layers ? ReleaseHead() : weights_.Release(layer);
  }
}

void Decoder::InitializeMagnitudes() {
  for (const DoraLinear& d : dora_)
    device_.Run(Copy{d.linear->adapter.dora.magnitude, d.linear->adapter.dora.norm, {}});
  RefreshMagnitudes();
}

}  // namespace attune
