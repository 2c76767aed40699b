#include "plan/stored_weights.h"

#include "quant/bnb4.h"
#include "tensor/matrix.h"

namespace attune {
namespace {

constexpr int64_t kBlock = 64;  // bitsandbytes' default, as attune quantize writes it

int64_t PackedWithScales(int64_t elements, bool nested) {
  const int64_t blocks = BlockCount(elements, kBlock);
  const int64_t scales = nested ? blocks + 4 * BlockCount(blocks, NestedScales::kBlockSize) : 4 * blocks;
  return AlignedBytes(Bnb4PackedBytes(elements)) + AlignedBytes(scales);
}

}  // namespace

int64_t Nf4Bytes(const ModelSpec& spec, int64_t other_parameters, DType compute, bool nested) {
  int64_t bytes = 0;
  for (const ExpectedTensor& t : ExpectedTensors(spec)) {
    const int64_t elements = ElementCount(t.shape).value_or(0);
    if (t.shape.size() == 1) {
      bytes += AlignedBytes(elements * 4);
    } else if (t.name.starts_with("model.layers.")) {
      bytes += PackedWithScales(elements, nested);
    } else {
      bytes += AlignedBytes(BytesOf(compute, elements));
    }
  }
  const int64_t others = PackedWithScales(other_parameters < 0 ? -other_parameters : other_parameters, nested);
  return other_parameters < 0 ? bytes - others : bytes + others;
}

int64_t CacheBytes(const ModelSpec& spec, int64_t tokens) {
  return 2 * 4 * spec.num_hidden_layers * spec.num_key_value_heads * spec.head_dim * tokens;
}

}  // namespace attune
