#include "models/stored_upload.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/error.h"
#include "quant/dynamic8.h"
#include "quant/float16.h"
#include "quant/gguf_blocks.h"
#include "quant/int8_rows.h"

namespace attune {
namespace {

constexpr int64_t kPieceElements = int64_t{1} << 18;  // converted at a time: stays in the cache until it is uploaded

// A working room of so many bytes.
template <class T>
T* PlaceIn(std::vector<std::byte>& room, int64_t elements) {
  const size_t bytes = static_cast<size_t>(elements) * sizeof(T);
  if (room.size() < bytes) room.resize(bytes);
  return reinterpret_cast<T*>(room.data());
}

// Without the places of its parts.
Bnb4Header MakeHeader(const StoredFormat& format, const std::array<float, 16>& table, float offset) {
  Bnb4Header header{{},
                    offset,
                    static_cast<int32_t>(format.block_size),
                    static_cast<int32_t>(format.nested ? format.nested_block_size : 0)};
  std::copy(table.begin(), table.end(), header.table);
  return header;
}

// Of a matrix whose parts follow it at `to`.
Bnb4Header HeaderOfPiece(const StoredFormat& format, int64_t elements, const std::array<float, 16>& table, float offset,
                         DeviceAddress to) {
  const Bnb4Piece piece(format, elements);
  Bnb4Header header = MakeHeader(format, table, offset);
  header.map = to.Plus(piece.map);
  header.absmax = to.Plus(piece.absmax);
  header.nested_absmax = to.Plus(piece.nested_absmax);
  header.codes = to.Plus(piece.codes);
  return header;
}

void UploadHeader(Device& device, const Bnb4Header& header, DeviceAddress to) {
  device.Upload(to, &header, sizeof header);
}

void UploadNested(Device& device, const Bnb4Header& header, const void* map, const void* codes, int64_t blocks,
                  const void* absmax, int64_t nested_blocks) {
  device.Upload(header.map, map, 256 * 4);
  device.Upload(header.absmax, codes, blocks);
  device.Upload(header.nested_absmax, absmax, nested_blocks * 4);
}

// A weight of a 4-bit checkpoint.
void UploadBnb4(Device& device, const Bnb4Weight& weight, const StoredFormat& format, DeviceAddress to) {
  const int64_t elements = weight.rows() * weight.columns(), blocks = BlockCount(elements, format.block_size);
  const Bnb4View& view = weight.view;
  const Bnb4Header header = HeaderOfPiece(format, elements, view.table, view.offset, to);
  UploadHeader(device, header, to);
  if (format.nested) {
    UploadNested(device, header, view.nested_map, view.absmax, blocks, view.nested_absmax,
                 BlockCount(blocks, format.nested_block_size));
  } else {
    device.Upload(header.absmax, view.absmax, blocks * 4);
  }
  device.Upload(header.codes, view.packed, Bnb4PackedBytes(elements));
}

// Elements [first, first + count) of a plain tensor on their way to codes, in `dtype`.
struct PlainValues {
  DType dtype;
  const std::byte* data;
};

// Rounded as the format asks, in `rounded`, or as they are stored.
PlainValues ValuesToEncode(const StoredTensor& tensor, const StoredFormat& format, int64_t first, int64_t count,
                           std::vector<uint16_t>& rounded) {
  const std::byte* stored = tensor.bytes.data() + BytesOf(tensor.dtype, first);
  if (format.source == DType::kF32 || format.source == tensor.dtype) return {tensor.dtype, stored};
  std::vector<float> values(static_cast<size_t>(count));
  rounded.resize(values.size());
  DecodeBlocks(tensor.dtype, stored, count, values.data());
  NarrowFloats(values.data(), count, format.source, rounded.data());
  return {format.source, reinterpret_cast<const std::byte*>(rounded.data())};
}

void CheckFinite(const std::vector<float>& absmax, const StoredTensor& tensor) {
  for (const float scale : absmax) {
    if (!std::isfinite(scale)) {
      BadInput(
          "\"{}\" holds a value that is not finite, or not in the type it passes through, so it cannot be quantised",
          tensor.name);
    }
  }
}

// A plain weight, packed on the way.
void EncodeBnb4Into(Device& device, const StoredTensor& tensor, const StoredFormat& format, DeviceAddress to,
                    std::vector<std::byte>& room) {
  const int64_t elements = tensor.rows() * tensor.columns(), blocks = BlockCount(elements, format.block_size);
  Bnb4Header header = HeaderOfPiece(format, elements, Bnb4Table(format.type), 0, to);
  std::vector<float> absmax(static_cast<size_t>(blocks));
  const int64_t step = kPieceElements;  // whole blocks of every size
  auto* packed = PlaceIn<uint8_t>(room, step / 2);
  std::vector<uint16_t> rounded;
  for (int64_t first = 0; first < elements; first += step) {
    const int64_t count = std::min(step, elements - first);
    const PlainValues values = ValuesToEncode(tensor, format, first, count, rounded);
    EncodeBnb4(format.type, format.block_size, values.dtype, values.data, count, packed,
               absmax.data() + first / format.block_size);
    device.Upload(header.codes.Plus(first / 2), packed, Bnb4PackedBytes(count));
  }
  CheckFinite(absmax, tensor);
  if (format.nested) {
    const NestedScales nested = EncodeNestedScales(absmax);
    header.offset = nested.offset;
    UploadNested(device, header, DynamicMap(true).data(), nested.codes.data(), blocks, nested.absmax.data(),
                 std::ssize(nested.absmax));
  } else {
    device.Upload(header.absmax, absmax.data(), blocks * 4);
  }
  UploadHeader(device, header, to);
}

void UploadInt8(Device& device, const StoredTensor& tensor, const StoredFormat& format, int64_t first, int64_t rows,
                DeviceAddress to, std::vector<std::byte>& room) {
  const int64_t columns = tensor.columns();
  const Int8RowsPiece piece(tensor.rows(), columns);
  const Int8RowsHeader header{to.Plus(piece.scales), to.Plus(piece.codes)};
  if (first == 0) device.Upload(to, &header, sizeof header);
  const DeviceAddress scales = header.scales.Plus(first * 4), codes = header.codes.Plus(first * columns);
  if (tensor.dtype == DType::kInt8Rows) {
    device.Upload(scales, tensor.scales.data() + first * 4, rows * 4);
    device.Upload(codes, tensor.bytes.data() + first * columns, rows * columns);
    return;
  }
  std::vector<float> absmax(static_cast<size_t>(rows));
  auto* encoded = PlaceIn<int8_t>(room, rows * columns);
  std::vector<uint16_t> rounded;
  const PlainValues values = ValuesToEncode(tensor, format, first * columns, rows * columns, rounded);
  EncodeInt8Rows(values.dtype, values.data, rows, columns, encoded, absmax.data());
  CheckFinite(absmax, tensor);
  device.Upload(scales, absmax.data(), rows * 4);
  device.Upload(codes, encoded, rows * columns);
}

}  // namespace

DeviceAddress AdoptStored(Device& device, const StoredTensor& tensor, const StoredFormat& format, DeviceAddress to) {
  const DeviceAddress codes = device.Adopt(tensor.bytes.data());
  if (format.dtype == DType::kBnb4) {
    const Bnb4View& view = tensor.bnb4->view;
    Bnb4Header header = MakeHeader(format, view.table, view.offset);
    header.codes = codes;
    header.absmax = device.Adopt(view.absmax);
    header.nested_absmax = device.Adopt(view.nested_absmax);
    header.map = device.Adopt(view.nested_map);
    UploadHeader(device, header, to);
    return to;
  }
  if (format.dtype == DType::kInt8Rows) {
    const Int8RowsHeader header{device.Adopt(tensor.scales.data()), codes};
    device.Upload(to, &header, sizeof header);
    return to;
  }
  return codes;
}

int64_t RowsOfPiece(const StoredTensor& tensor, const StoredFormat& format) {
  if (format.dtype == DType::kBnb4) return tensor.rows();
  // A permuted tensor is read whole heads at a time.
  const int64_t unit = std::max<int64_t>(1, tensor.permuted_head_dim);
  return std::max(unit, kPieceElements / tensor.columns() / unit * unit);
}

void UploadPiece(Device& device, const ModelFiles& files, const StoredTensor& tensor, const StoredFormat& format,
                 int64_t first, int64_t rows, DeviceAddress to, std::vector<std::byte>& room) {
  const int64_t columns = tensor.columns(), offset = BytesOf(format.dtype, first * columns);
  if (format.dtype == DType::kBnb4) {
    return tensor.bnb4 ? UploadBnb4(device, *tensor.bnb4, format, to)
                       : EncodeBnb4Into(device, tensor, format, to, room);
  }
  if (format.dtype == DType::kInt8Rows) return UploadInt8(device, tensor, format, first, rows, to, room);
  if (format.dtype == tensor.dtype) {
    const int64_t bytes = BytesOf(format.dtype, rows * columns);
    if (tensor.permuted_head_dim == 0) return device.Upload(to.Plus(offset), tensor.bytes.data() + offset, bytes);
    auto* ordered = PlaceIn<std::byte>(room, bytes);
    files.CopyRows(tensor, first, rows, ordered);
    return device.Upload(to.Plus(offset), ordered, bytes);
  }
  const int64_t count = rows * columns;
  if (format.dtype == DType::kBF16) {
    auto* values = PlaceIn<uint16_t>(room, count);
    files.ReadRowsBf16(tensor, first, rows, values);
    return device.Upload(to.Plus(offset), values, count * 2);
  }
  auto* values = PlaceIn<float>(room, count);
  files.ReadRows(tensor, first, rows, values);
  if (format.dtype == DType::kF32) return device.Upload(to.Plus(offset), values, count * 4);
  std::vector<uint16_t> halves(static_cast<size_t>(count));
  NarrowFloats(values, count, format.dtype, halves.data());
  for (int64_t i = 0; i < count; ++i) {
    if (!std::isfinite(HalfToFloat(halves[static_cast<size_t>(i)])) && std::isfinite(values[i])) {
      BadInput("\"{}\" holds {}, beyond float16: use torch_dtype bfloat16 or float32", tensor.name, values[i]);
    }
  }
  device.Upload(to.Plus(offset), halves.data(), count * 2);
}

}  // namespace attune
