// The magnitudes of a decoder's weight-decomposed adapters and the norms they go with. A norm changes with A and B alone,
// so it is computed once after each update and not in every pass.
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
  const auto take = [&](Linear& linear) {
    LinearDora& dora = linear.adapter.dora;
    if (!dora.magnitude) return;
    for (Matrix* row : {&dora.norm, &dora.factor, &dora.squares}) {
      *row = DenseMatrix(next, DType::kF32, 1, dora.magnitude.cols);
      next = next.Plus(AlignedBytes(dora.magnitude.cols * 4));
    }
    device_.Run(RowSquares{dora.squares, linear.weight});
    dora_.push_back(&linear);
  };
  for (Layer& layer : layers_) {
    for (Linear& linear : layer.projections) take(linear);
  }
  take(head_);
  dora_room_ = next;
}

void Decoder::RefreshMagnitudes() {
  for (const Linear* linear : dora_) RefreshDora(device_, *linear, dora_room_);
}

void Decoder::InitializeMagnitudes() {
  for (const Linear* linear : dora_) device_.Run(Copy{linear->adapter.dora.magnitude, linear->adapter.dora.norm, {}});
  RefreshMagnitudes();
}

}  // namespace attune
