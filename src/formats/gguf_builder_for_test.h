// Writes GGUF files of any content, right or wrong, for tests.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>

#include "formats/gguf.h"

namespace attune {

// The pieces of a file in order; a test strings them together as it likes.
class GgufBuilder {
 public:
  template <class T>
  GgufBuilder& Number(T value) {
    text_.append(reinterpret_cast<const char*>(&value), sizeof value);
    return *this;
  }
  GgufBuilder& Text(std::string_view text) {
    Number(static_cast<uint64_t>(text.size()));
    text_ += text;
    return *this;
  }
  GgufBuilder& Header(uint64_t tensors, uint64_t keys, uint32_t version = 3) {
    text_ += "GGUF";
    return Number(version).Number(tensors).Number(keys);
  }
  GgufBuilder& Key(std::string_view name, GgufType type) { return Text(name).Number(static_cast<uint32_t>(type)); }
  GgufBuilder& Key(std::string_view name, std::string_view value) { return Key(name, GgufType::kString).Text(value); }
  GgufBuilder& Key(std::string_view name, uint32_t value) { return Key(name, GgufType::kU32).Number(value); }
  GgufBuilder& Key(std::string_view name, float value) { return Key(name, GgufType::kF32).Number(value); }
  // `dims` innermost first, as the file has them; `type` is ggml's number.
  GgufBuilder& Tensor(std::string_view name, std::initializer_list<uint64_t> dims, uint32_t type, uint64_t offset) {
    Text(name).Number(static_cast<uint32_t>(dims.size()));
    for (const uint64_t dim : dims) Number(dim);
    return Number(type).Number(offset);
  }
  GgufBuilder& Data(size_t bytes, size_t alignment = 32) {
    text_.resize((text_.size() + alignment - 1) / alignment * alignment + bytes);
    return *this;
  }
  GgufBuilder& Raw(std::string_view bytes) {
    text_ += bytes;
    return *this;
  }
  const std::string& text() const { return text_; }

 private:
  std::string text_;
};

}  // namespace attune
