#include "text/sentencepiece_scores.h"

#include <cmath>
#include <cstdint>
#include <cstring>

#include "base/error.h"

namespace attune {
namespace {

constexpr float kSteps = 64;

// Protocol buffers' wire format, as far as this message uses it.
enum WireType { kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5 };

class Fields {
 public:
  Fields(char* data, size_t size) : at_(data), end_(data + size) {}

  // Moves to the next field; false at the end.
  bool Next() {
    if (at_ == end_) return false;
    const uint64_t key = Varint();
    number_ = key >> 3;
    type_ = static_cast<int>(key & 7);
    size_ = 0;
    if (type_ == kVarint) {
      Varint();
    } else {
      size_ = type_ == kBytes ? Varint() : type_ == kFixed32 ? 4 : type_ == kFixed64 ? 8 : UINT64_MAX;
      if (size_ > static_cast<uint64_t>(end_ - at_)) Broken();
    }
    data_ = at_;
    at_ += size_;
    return true;
  }

  bool Is(uint64_t number, WireType type) const { return number_ == number && type_ == type; }
  char* data() const { return data_; }
  size_t size() const { return size_; }

 private:
  [[noreturn]] static void Broken() { Failed("SentencePiece's model is not the message it should be"); }

  uint64_t Varint() {
    uint64_t value = 0;
    for (int shift = 0; at_ != end_ && shift < 64; shift += 7) {
      const auto byte = static_cast<unsigned char>(*at_++);
      value |= static_cast<uint64_t>(byte & 0x7F) << shift;
      if (byte < 0x80) return value;
    }
    Broken();
  }

  char *at_, *end_, *data_ = nullptr;
  uint64_t number_ = 0, size_ = 0;
  int type_ = 0;
};

}  // namespace

void RoundScores(std::string* model_file) {
  constexpr uint64_t kPieces = 1, kScore = 2;
  for (Fields model(model_file->data(), model_file->size()); model.Next();) {
    if (!model.Is(kPieces, kBytes)) continue;
    for (Fields piece(model.data(), model.size()); piece.Next();) {
      if (!piece.Is(kScore, kFixed32)) continue;
      float score;
      std::memcpy(&score, piece.data(), sizeof score);
      score = std::round(score * kSteps) / kSteps;
      std::memcpy(piece.data(), &score, sizeof score);
    }
  }
}

}  // namespace attune
