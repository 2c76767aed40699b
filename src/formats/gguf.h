// GGUF, the single-file format of llama.cpp (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md):
// typed metadata, a table of tensors, then aligned data. Versions 2 and 3, little endian. Nothing is copied:
// texts and number lists of the metadata are views into the file, so a vocabulary of 150k texts costs 16
// bytes each.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <variant>
#include <vector>

#include "base/file.h"
#include "formats/tensor_view.h"

namespace attune {

// The value types of the format, by their numbers in the file.
enum class GgufType : uint32_t {
  kU8 = 0,
  kI8,
  kU16,
  kI16,
  kU32,
  kI32,
  kF32,
  kBool,
  kString,
  kArray,
  kU64,
  kI64,
  kF64,
};

// An array. Texts and nested arrays are listed; numbers and booleans stay as the file's (unaligned) bytes.
struct GgufArray {
  GgufType type = GgufType::kU8;  // of the elements
  uint64_t size = 0;
  std::span<const std::byte> bytes;       // numbers and booleans
  std::vector<std::string_view> strings;  // kString
  std::vector<GgufArray> arrays;          // kArray
};

// A metadata value. Integers of every width are held as int64 or, above its range, uint64; floats as double.
struct GgufValue {
  GgufType type = GgufType::kU8;
  std::variant<int64_t, uint64_t, double, bool, std::string_view, GgufArray> value;
};

// The checked contents of a file; the views point into the bytes that were parsed.
struct GgufContents {
  uint32_t version = 0;
  std::vector<std::pair<std::string_view, GgufValue>> metadata;  // in file order
  std::vector<TensorView> tensors;                               // in file order; shapes outermost first
};

// Reads a whole file held at `file`. `where` names it. Errors: Error{kBadInput} naming the key or tensor.
GgufContents ParseGguf(std::span<const std::byte> file, const std::string& where);

// One mapped file. Movable; safe to read from several threads.
// The typed getters give nothing when the key is absent. Errors: Error{kBadInput} when it holds another type.
class GgufFile {
 public:
  explicit GgufFile(const std::string& path);

  const std::string& path() const { return file_.path(); }
  uint32_t version() const { return contents_.version; }
  const std::vector<std::pair<std::string_view, GgufValue>>& metadata() const { return contents_.metadata; }
  const std::vector<TensorView>& tensors() const { return contents_.tensors; }

  const TensorView* FindTensor(std::string_view name) const;  // nullptr when there is none
  const GgufValue* Find(std::string_view key) const;          // nullptr when there is none

  std::optional<int64_t> Integer(std::string_view key) const;  // any integer type
  std::optional<double> Number(std::string_view key) const;    // any integer or float type
  std::optional<bool> Boolean(std::string_view key) const;
  std::optional<std::string_view> String(std::string_view key) const;
  std::optional<std::span<const std::string_view>> Strings(std::string_view key) const;
  std::optional<std::vector<int64_t>> Integers(std::string_view key) const;  // an array of any integer type or booleans
  std::optional<std::vector<float>> Floats(std::string_view key) const;      // an array of float32 or float64

  void DropPages(const TensorView& tensor) const { file_.DropPages(tensor.bytes); }
  void Prefetch(const TensorView& tensor) const { file_.Prefetch(tensor.bytes); }

 private:
  const GgufArray* Array(std::string_view key) const;
  [[noreturn]] void WrongType(std::string_view key, std::string_view wanted) const;

  MappedFile file_;
  GgufContents contents_;
  std::unordered_map<std::string_view, size_t> keys_, tensors_;
};

}  // namespace attune
