// 4-bit weights in the checkpoints of transformers and bitsandbytes, read and written: a weight X is the
// tensor X (packed bytes) and beside it X.absmax, X.quant_map, X.quant_state.bitsandbytes__nf4 (or __fp4)
// and, doubly quantised, X.nested_absmax and X.nested_quant_map. X ends in ".weight". Source: bitsandbytes
// 0.50.2, nn/modules.py (Linear4bit) and functional.py (QuantState); transformers 5.23.
//
//   X                   U8 (ceil(n / 2), 1), or the same bytes as another type ("bnb_4bit_quant_storage")
//   X.absmax            F32 (blocks); nested: U8 (blocks)
//   X.quant_map         F32 (16)
//   X.nested_absmax     F32 (ceil(blocks / 256))
//   X.nested_quant_map  F32 (256)
//   X.quant_state...    U8, JSON (quant/bnb_state.h)
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "formats/safetensors_shards.h"
#include "quant/bnb4.h"
#include "quant/bnb_state.h"

namespace attune {

// A checked weight of a mapped checkpoint; `view` points into the mapping.
struct Bnb4Weight {
  BnbQuantState state;  // type, block size, the shape and dtype to decode to, whether nested
  Bnb4View view;
  std::vector<const TensorView*> parts;  // all its tensors, for DropPages

  int64_t rows() const { return state.shape[0]; }
  int64_t columns() const;  // elements of a row: the product of the other sizes

  // Rows first ... first + count - 1, row-major (quant/bnb4.h says how values are formed).
  void DecodeRows(int64_t first, int64_t count, float* out) const;
  void DecodeRows(int64_t first, int64_t count, uint16_t* bf16_out) const;
};

// Where a checkpoint's tensors are looked up: SafetensorsModel::Find or SafetensorsFile::Find.
using FindTensor = std::function<const TensorView*(std::string_view)>;

// The 4-bit weight of this name; nothing when the tensor is absent or plain (nothing of quantisation beside
// it). Any spans are safe to decode from afterwards, whatever the file held. `where` names the checkpoint in
// errors. Errors: Error{kBadInput}, one line naming the tensor: a part missing, of a wrong type or size, or
// contradicting another; a table that is not that of the type; a state that ParseBnbQuantState refuses.
std::optional<Bnb4Weight> FindBnb4Weight(const FindTensor& find, const std::string& name, const std::string& where);

// The names of the parts of `name` besides itself, those that belong to either type and to nested scales too:
// what a reader of the checkpoint's other tensors skips. Not all need exist.
bool IsBnb4Part(std::string_view tensor_name);

// How a weight is to be packed.
struct Bnb4Settings {
  Bnb4Type type = Bnb4Type::kNf4;
  int64_t block_size = 64;
  bool nested = false;
  DType storage = DType::kU8;  // U8, I8, F16, BF16, F32, F64: the type under which the packed bytes are saved
};

// Packs one weight. Threads may call EncodeBlocks for disjoint ranges, covering all; then Finish.
class Bnb4Encoder {
 public:
  // A weight called `name` of this shape, its values of type F32, F16 or BF16. Errors: Error{kBadInput} when
  // its packed bytes are no whole number of `storage`, or it has no elements.
  Bnb4Encoder(const Bnb4Settings& settings, const std::string& name, DType dtype, const std::vector<int64_t>& shape);

  // The tensors that Finish will give, for a writer that wants sizes first. Nested, the state holds a mean whose digits
  // are not known before: it is the group's late tensor.
  TensorGroup Declare() const;

  int64_t blocks() const { return static_cast<int64_t>(absmax_.size()); }
  // Blocks first ... last - 1 of the values at `source`, the start of the whole tensor.
  void EncodeBlocks(const std::byte* source, int64_t first, int64_t last);

  // A tensor of the checkpoint and its bytes.
  struct Part {
    TensorDeclaration declaration;
    std::vector<std::byte> bytes;
  };
  // All tensors of the weight, in bitsandbytes' order. Call it once. Errors: Error{kBadInput} when the weight
  // holds a value that is not finite.
  std::vector<Part> Finish();

 private:
  Bnb4Settings settings_;
  std::string name_;
  BnbQuantState state_;
  int64_t elements_;
  std::vector<std::byte> packed_;
  std::vector<float> absmax_;
};

}  // namespace attune
