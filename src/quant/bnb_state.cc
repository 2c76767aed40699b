#include "quant/bnb_state.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <cmath>

#include "base/error.h"
#include "formats/json.h"
#include "formats/tensor_view.h"

namespace attune {
namespace {

using nlohmann::json;

constexpr std::string_view kFields[] = {"quant_type",       "blocksize",    "dtype",        "shape",
                                        "nested_blocksize", "nested_dtype", "nested_offset"};
constexpr std::pair<DType, std::string_view> kTorchNames[] = {
    {DType::kF32, "float32"}, {DType::kF16, "float16"}, {DType::kBF16, "bfloat16"}};
constexpr size_t kMostDimensions = 8;

// A JSON object's fields, and how to complain about one.
struct Fields {
  const json& object;
  const std::string& where;

  const json& At(const char* key) const {
    const auto found = object.find(key);
    if (found == object.end()) BadInput("{}: \"{}\" is missing; quantise the model again", where, key);
    return *found;
  }
  [[noreturn]] void Bad(const char* key, std::string_view wanted) const {
    const std::string shown = At(key).dump(-1, ' ', true, json::error_handler_t::replace);
    BadInput("{}: \"{}\" must be {}, not {}", where, key, wanted,
             shown.size() > 80 ? shown.substr(0, 80) + "..." : shown);
  }
  std::string Text(const char* key, std::string_view wanted) const {
    if (!At(key).is_string()) Bad(key, wanted);
    return At(key).get<std::string>();
  }
  int64_t BlockSize(const char* key) const {
    const json& value = At(key);
    if (!value.is_number_integer() || !IsBnb4BlockSize(IntegerOf(value))) Bad(key, "a power of two from 32 to 4096");
    return IntegerOf(value);
  }
  // -1 for an integer beyond 63 bits, which is out of range anywhere.
  static int64_t IntegerOf(const json& value) {
    if (value.is_number_unsigned() && value.get<uint64_t>() > INT64_MAX) return -1;
    return value.get<int64_t>();
  }
};

std::vector<int64_t> ReadShape(const Fields& fields) {
  constexpr std::string_view kWanted = "a list of 1 to 8 positive integers whose product fits 63 bits";
  const json& value = fields.At("shape");
  if (!value.is_array() || value.empty() || value.size() > kMostDimensions) fields.Bad("shape", kWanted);
  std::vector<int64_t> shape;
  for (const json& size : value) {
    if (!size.is_number_integer() || Fields::IntegerOf(size) < 1) fields.Bad("shape", kWanted);
    shape.push_back(Fields::IntegerOf(size));
  }
  if (!ElementCount(shape)) fields.Bad("shape", kWanted);
  return shape;
}

std::optional<BnbQuantState::Nested> ReadNested(const Fields& fields) {
  const auto is_there = [&](const char* key) { return fields.object.contains(key); };
  if (!is_there("nested_blocksize") && !is_there("nested_dtype") && !is_there("nested_offset")) return std::nullopt;
  BnbQuantState::Nested nested;
  nested.block_size = fields.BlockSize("nested_blocksize");
  if (fields.Text("nested_dtype", "\"float32\"") != "float32") fields.Bad("nested_dtype", "\"float32\"");
  const json& offset = fields.At("nested_offset");
  constexpr std::string_view kWanted = "a number within float32";
  if (!offset.is_number()) fields.Bad("nested_offset", kWanted);
  nested.offset = offset.get<double>();
  if (!(std::abs(nested.offset) <= 3.4028234663852886e38)) fields.Bad("nested_offset", kWanted);
  return nested;
}

// repr(float) of Python: the shortest digits that read back, plain from 1e-4 to below 1e16.
std::string PythonFloat(double value) {
  char buffer[32];
  const auto end = std::to_chars(buffer, buffer + sizeof buffer, value, std::chars_format::scientific).ptr;
  const std::string_view text(buffer, static_cast<size_t>(end - buffer));
  const size_t e = text.find('e');
  int exponent = 0;
  const char* digits_of_exponent = buffer + e + (text[e + 1] == '+' ? 2 : 1);  // from_chars takes no plus
  std::from_chars(digits_of_exponent, end, exponent);
  if (exponent < -4 || exponent >= 16) return std::string(text);
  std::string plain(buffer, std::to_chars(buffer, buffer + sizeof buffer, value, std::chars_format::fixed).ptr);
  return plain.find('.') == std::string::npos ? plain + ".0" : plain;
}

}  // namespace

std::string_view TorchName(DType dtype) {
  for (const auto& [type, name] : kTorchNames) {
    if (type == dtype) return name;
  }
  Failed("weights of type {} cannot be quantised", NameOf(dtype));
}

std::optional<DType> TorchDType(std::string_view name) {
  for (const auto& [type, known] : kTorchNames) {
    if (name == known) return type;
  }
  return std::nullopt;
}

BnbQuantState ParseBnbQuantState(std::string_view text, const std::string& where) {
  const json object = ParseJson(text, where);
  if (!object.is_object()) BadInput("{}: not a JSON object", where);
  for (const auto& [key, value] : object.items()) {
    if (std::find(std::begin(kFields), std::end(kFields), key) == std::end(kFields)) {
      BadInput("{}: unknown field \"{}\"", where, key.substr(0, 80));
    }
  }
  const Fields fields{object, where};
  BnbQuantState state;
  const std::optional<Bnb4Type> type = Bnb4TypeOf(fields.Text("quant_type", "\"nf4\" or \"fp4\""));
  if (!type) fields.Bad("quant_type", "\"nf4\" or \"fp4\"");
  state.type = *type;
  state.block_size = fields.BlockSize("blocksize");
  constexpr std::string_view kDTypes = "\"float32\", \"float16\" or \"bfloat16\"";
  const std::optional<DType> dtype = TorchDType(fields.Text("dtype", kDTypes));
  if (!dtype) fields.Bad("dtype", kDTypes);
  state.dtype = *dtype;
  state.shape = ReadShape(fields);
  state.nested = ReadNested(fields);
  return state;
}

std::string BnbQuantStateText(const BnbQuantState& state) {
  std::string text =
      fmt::format(R"({{"quant_type": "{}", "blocksize": {}, "dtype": "{}", "shape": [{}])", NameOf(state.type),
                  state.block_size, TorchName(state.dtype), fmt::join(state.shape, ", "));
  if (state.nested) {
    text += fmt::format(R"(, "nested_blocksize": {}, "nested_dtype": "float32", "nested_offset": {})",
                        state.nested->block_size, PythonFloat(state.nested->offset));
  }
  return text + "}";
}

}  // namespace attune
