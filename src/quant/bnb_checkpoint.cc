#include "quant/bnb_checkpoint.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <span>

#include "base/error.h"
#include "quant/dynamic8.h"

namespace attune {
namespace {

constexpr std::string_view kStatePrefix = ".quant_state.bitsandbytes__";
constexpr std::string_view kPartNames[] = {".absmax", ".quant_map", ".nested_absmax", ".nested_quant_map"};
constexpr DType kStorages[] = {DType::kU8, DType::kI8, DType::kF16, DType::kBF16, DType::kF32, DType::kF64};
constexpr float kMapTolerance = 1e-6f;  // builds of torch differ by less

std::string StateName(const std::string& name, Bnb4Type type) {
  return fmt::format("{}{}{}", name, kStatePrefix, NameOf(type));
}

// Collects and checks the parts of one weight.
struct PartFinder {
  const FindTensor& find;
  const std::string& name;
  const std::string& where;
  std::vector<const TensorView*>& parts;

  // The part, of this type and number of elements, given in any shape.
  const TensorView& Require(std::string_view part, DType dtype, int64_t elements) const {
    const std::string full = name + std::string(part);
    const TensorView* tensor = find(full);
    if (tensor == nullptr) {
      BadInput(
          "{}: \"{}\" is 4-bit but \"{}\" is missing; download the checkpoint again or quantise the model "
          "again",
          where, name, full);
    }
    const int64_t count = static_cast<int64_t>(tensor->bytes.size()) / LayoutOf(tensor->dtype).block_bytes;
    if (tensor->dtype != dtype || count != elements) {
      BadInput("{}: \"{}\" is {} {}, but the quant_state of \"{}\" asks for {} ({})", where, full,
               NameOf(tensor->dtype), ShapeText(tensor->shape), name, NameOf(dtype), elements);
    }
    parts.push_back(tensor);
    return *tensor;
  }
};

std::vector<float> Floats(const TensorView& tensor) {
  std::vector<float> values(tensor.bytes.size() / sizeof(float));
  if (!values.empty()) std::memcpy(values.data(), tensor.bytes.data(), values.size() * sizeof(float));
  return values;
}

// A map must be the one we know, up to rounding: a file whose table is another is none that bitsandbytes
// wrote.
void CheckMap(const TensorView& tensor, std::span<const float> known, const std::string& what,
              const std::string& where) {
  const std::vector<float> values = Floats(tensor);
  for (size_t i = 0; i < values.size(); ++i) {
    if (!(std::abs(values[i] - known[i]) <= kMapTolerance)) {
      BadInput("{}: \"{}\" is not {}: entry {} is {}, expected {}", where, tensor.name, what, i, values[i], known[i]);
    }
  }
}

// The state of the weight, nothing for a plain tensor.
std::optional<BnbQuantState> ReadState(const PartFinder& finder) {
  const TensorView* found = nullptr;
  std::optional<Bnb4Type> named;
  for (const Bnb4Type type : {Bnb4Type::kNf4, Bnb4Type::kFp4}) {
    const TensorView* tensor = finder.find(StateName(finder.name, type));
    if (tensor == nullptr) continue;
    if (found != nullptr) {
      BadInput("{}: \"{}\" has two states, \"{}\" and \"{}\"; remove the one that is not its own", finder.where,
               finder.name, found->name, tensor->name);
    }
    found = tensor;
    named = type;
  }
  if (found == nullptr) {
    for (const std::string_view part : kPartNames) {
      const TensorView* tensor = finder.find(finder.name + std::string(part));
      if (tensor == nullptr) continue;
      BadInput("{}: \"{}\" has \"{}\" but no quant_state.bitsandbytes__nf4 or __fp4; quantise the model again",
               finder.where, finder.name, tensor->name);
    }
    return std::nullopt;
  }
  if (found->dtype != DType::kU8) {
    BadInput("{}: \"{}\" is {}, expected U8 (JSON)", finder.where, found->name, NameOf(found->dtype));
  }
  const std::string_view text(reinterpret_cast<const char*>(found->bytes.data()), found->bytes.size());
  const std::string where = fmt::format("{}: \"{}\"", finder.where, found->name);
  BnbQuantState state = ParseBnbQuantState(text, where);
  if (state.type != *named) BadInput("{}: \"quant_type\" is \"{}\"", where, NameOf(state.type));
  finder.parts.push_back(found);
  return state;
}

std::vector<std::byte> BytesOfSpan(std::span<const std::byte> bytes) { return {bytes.begin(), bytes.end()}; }

Bnb4Encoder::Part MakePart(const std::string& name, DType dtype, std::vector<int64_t> shape,
                           std::vector<std::byte> bytes) {
  return {{name, dtype, std::move(shape)}, std::move(bytes)};
}

// A vector of elements as a tensor of one dimension.
template <class T>
Bnb4Encoder::Part MakePart(const std::string& name, DType dtype, std::span<const T> values) {
  return MakePart(name, dtype, {static_cast<int64_t>(values.size())}, BytesOfSpan(std::as_bytes(values)));
}

}  // namespace

int64_t Bnb4Weight::columns() const { return *ElementCount(state.shape) / rows(); }

void Bnb4Weight::DecodeRows(int64_t first, int64_t count, float* out) const {
  DecodeBnb4(view, first * columns(), count * columns(), out);
}

void Bnb4Weight::DecodeRows(int64_t first, int64_t count, uint16_t* bf16_out) const {
  DecodeBnb4(view, first * columns(), count * columns(), bf16_out);
}

std::optional<Bnb4Weight> FindBnb4Weight(const FindTensor& find, const std::string& name, const std::string& where) {
  const TensorView* packed = find(name);
  if (packed == nullptr) return std::nullopt;
  Bnb4Weight weight;
  const PartFinder finder{find, name, where, weight.parts};
  std::optional<BnbQuantState> state = ReadState(finder);
  if (!state) return std::nullopt;
  weight.parts.push_back(packed);
  const int64_t elements = *ElementCount(state->shape), blocks = BlockCount(elements, state->block_size);
  if (std::find(std::begin(kStorages), std::end(kStorages), packed->dtype) == std::end(kStorages) ||
      static_cast<int64_t>(packed->bytes.size()) != Bnb4PackedBytes(elements)) {
    BadInput("{}: \"{}\" is {} {} ({} bytes), but its quant_state says shape {}, which takes {} bytes", where, name,
             NameOf(packed->dtype), ShapeText(packed->shape), packed->bytes.size(), ShapeText(state->shape),
             Bnb4PackedBytes(elements));
  }
  const std::array<float, 16>& table = Bnb4Table(state->type);
  const TensorView& map = finder.Require(".quant_map", DType::kF32, 16);
  CheckMap(map, table, fmt::format("the table of {}", NameOf(state->type)), where);
  std::memcpy(weight.view.table.data(), map.bytes.data(), sizeof weight.view.table);
  weight.view.block_size = state->block_size;
  weight.view.packed = packed->bytes.data();
  weight.view.absmax = finder.Require(".absmax", state->nested ? DType::kU8 : DType::kF32, blocks).bytes.data();
  if (state->nested) {
    weight.view.nested = true;
    weight.view.nested_block_size = state->nested->block_size;
    weight.view.offset = static_cast<float>(state->nested->offset);
    const int64_t nested_blocks = BlockCount(blocks, state->nested->block_size);
    weight.view.nested_absmax = finder.Require(".nested_absmax", DType::kF32, nested_blocks).bytes.data();
    const TensorView& nested_map = finder.Require(".nested_quant_map", DType::kF32, 256);
    CheckMap(nested_map, DynamicMap(true), "the signed dynamic map", where);
    weight.view.nested_map = nested_map.bytes.data();
  } else if (const TensorView* extra = find(name + ".nested_absmax")) {
    BadInput("{}: \"{}\" is there, but the quant_state of \"{}\" has no nested fields", where, extra->name, name);
  }
  weight.state = *std::move(state);
  return weight;
}

bool IsBnb4Part(std::string_view tensor_name) {
  if (tensor_name.find(kStatePrefix) != std::string_view::npos) return true;
  return std::any_of(std::begin(kPartNames), std::end(kPartNames),
                     [&](std::string_view part) { return tensor_name.ends_with(part); });
}

Bnb4Encoder::Bnb4Encoder(const Bnb4Settings& settings, const std::string& name, DType dtype,
                         const std::vector<int64_t>& shape)
    : settings_(settings), name_(name), elements_(ElementCount(shape).value_or(0)) {
  if (elements_ == 0) BadInput("\"{}\" has shape {}: there is nothing to quantise", name, ShapeText(shape));
  state_ = {settings.type, settings.block_size, dtype, shape, std::nullopt};
  const int64_t bytes = Bnb4PackedBytes(elements_), unit = LayoutOf(settings.storage).block_bytes;
  if (bytes % unit != 0) {
    BadInput("\"{}\" packs into {} bytes, which are no whole {}: use bnb_4bit_quant_storage: uint8", name, bytes,
             NameOf(settings.storage));
  }
  packed_.resize(static_cast<size_t>(bytes));
  absmax_.resize(static_cast<size_t>(BlockCount(elements_, settings.block_size)));
}

TensorGroup Bnb4Encoder::Declare() const {
  constexpr int64_t kLongestNumber = 25;  // "-1.2345678901234567e-100" and one to spare
  const std::string state = StateName(name_, settings_.type);
  const int64_t units = std::ssize(packed_) / LayoutOf(settings_.storage).block_bytes;
  TensorGroup group{{{name_, settings_.storage, {units, 1}}, {name_ + ".quant_map", DType::kF32, {16}}}, {}};
  BnbQuantState known = state_;
  if (settings_.nested) known.nested = BnbQuantState::Nested{};
  const int64_t length = std::ssize(BnbQuantStateText(known));
  group.tensors.push_back({name_ + ".absmax", settings_.nested ? DType::kU8 : DType::kF32, {blocks()}});
  if (settings_.nested) {
    group.tensors.push_back({name_ + ".nested_absmax", DType::kF32, {BlockCount(blocks(), NestedScales::kBlockSize)}});
    group.tensors.push_back({name_ + ".nested_quant_map", DType::kF32, {256}});
    group.late = {state, DType::kU8, {length + kLongestNumber}};
  } else {
    group.tensors.push_back({state, DType::kU8, {length}});
  }
  return group;
}

void Bnb4Encoder::EncodeBlocks(const std::byte* source, int64_t first, int64_t last) {
  const int64_t begin = first * settings_.block_size;
  const int64_t count = std::min(last * settings_.block_size, elements_) - begin;
  EncodeBnb4(settings_.type, settings_.block_size, state_.dtype, source + BytesOf(state_.dtype, begin), count,
             reinterpret_cast<uint8_t*>(packed_.data()) + begin / 2, absmax_.data() + first);
}

std::vector<Bnb4Encoder::Part> Bnb4Encoder::Finish() {
  for (size_t block = 0; block < absmax_.size(); ++block) {
    if (!std::isfinite(absmax_[block])) {
      BadInput("\"{}\" holds a value that is not finite among elements {} to {}: the model is damaged", name_,
               static_cast<int64_t>(block) * settings_.block_size,
               std::min(static_cast<int64_t>(block + 1) * settings_.block_size, elements_) - 1);
    }
  }
  std::vector<Part> parts;
  const int64_t units = Bnb4PackedBytes(elements_) / LayoutOf(settings_.storage).block_bytes;
  parts.push_back(MakePart(name_, settings_.storage, {units, 1}, std::move(packed_)));
  NestedScales nested;
  if (settings_.nested) {
    nested = EncodeNestedScales(absmax_);
    state_.nested = {NestedScales::kBlockSize, nested.offset};
    parts.push_back(MakePart<uint8_t>(name_ + ".absmax", DType::kU8, nested.codes));
  } else {
    parts.push_back(MakePart<float>(name_ + ".absmax", DType::kF32, absmax_));
  }
  parts.push_back(MakePart<float>(name_ + ".quant_map", DType::kF32, Bnb4Table(settings_.type)));
  if (settings_.nested) {
    parts.push_back(MakePart<float>(name_ + ".nested_absmax", DType::kF32, nested.absmax));
    parts.push_back(MakePart<float>(name_ + ".nested_quant_map", DType::kF32, DynamicMap(true)));
  }
  const std::string text = BnbQuantStateText(state_);
  parts.push_back(MakePart<char>(StateName(name_, settings_.type), DType::kU8, text));
  return parts;
}

}  // namespace attune
