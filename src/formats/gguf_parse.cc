// Bytes to GgufContents. Every count is checked against the bytes that are left before anything is allocated
// for it.
#include <algorithm>
#include <cstring>

#include "base/error.h"
#include "formats/gguf.h"

namespace attune {
namespace {

constexpr int kMaxArrayDepth = 4;         // nobody nests deeper than two
constexpr uint32_t kMaxDimensions = 4;    // ggml's own limit
constexpr uint64_t kMinKeyBytes = 13;     // length of the key, type, one byte of value
constexpr uint64_t kMinTensorBytes = 24;  // length of the name, dimensions, type, offset

// Names and layouts of ggml's tensor types; those without a DType are refused by name.
struct TensorType {
  uint32_t id;
  const char* name;
  std::optional<DType> dtype;
};
constexpr TensorType kTensorTypes[] = {
    {0, "F32", DType::kF32},    {1, "F16", DType::kF16},    {2, "Q4_0", DType::kQ4_0},  {3, "Q4_1", DType::kQ4_1},
    {6, "Q5_0", DType::kQ5_0},  {7, "Q5_1", DType::kQ5_1},  {8, "Q8_0", DType::kQ8_0},  {9, "Q8_1", {}},
    {10, "Q2_K", DType::kQ2_K}, {11, "Q3_K", DType::kQ3_K}, {12, "Q4_K", DType::kQ4_K}, {13, "Q5_K", DType::kQ5_K},
    {14, "Q6_K", DType::kQ6_K}, {15, "Q8_K", {}},           {16, "IQ2_XXS", {}},        {17, "IQ2_XS", {}},
    {18, "IQ3_XXS", {}},        {19, "IQ1_S", {}},          {20, "IQ4_NL", {}},         {21, "IQ3_S", {}},
    {22, "IQ2_S", {}},          {23, "IQ4_XS", {}},         {24, "I8", DType::kI8},     {25, "I16", DType::kI16},
    {26, "I32", DType::kI32},   {27, "I64", DType::kI64},   {28, "F64", DType::kF64},   {29, "IQ1_M", {}},
    {30, "BF16", DType::kBF16}, {34, "TQ1_0", {}},          {35, "TQ2_0", {}},          {39, "MXFP4", {}},
    {40, "NVFP4", {}},          {41, "Q1_0", {}},
};

// Bytes of one element, 0 for texts and arrays.
uint64_t SizeOf(GgufType type) {
  switch (type) {
    case GgufType::kU8:
    case GgufType::kI8:
    case GgufType::kBool:
      return 1;
    case GgufType::kU16:
    case GgufType::kI16:
      return 2;
    case GgufType::kU32:
    case GgufType::kI32:
    case GgufType::kF32:
      return 4;
    case GgufType::kU64:
    case GgufType::kI64:
    case GgufType::kF64:
      return 8;
    case GgufType::kString:
    case GgufType::kArray:
      return 0;
  }
  return 0;
}

std::string Shown(std::string_view text) { return std::string(text.substr(0, 100)); }

class Reader {
 public:
  Reader(std::span<const std::byte> file, const std::string& where) : file_(file), where_(where) {}

  GgufContents Read() {
    GgufContents contents;
    const auto [tensor_count, key_count] = ReadPreamble(&contents.version);
    for (uint64_t i = 0; i < key_count; ++i) {
      subject_ = fmt::format("metadata entry {}", i + 1);
      const std::string_view key = Text();
      subject_ = fmt::format("key \"{}\"", Shown(key));
      contents.metadata.emplace_back(key, ReadValue());
    }
    RefuseDuplicates(
        contents.metadata, [](const auto& entry) { return entry.first; }, "key");
    const uint64_t alignment = Alignment(contents);
    std::vector<uint64_t> offsets;
    for (uint64_t i = 0; i < tensor_count; ++i) {
      contents.tensors.push_back(ReadTensor(i, &offsets));
    }
    RefuseDuplicates(
        contents.tensors, [](const auto& tensor) { return std::string_view(tensor.name); }, "tensor");
    Place(offsets, alignment, &contents.tensors);
    return contents;
  }

 private:
  template <class... Args>
  [[noreturn]] void Bad(fmt::format_string<Args...> format, Args&&... args) const {
    BadInput("{}: {}: {}", where_, subject_, fmt::format(format, std::forward<Args>(args)...));
  }

  std::span<const std::byte> Bytes(uint64_t count) {
    if (count > Left()) {
      Bad("needs {} bytes where {} are left; the file is cut short or damaged", count, Left());
    }
    const auto bytes = file_.subspan(position_, count);
    position_ += count;
    return bytes;
  }
  uint64_t Left() const { return file_.size() - position_; }

  template <class T>
  T Scalar() {
    T value;
    std::memcpy(&value, Bytes(sizeof value).data(), sizeof value);
    return value;
  }

  std::string_view Text() {
    const auto bytes = Bytes(Scalar<uint64_t>());
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }

  std::pair<uint64_t, uint64_t> ReadPreamble(uint32_t* version) {
    subject_ = "header";
    const auto magic = Bytes(4);
    if (std::memcmp(magic.data(), "GGUF", 4) != 0)
      BadInput("{}: is not a GGUF file (it does not begin with GGUF)", where_);
    *version = Scalar<uint32_t>();
    if ((*version & 0xFFFF) == 0 && *version != 0)
      BadInput("{}: is a big-endian GGUF file, which is not supported", where_);
    if (*version != 2 && *version != 3) {
      BadInput("{}: is GGUF version {}; versions 2 and 3 are supported: convert the model again", where_, *version);
    }
    const auto tensors = Scalar<uint64_t>();
    const auto keys = Scalar<uint64_t>();
    if (tensors > Left() / kMinTensorBytes) Bad("{} tensors cannot be in a file of {} bytes", tensors, file_.size());
    if (keys > Left() / kMinKeyBytes) Bad("{} metadata entries cannot be in a file of {} bytes", keys, file_.size());
    return {tensors, keys};
  }

  GgufType ReadType() {
    const auto type = Scalar<uint32_t>();
    if (type > static_cast<uint32_t>(GgufType::kF64)) Bad("has value type {}, which does not exist", type);
    return static_cast<GgufType>(type);
  }

  bool ReadBool() {
    const auto value = Scalar<uint8_t>();
    if (value > 1) Bad("holds {} where a boolean is due", value);
    return value == 1;
  }

  GgufValue ReadValue() {
    GgufValue out;
    out.type = ReadType();
    auto& value = out.value;
    switch (out.type) {
      case GgufType::kU8:
        value = int64_t{Scalar<uint8_t>()};
        break;
      case GgufType::kI8:
        value = int64_t{Scalar<int8_t>()};
        break;
      case GgufType::kU16:
        value = int64_t{Scalar<uint16_t>()};
        break;
      case GgufType::kI16:
        value = int64_t{Scalar<int16_t>()};
        break;
      case GgufType::kU32:
        value = int64_t{Scalar<uint32_t>()};
        break;
      case GgufType::kI32:
        value = int64_t{Scalar<int32_t>()};
        break;
      case GgufType::kI64:
        value = Scalar<int64_t>();
        break;
      case GgufType::kU64: {
        const auto number = Scalar<uint64_t>();
        if (number <= INT64_MAX)
          value = static_cast<int64_t>(number);
        else
          value = number;
        break;
      }
      case GgufType::kF32:
        value = double{Scalar<float>()};
        break;
      case GgufType::kF64:
        value = Scalar<double>();
        break;
      case GgufType::kBool:
        value = ReadBool();
        break;
      case GgufType::kString:
        value = Text();
        break;
      case GgufType::kArray:
        value = ReadArray(1);
        break;
    }
    return out;
  }

  GgufArray ReadArray(int depth) {
    if (depth > kMaxArrayDepth) Bad("arrays are nested deeper than {} levels", kMaxArrayDepth);
    GgufArray array;
    array.type = ReadType();
    array.size = Scalar<uint64_t>();
    // A text takes at least its length, an array its type and length.
    const uint64_t least = array.type == GgufType::kString  ? 8
                           : array.type == GgufType::kArray ? 12
                                                            : SizeOf(array.type);
    if (array.size > Left() / least) Bad("an array of {} elements does not fit the {} bytes left", array.size, Left());
    if (array.type == GgufType::kString) {
      array.strings.reserve(array.size);
      for (uint64_t i = 0; i < array.size; ++i) array.strings.push_back(Text());
    } else if (array.type == GgufType::kArray) {
      for (uint64_t i = 0; i < array.size; ++i) array.arrays.push_back(ReadArray(depth + 1));
    } else {
      array.bytes = Bytes(array.size * least);
    }
    return array;
  }

  uint64_t Alignment(const GgufContents& contents) {
    subject_ = "key \"general.alignment\"";
    for (const auto& [key, value] : contents.metadata) {
      if (key != "general.alignment") continue;
      const int64_t* number = std::get_if<int64_t>(&value.value);
      if (number == nullptr || *number <= 0 || (*number & (*number - 1)) != 0 || *number > (int64_t{1} << 30)) {
        Bad("must be a power of two");
      }
      return static_cast<uint64_t>(*number);
    }
    return 32;
  }

  TensorView ReadTensor(uint64_t number, std::vector<uint64_t>* offsets) {
    subject_ = fmt::format("tensor {}", number + 1);
    TensorView tensor;
    tensor.name = Text();
    subject_ = fmt::format("tensor \"{}\"", Shown(tensor.name));
    const auto dimensions = Scalar<uint32_t>();
    if (dimensions > kMaxDimensions) Bad("has {} dimensions, more than {}", dimensions, kMaxDimensions);
    for (uint32_t i = 0; i < dimensions; ++i) {
      const auto size = Scalar<uint64_t>();
      if (size > static_cast<uint64_t>(INT64_MAX)) Bad("has a dimension of {}", size);
      tensor.shape.push_back(static_cast<int64_t>(size));
    }
    std::reverse(tensor.shape.begin(), tensor.shape.end());  // the file lists the innermost first
    tensor.dtype = ReadTensorType();
    offsets->push_back(Scalar<uint64_t>());
    return tensor;
  }

  DType ReadTensorType() {
    const auto id = Scalar<uint32_t>();
    for (const TensorType& type : kTensorTypes) {
      if (type.id != id) continue;
      if (!type.dtype) {
        Bad("has type {}, which is not supported (supported: F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, "
            "Q2_K, Q3_K, "
            "Q4_K, Q5_K, Q6_K)",
            type.name);
      }
      return *type.dtype;
    }
    Bad("has an unknown type, number {}", id);
  }

  // Gives every tensor its bytes in the data that follows the table, and refuses overlaps.
  void Place(const std::vector<uint64_t>& offsets, uint64_t alignment, std::vector<TensorView>* tensors) {
    const uint64_t start = (position_ + alignment - 1) / alignment * alignment;
    const std::span<const std::byte> data = start <= file_.size() ? file_.subspan(start) : std::span<const std::byte>();
    std::vector<size_t> by_place(tensors->size());
    for (size_t i = 0; i < tensors->size(); ++i) {
      TensorView& tensor = (*tensors)[i];
      subject_ = fmt::format("tensor \"{}\"", Shown(tensor.name));
      const std::optional<int64_t> size = ByteCount(tensor.dtype, tensor.shape);
      if (!size) {
        Bad("shape {} is too large, or its rows are not whole blocks of {}", ShapeText(tensor.shape),
            NameOf(tensor.dtype));
      }
      if (offsets[i] % alignment != 0) Bad("offset {} is not a multiple of the alignment {}", offsets[i], alignment);
      if (offsets[i] > data.size() || static_cast<uint64_t>(*size) > data.size() - offsets[i]) {
        Bad("lies outside the file ({} bytes at offset {} of {} bytes of data); the file is cut short or "
            "damaged",
            *size, offsets[i], data.size());
      }
      tensor.bytes = data.subspan(offsets[i], static_cast<size_t>(*size));
      by_place[i] = i;
    }
    std::sort(by_place.begin(), by_place.end(), [&](size_t a, size_t b) {
      return std::pair(offsets[a], (*tensors)[a].bytes.size()) < std::pair(offsets[b], (*tensors)[b].bytes.size());
    });
    for (size_t i = 1; i < by_place.size(); ++i) {
      const size_t before = by_place[i - 1], after = by_place[i];
      if (offsets[before] + (*tensors)[before].bytes.size() > offsets[after]) {
        subject_ = fmt::format("tensor \"{}\"", Shown((*tensors)[after].name));
        Bad("overlaps tensor \"{}\"", Shown((*tensors)[before].name));
      }
    }
  }

  template <class List, class NameOfEntry>
  void RefuseDuplicates(const List& list, NameOfEntry name_of, std::string_view what) const {
    std::vector<std::string_view> names;
    names.reserve(list.size());
    for (const auto& entry : list) names.push_back(name_of(entry));
    std::sort(names.begin(), names.end());
    const auto twice = std::adjacent_find(names.begin(), names.end());
    if (twice != names.end()) BadInput("{}: {} \"{}\" occurs twice", where_, what, Shown(*twice));
  }

  std::span<const std::byte> file_;
  const std::string& where_;
  std::string subject_;  // the key or tensor being read, for errors
  size_t position_ = 0;
};

}  // namespace

GgufContents ParseGguf(std::span<const std::byte> file, const std::string& where) { return Reader(file, where).Read(); }

}  // namespace attune
