#include "store/event_file.h"

#include <fmt/format.h>

#include <array>
#include <bit>
#include <cmath>

namespace attune {
namespace {

constexpr std::array<uint32_t, 256> MakeCrcTable() {
  std::array<uint32_t, 256> table{};
  for (uint32_t byte = 0; byte < 256; ++byte) {
    uint32_t crc = byte;
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) != 0 ? 0x82F63B78u : 0u);
    table[byte] = crc;
  }
  return table;
}

constexpr std::array<uint32_t, 256> kCrcTable = MakeCrcTable();

template <class T>
std::string LittleEndian(T value) {
  std::string bytes;
  for (size_t i = 0; i < sizeof(T); ++i) bytes += static_cast<char>(value >> (8 * i) & 0xFF);
  return bytes;
}

// TFRecord stores no plain CRC, for a CRC of data that holds CRCs is weak.
std::string MaskedCrc(std::string_view bytes) {
  const uint32_t crc = Crc32c(bytes);
  return LittleEndian<uint32_t>(std::rotr(crc, 15) + 0xA282EAD8u);
}

std::string Framed(std::string_view data) {
  const std::string length = LittleEndian<uint64_t>(data.size());
  return length + MaskedCrc(length) + std::string(data) + MaskedCrc(data);
}

// Protocol buffers: a field is its number and wire type, then its content.
enum WireType { kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5 };

std::string Varint(uint64_t value) {
  std::string bytes;
  for (; value >= 0x80; value >>= 7) bytes += static_cast<char>(value | 0x80);
  return bytes + static_cast<char>(value);
}

std::string Key(int field, WireType type) { return Varint(static_cast<uint64_t>(field) << 3 | type); }
std::string DoubleField(int field, double value) {
  return Key(field, kFixed64) + LittleEndian(std::bit_cast<uint64_t>(value));
}
std::string FloatField(int field, float value) {
  return Key(field, kFixed32) + LittleEndian(std::bit_cast<uint32_t>(value));
}
std::string BytesField(int field, std::string_view bytes) {
  return Key(field, kBytes) + Varint(bytes.size()) + std::string(bytes);
}
std::string IntField(int field, int64_t value) { return Key(field, kVarint) + Varint(static_cast<uint64_t>(value)); }

// Event: wall_time = 1, step = 2, file_version = 3, summary = 5. Summary: value = 1. Value: tag = 1,
// simple_value = 2.
std::string ScalarValue(const std::string& tag, double value) {
  return BytesField(1, BytesField(1, tag) + FloatField(2, static_cast<float>(value)));
}

}  // namespace

uint32_t Crc32c(std::string_view bytes) {
  uint32_t crc = ~0u;
  for (const char c : bytes) crc = (crc >> 8) ^ kCrcTable[(crc ^ static_cast<unsigned char>(c)) & 0xFF];
  return ~crc;
}

std::string EventFileStart(double wall_time) {
  return Framed(DoubleField(1, wall_time) + BytesField(3, "brain.Event:2"));
}

std::string TensorBoardTag(const std::string& name) {
  for (const std::string prefix : {"eval", "test"}) {
    if (name.starts_with(prefix + "_")) return prefix + "/" + name.substr(prefix.size() + 1);
  }
  return "train/" + name;
}

std::string EventRecord(const MetricsEntry& entry, double fallback_time) {
  std::string summary;
  for (const auto& [name, value] : entry.values) {
    if (name != "time" && std::isfinite(value)) summary += ScalarValue(TensorBoardTag(name), value);
  }
  if (summary.empty()) return "";
  const double* time = entry.Find("time");
  return Framed(DoubleField(1, time != nullptr && std::isfinite(*time) ? *time : fallback_time) +
                IntField(2, entry.step) + BytesField(5, summary));
}

std::string EventFileContent(const std::vector<MetricsEntry>& entries, double start_time) {
  std::string content = EventFileStart(start_time);
  for (const MetricsEntry& entry : entries) content += EventRecord(entry, start_time);
  return content;
}

std::string EventFileName(double start_time, const std::string& host) {
  return fmt::format("events.out.tfevents.{}.{}.attune", static_cast<int64_t>(start_time), host);
}

}  // namespace attune
