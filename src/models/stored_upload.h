// From a model's files into device memory, in the format that the engine keeps a tensor in: copied, converted, or
// quantised on the way. A piece at a time, so that threads share the work and no second copy of a model ever stands in
// memory.
#pragma once

#include <cstddef>
#include <vector>

#include "models/model_files.h"
#include "ops/device.h"
#include "quant/stored_matrix.h"

namespace attune {

// How many rows of a tensor make a piece: all of them where scales belong to the whole.
int64_t RowsOfPiece(const StoredTensor& tensor, const StoredFormat& format);

// Puts rows [first, first + rows) into the tensor's place, which starts at `to`. `room` is working memory that may be
// used again. A vector becomes F32. Safe from several threads. Errors: Error{kBadInput} naming a tensor that cannot be
// quantised because it holds a value that is not finite.
void UploadPiece(Device& device, const ModelFiles& files, const StoredTensor& tensor, const StoredFormat& format,
                 int64_t first, int64_t rows, DeviceAddress to, std::vector<std::byte>& room);

// The tensor as a matrix that stays where it is, in its file; at `to` is room for its header (HeaderBytes), where its
// format has one. Gives the matrix's address.
DeviceAddress AdoptStored(Device& device, const StoredTensor& tensor, const StoredFormat& format, DeviceAddress to);

}  // namespace attune
