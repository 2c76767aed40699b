// TensorBoard event files: scalars by step, so that a run can be watched with the tools people have. Sources:
// TensorFlow's TFRecord framing (length, masked CRC-32C of the length, data, masked CRC-32C of the data, all
// little endian) and the fields of tensorflow.Event and tensorflow.Summary in protocol buffers' encoding.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "store/run_data.h"

namespace attune {

// CRC-32C (Castagnoli, reflected), of RFC 3720: "123456789" gives 0xE3069283.
uint32_t Crc32c(std::string_view bytes);

// The first record of an event file, which names the format's version.
std::string EventFileStart(double wall_time);

// One record with all finite values of the entry. `fallback_time` (seconds since 1970) is used where the
// entry has no "time" of its own. Tags are those of transformers' TensorBoardCallback: "train/loss",
// "train/epoch", "eval/loss" for "eval_loss". "" when the entry has no value to write.
std::string EventRecord(const MetricsEntry& entry, double fallback_time);

// "train/loss" for "loss", "eval/loss" for "eval_loss", "test/loss" for "test_loss".
std::string TensorBoardTag(const std::string& name);

// A whole file of entries.
std::string EventFileContent(const std::vector<MetricsEntry>& entries, double start_time);

// "events.out.tfevents.<seconds>.<host>.attune", which TensorBoard finds by its second and third word.
std::string EventFileName(double start_time, const std::string& host);

}  // namespace attune
