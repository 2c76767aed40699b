#include "models/stored_upload.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/error.h"
#include "quant/dynamic8.h"
#include "quant/int8_rows.h"

namespace attune {
namespace {

constexpr int64_t kPieceElements = int64_t{1} << 18;  // converted at a time: stays in the cache until it is uploaded

// A working room of so many bytes.
template <class T>
T* Room(std::vector<std::byte>& room, int64_t elements) {
  const size_t bytes = static_cast<size_t>(elements) * sizeof(T);
  if (room.size() < bytes) room.resize(bytes);
  return reinterpret_cast<T*>(room.data());
}

void UploadHeader(Device& device, const StoredFormat& format, const std::array<float, 16>& table, float offset,
                  DeviceAddress to) {
  Bnb4Piece::Header header{{}, offset, static_cast<int32_t>(format.block_size),
                           static_cast<int32_t>(format.nested ? format.nested_block_size : 0)};
  std::copy(table.begin(), table.end(), header.table);
  device.Upload(to, &header, sizeof header);
}

void UploadNested(Device& device, const Bnb4Piece& piece, const void* map, const void* codes, int64_t blocks,
                  const void* absmax, int64_t nested_blocks, DeviceAddress to) {
  device.Upload(to.Plus(piece.map), map, 256 * 4);
  device.Upload(to.Plus(piece.absmax), codes, blocks);
  device.Upload(to.Plus(piece.nested_absmax), absmax, nested_blocks * 4);
}

// A weight of a 4-bit checkpoint.
void UploadBnb4(Device& device, const Bnb4Weight& weight, const StoredFormat& format, DeviceAddress to) {
  const int64_t elements = weight.rows() * weight.columns(), blocks = BlockCount(elements, format.block_size);
  const Bnb4Piece piece(format, elements);
  const Bnb4View& view = weight.view;
  UploadHeader(device, format, view.table, view.offset, to);
  if (format.nested) {
    UploadNested(device, piece, view.nested_map, view.absmax, blocks, view.nested_absmax,
                 BlockCount(blocks, format.nested_block_size), to);
  } else {
    device.Upload(to.Plus(piece.absmax), view.absmax, blocks * 4);
  }
  device.Upload(to.Plus(piece.codes), view.packed, Bnb4PackedBytes(elements));
}

void CheckFinite(const std::vector<float>& absmax, const StoredTensor& tensor) {
  for (const float scale : absmax) {
    if (!std::isfinite(scale)) BadInput("\"{}\" holds a value that is not finite, so it cannot be quantised", tensor.name);
  }
}

// A plain weight, packed on the way.
void EncodeBnb4Into(Device& device, const StoredTensor& tensor, const StoredFormat& format, DeviceAddress to,
                    std::vector<std::byte>& room) {
  const int64_t elements = tensor.rows() * tensor.columns(), blocks = BlockCount(elements, format.block_size);
  const Bnb4Piece piece(format, elements);
  std::vector<float> absmax(static_cast<size_t>(blocks));
  const int64_t step = kPieceElements;  // whole blocks of every size
  auto* packed = Room<uint8_t>(room, step / 2);
  for (int64_t first = 0; first < elements; first += step) {
    const int64_t count = std::min(step, elements - first);
    EncodeBnb4(format.type, format.block_size, tensor.dtype, tensor.bytes.data() + BytesOf(tensor.dtype, first), count, packed,
               absmax.data() + first / format.block_size);
    device.Upload(to.Plus(piece.codes + first / 2), packed, Bnb4PackedBytes(count));
  }
  CheckFinite(absmax, tensor);
  float offset = 0;
  if (format.nested) {
    const NestedScales nested = EncodeNestedScales(absmax);
    offset = nested.offset;
    UploadNested(device, piece, DynamicMap(true).data(), nested.codes.data(), blocks, nested.absmax.data(),
                 std::ssize(nested.absmax), to);
  } else {
    device.Upload(to.Plus(piece.absmax), absmax.data(), blocks * 4);
  }
  UploadHeader(device, format, Bnb4Table(format.type), offset, to);
}

void UploadInt8(Device& device, const StoredTensor& tensor, int64_t first, int64_t rows, DeviceAddress to,
                std::vector<std::byte>& room) {
  const int64_t columns = tensor.columns();
  const DeviceAddress scales = to.Plus(first * 4), codes = to.Plus(Int8RowsCodes(tensor.rows()) + first * columns);
  if (tensor.dtype == DType::kInt8Rows) {
    device.Upload(scales, tensor.scales.data() + first * 4, rows * 4);
    device.Upload(codes, tensor.bytes.data() + first * columns, rows * columns);
    return;
  }
  std::vector<float> absmax(static_cast<size_t>(rows));
  auto* encoded = Room<int8_t>(room, rows * columns);
  EncodeInt8Rows(tensor.dtype, tensor.bytes.data() + BytesOf(tensor.dtype, first * columns), rows, columns, encoded,
                 absmax.data());
  CheckFinite(absmax, tensor);
  device.Upload(scales, absmax.data(), rows * 4);
  device.Upload(codes, encoded, rows * columns);
}

}  // namespace

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
    return tensor.bnb4 ? UploadBnb4(device, *tensor.bnb4, format, to) : EncodeBnb4Into(device, tensor, format, to, room);
  }
  if (format.dtype == DType::kInt8Rows) return UploadInt8(device, tensor, first, rows, to, room);
  if (format.dtype == tensor.dtype) {
    const int64_t bytes = BytesOf(format.dtype, rows * columns);
    if (tensor.permuted_head_dim == 0) return device.Upload(to.Plus(offset), tensor.bytes.data() + offset, bytes);
    auto* ordered = Room<std::byte>(room, bytes);
    files.CopyRows(tensor, first, rows, ordered);
    return device.Upload(to.Plus(offset), ordered, bytes);
  }
  auto* values = Room<float>(room, rows * columns);
  if (format.dtype == DType::kBF16) {
    files.ReadRowsBf16(tensor, first, rows, reinterpret_cast<uint16_t*>(values));
  } else {
    files.ReadRows(tensor, first, rows, values);
  }
  device.Upload(to.Plus(offset), values, BytesOf(format.dtype, rows * columns));
}

}  // namespace attune
