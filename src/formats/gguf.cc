#include "formats/gguf.h"

#include <cstring>

#include "base/error.h"

namespace attune {
namespace {

// Copies the elements of a number array, converting from the file's type T.
template <class T, class To>
void Convert(const GgufArray& array, std::vector<To>* out) {
  out->resize(array.size);
  for (uint64_t i = 0; i < array.size; ++i) {
    T value;
    std::memcpy(&value, array.bytes.data() + i * sizeof value, sizeof value);
    (*out)[i] = static_cast<To>(value);  // NOLINT(bugprone-signed-char-misuse): an int8_t is a number here
  }
}

}  // namespace

GgufFile::GgufFile(const std::string& path) : file_(path), contents_(ParseGguf(file_.bytes(), path)) {
  for (size_t i = 0; i < contents_.metadata.size(); ++i) keys_.emplace(contents_.metadata[i].first, i);
  for (size_t i = 0; i < contents_.tensors.size(); ++i) tensors_.emplace(contents_.tensors[i].name, i);
}

const TensorView* GgufFile::FindTensor(std::string_view name) const {
  const auto found = tensors_.find(name);
  return found == tensors_.end() ? nullptr : &contents_.tensors[found->second];
}

const GgufValue* GgufFile::Find(std::string_view key) const {
  const auto found = keys_.find(key);
  return found == keys_.end() ? nullptr : &contents_.metadata[found->second].second;
}

void GgufFile::WrongType(std::string_view key, std::string_view wanted) const {
  BadInput("{}: key \"{}\" must hold {}", path(), key, wanted);
}

std::optional<int64_t> GgufFile::Integer(std::string_view key) const {
  const GgufValue* value = Find(key);
  if (value == nullptr) return std::nullopt;
  const int64_t* number = std::get_if<int64_t>(&value->value);
  if (number == nullptr) WrongType(key, "an integer");
  return *number;
}

std::optional<double> GgufFile::Number(std::string_view key) const {
  const GgufValue* value = Find(key);
  if (value == nullptr) return std::nullopt;
  if (const auto* number = std::get_if<double>(&value->value)) return *number;
  if (const auto* number = std::get_if<int64_t>(&value->value)) return static_cast<double>(*number);
  if (const auto* number = std::get_if<uint64_t>(&value->value)) return static_cast<double>(*number);
  WrongType(key, "a number");
}

std::optional<bool> GgufFile::Boolean(std::string_view key) const {
  const GgufValue* value = Find(key);
  if (value == nullptr) return std::nullopt;
  const bool* flag = std::get_if<bool>(&value->value);
  if (flag == nullptr) WrongType(key, "a boolean");
  return *flag;
}

std::optional<std::string_view> GgufFile::String(std::string_view key) const {
  const GgufValue* value = Find(key);
  if (value == nullptr) return std::nullopt;
  const auto* text = std::get_if<std::string_view>(&value->value);
  if (text == nullptr) WrongType(key, "a text");
  return *text;
}

const GgufArray* GgufFile::Array(std::string_view key) const {
  const GgufValue* value = Find(key);
  if (value == nullptr) return nullptr;
  const auto* array = std::get_if<GgufArray>(&value->value);
  if (array == nullptr) WrongType(key, "an array");
  return array;
}

std::optional<std::span<const std::string_view>> GgufFile::Strings(std::string_view key) const {
  const GgufArray* array = Array(key);
  if (array == nullptr) return std::nullopt;
  if (array->type != GgufType::kString) WrongType(key, "an array of texts");
  return array->strings;
}

std::optional<std::vector<int64_t>> GgufFile::Integers(std::string_view key) const {
  const GgufArray* array = Array(key);
  if (array == nullptr) return std::nullopt;
  std::vector<int64_t> out;
  switch (array->type) {
    case GgufType::kU8:
    case GgufType::kBool:
      Convert<uint8_t>(*array, &out);
      break;
    case GgufType::kI8:
      Convert<int8_t>(*array, &out);
      break;
    case GgufType::kU16:
      Convert<uint16_t>(*array, &out);
      break;
    case GgufType::kI16:
      Convert<int16_t>(*array, &out);
      break;
    case GgufType::kU32:
      Convert<uint32_t>(*array, &out);
      break;
    case GgufType::kI32:
      Convert<int32_t>(*array, &out);
      break;
    case GgufType::kI64:
    case GgufType::kU64:
      Convert<int64_t>(*array, &out);
      break;
    default:
      WrongType(key, "an array of integers");
  }
  return out;
}

std::optional<std::vector<float>> GgufFile::Floats(std::string_view key) const {
  const GgufArray* array = Array(key);
  if (array == nullptr) return std::nullopt;
  std::vector<float> out;
  switch (array->type) {
    case GgufType::kF32:
      Convert<float>(*array, &out);
      break;
    case GgufType::kF64:
      Convert<double>(*array, &out);
      break;
    default:
      WrongType(key, "an array of floats");
  }
  return out;
}

}  // namespace attune
