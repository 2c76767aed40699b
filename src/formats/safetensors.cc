#include "formats/safetensors.h"

#include <algorithm>
#include <cstring>
#include <nlohmann/json.hpp>
#include <optional>

#include "base/error.h"

namespace attune {
namespace {

constexpr uint64_t kMaxHeader = 100'000'000;  // the reference reader's limit
constexpr DType kDTypes[] = {DType::kF32, DType::kF16, DType::kBF16, DType::kF64, DType::kI64,
                             DType::kI32, DType::kI16, DType::kI8,   DType::kU8,  DType::kBool};

std::optional<DType> DTypeFromName(std::string_view name) {
  for (const DType type : kDTypes) {
    if (NameOf(type) == name) return type;
  }
  return std::nullopt;
}

// Receives the header's JSON as events, so that nothing is built beside the tensor table, whatever the
// header's size. Layout: {"NAME": {"dtype": "F32", "shape": [..], "data_offsets": [begin, end]},
// "__metadata__": {"k": "v"}}.
class HeaderReader final : public nlohmann::json_sax<nlohmann::json> {
 public:
  HeaderReader(std::span<const std::byte> data, const std::string& where, SafetensorsHeader* header)
      : data_(data), where_(where), header_(header) {}

  bool start_object(std::size_t) override {
    if (depth_ >= 2 || in_array_) Unexpected("an object");
    ++depth_;
    if (depth_ == 2 && !in_metadata_) BeginTensor();
    return true;
  }

  bool key(std::string& text) override {
    if (depth_ == 1) {
      name_ = text;
      in_metadata_ = text == "__metadata__";
      if (in_metadata_ && std::exchange(seen_metadata_, true)) BadInput("{}: __metadata__ occurs twice", where_);
    } else {
      field_ = text;
    }
    return true;
  }

  bool end_object() override {
    if (depth_ == 2 && !in_metadata_) FinishTensor();
    if (depth_ == 2) in_metadata_ = false;
    --depth_;
    return true;
  }

  bool start_array(std::size_t) override {
    if (depth_ != 2 || in_metadata_ || in_array_ || (field_ != "shape" && field_ != "data_offsets")) {
      Unexpected("a list");
    }
    if (std::exchange(field_ == "shape" ? seen_shape_ : seen_offsets_, true)) Unexpected("a second list");
    in_array_ = true;
    return true;
  }

  bool end_array() override {
    in_array_ = false;
    return true;
  }

  bool string(std::string& text) override {
    if (depth_ == 2 && in_metadata_) {
      header_->metadata.emplace_back(field_, text);
    } else if (depth_ == 2 && !in_array_ && field_ == "dtype" && !dtype_) {
      dtype_ = DTypeFromName(text);
      if (!dtype_) {
        BadInput(
            "{}: tensor \"{}\" has dtype {}, which is not supported (supported: F32, F16, BF16, F64, I64, "
            "I32, "
            "I16, I8, U8, BOOL)",
            where_, name_, text.substr(0, 40));
      }
    } else {
      Unexpected("a text");
    }
    return true;
  }

  bool number_unsigned(uint64_t value) override {
    if (!in_array_) Unexpected("a number");
    if (value > static_cast<uint64_t>(INT64_MAX)) {
      BadInput("{}: tensor \"{}\": {} holds {}, which is too large", where_, name_, field_, value);
    }
    (field_ == "shape" ? tensor_.shape : offsets_).push_back(static_cast<int64_t>(value));
    return true;
  }

  bool number_integer(int64_t) override { Unexpected("a negative number"); }
  bool number_float(double, const std::string&) override { Unexpected("a fraction"); }
  bool boolean(bool) override { Unexpected("a boolean"); }
  bool null() override { Unexpected("null"); }
  bool binary(nlohmann::json::binary_t&) override { Unexpected("binary data"); }

  bool parse_error(std::size_t position, const std::string&, const nlohmann::json::exception&) override {
    BadInput("{}: the header is not valid JSON (byte {} of the header)", where_, position);
  }

 private:
  [[noreturn]] void Unexpected(std::string_view what) const {
    if (in_metadata_) BadInput("{}: __metadata__ may hold texts only, not {}", where_, what);
    if (depth_ < 2) BadInput("{}: the header may not hold {} at its top (\"{}\")", where_, what, name_);
    BadInput("{}: tensor \"{}\": \"{}\" may not hold {}", where_, name_, field_.substr(0, 80), what);
  }

  void BeginTensor() {
    tensor_ = {};
    tensor_.name = name_;
    dtype_.reset();
    offsets_.clear();
    seen_shape_ = seen_offsets_ = false;
  }

  void FinishTensor() {
    if (!dtype_ || !seen_shape_ || offsets_.size() != 2) {
      BadInput("{}: tensor \"{}\" must have a dtype, a shape and two data_offsets", where_, name_);
    }
    tensor_.dtype = *dtype_;
    const std::optional<int64_t> size = ByteCount(tensor_.dtype, tensor_.shape);
    if (!size) BadInput("{}: tensor \"{}\": its shape {} is too large", where_, name_, ShapeText(tensor_.shape));
    const int64_t begin = offsets_[0], end = offsets_[1];
    if (begin > end || static_cast<uint64_t>(end) > data_.size()) {
      BadInput("{}: tensor \"{}\" lies at bytes {} to {}, outside the {} bytes of data; the file may be cut short",
               where_, name_, begin, end, data_.size());
    }
    if (end - begin != *size) {
      BadInput("{}: tensor \"{}\" of type {} and shape {} takes {} bytes, but its offsets span {}", where_, name_,
               NameOf(tensor_.dtype), ShapeText(tensor_.shape), *size, end - begin);
    }
    tensor_.bytes = data_.subspan(static_cast<size_t>(begin), static_cast<size_t>(end - begin));
    header_->tensors.push_back(std::move(tensor_));
  }

  std::span<const std::byte> data_;
  const std::string& where_;
  SafetensorsHeader* header_;
  int depth_ = 0;
  bool in_metadata_ = false, seen_metadata_ = false, in_array_ = false, seen_shape_ = false, seen_offsets_ = false;
  std::string name_, field_;
  TensorView tensor_;
  std::optional<DType> dtype_;
  std::vector<int64_t> offsets_;
};

// The tensors, sorted by place, must cover the data without overlap or hole, and their names differ.
void CheckCoverage(const SafetensorsHeader& header, std::span<const std::byte> data, const std::string& where) {
  const std::byte* expected = data.data();
  std::vector<std::string_view> names;
  names.reserve(header.tensors.size());
  for (const TensorView& tensor : header.tensors) {
    if (tensor.bytes.data() != expected) {
      BadInput("{}: tensor \"{}\" {}", where, tensor.name,
               tensor.bytes.data() < expected ? "overlaps the tensor before it" : "follows a hole in the data");
    }
    expected += tensor.bytes.size();
    names.push_back(tensor.name);
  }
  if (const auto rest = data.data() + data.size() - expected; rest != 0) {
    BadInput("{}: {} bytes after the last tensor belong to none", where, rest);
  }
  std::sort(names.begin(), names.end());
  if (const auto twice = std::adjacent_find(names.begin(), names.end()); twice != names.end()) {
    BadInput("{}: tensor \"{}\" occurs twice", where, *twice);
  }
}

}  // namespace

SafetensorsHeader ParseSafetensors(std::span<const std::byte> file, const std::string& where) {
  uint64_t length = 0;
  if (file.size() < sizeof length) BadInput("{}: is too short for a safetensors file ({} bytes)", where, file.size());
  std::memcpy(&length, file.data(), sizeof length);
  if (length > kMaxHeader) BadInput("{}: is not a safetensors file (header length {})", where, length);
  if (length > file.size() - sizeof length) {
    BadInput("{}: is cut short: the header should have {} bytes, {} are there", where, length,
             file.size() - sizeof length);
  }
  const std::span<const std::byte> data = file.subspan(sizeof length + length);
  const std::string_view text(reinterpret_cast<const char*>(file.data()) + sizeof length, length);
  // The parser would skip a byte order mark and stop at a zero byte.
  if (!text.starts_with('{') || text.find('\0') != std::string_view::npos) {
    BadInput("{}: is not a safetensors file: its header is not a JSON object", where);
  }
  SafetensorsHeader header;
  HeaderReader reader(data, where, &header);
  nlohmann::json::sax_parse(text.begin(), text.end(), &reader);
  std::stable_sort(header.tensors.begin(), header.tensors.end(), [](const TensorView& a, const TensorView& b) {
    return std::pair(a.bytes.data(), a.bytes.size()) < std::pair(b.bytes.data(), b.bytes.size());
  });
  CheckCoverage(header, data, where);
  return header;
}

SafetensorsFile::SafetensorsFile(const std::string& path)
    : file_(path), header_(ParseSafetensors(file_.bytes(), path)) {
  index_.reserve(header_.tensors.size());
  for (size_t i = 0; i < header_.tensors.size(); ++i) index_.emplace(header_.tensors[i].name, i);
}

const TensorView* SafetensorsFile::Find(std::string_view name) const {
  const auto found = index_.find(name);
  return found == index_.end() ? nullptr : &header_.tensors[found->second];
}

}  // namespace attune
