// Parquet by Apache Arrow's own library. Rows become lines of JSON: whatever reads JSONL reads them, and there is one
// parser of rows. Memory holds one batch of a row group at a time. A library of its own, opened when there is a Parquet
// file: Arrow takes 25 MB of every process that is linked with it.
#include <arrow/api.h>
#include <arrow/io/memory.h>
#include <fmt/format.h>
#include <parquet/arrow/reader.h>

#include <cmath>

#include "base/error.h"
#include "curate/json_string.h"
#include "curate/unpacker.h"

namespace attune {
namespace {

constexpr int64_t kBatchRows = 1024;
constexpr size_t kParquetPiece = size_t{1} << 20;

// A status of Arrow may tell its source line on a second line.
[[noreturn]] void Damaged(const std::string& name, const std::string& reason) {
  BadInput("{}: the Parquet file cannot be read, it may be damaged or cut short: {}", name,
           reason.substr(0, reason.find('\n')));
}

template <class Value>
Value Must(const std::string& name, arrow::Result<Value> result) {
  if (!result.ok()) Damaged(name, result.status().message());
  return std::move(result).ValueUnsafe();
}

void AppendNumber(double value, std::string* out) {
  if (!std::isfinite(value)) {  // JSON has no word for it
    *out += "null";
    return;
  }
  const std::string digits = fmt::format("{}", value);
  *out += digits;
  if (digits.find_first_of(".e") == digits.npos) *out += ".0";
}

// What can be written as a row; for the rest its column and type are named.
bool IsKnown(const arrow::DataType& type) {
  switch (type.id()) {
    case arrow::Type::SPARSE_UNION:
    case arrow::Type::DENSE_UNION:
    case arrow::Type::EXTENSION:
    case arrow::Type::RUN_END_ENCODED:
    case arrow::Type::HALF_FLOAT:
      return false;
    default:
      break;
  }
  if (type.id() == arrow::Type::DICTIONARY)
    return IsKnown(*static_cast<const arrow::DictionaryType&>(type).value_type());
  for (const auto& field : type.fields()) {
    if (!IsKnown(*field->type())) return false;
  }
  return true;
}

class JsonAppender {
 public:
  explicit JsonAppender(std::string* out) : out_(*out) {}

  void Append(const arrow::Array& array, int64_t i) {
    if (array.IsNull(i)) {
      out_ += "null";
      return;
    }
    switch (array.type_id()) {
      case arrow::Type::BOOL:
        out_ += static_cast<const arrow::BooleanArray&>(array).Value(i) ? "true" : "false";
        return;
      case arrow::Type::INT8:
        return AppendInteger<arrow::Int8Array>(array, i);
      case arrow::Type::INT16:
        return AppendInteger<arrow::Int16Array>(array, i);
      case arrow::Type::INT32:
        return AppendInteger<arrow::Int32Array>(array, i);
      case arrow::Type::INT64:
        return AppendInteger<arrow::Int64Array>(array, i);
      case arrow::Type::UINT8:
        return AppendInteger<arrow::UInt8Array>(array, i);
      case arrow::Type::UINT16:
        return AppendInteger<arrow::UInt16Array>(array, i);
      case arrow::Type::UINT32:
        return AppendInteger<arrow::UInt32Array>(array, i);
      case arrow::Type::UINT64:
        return AppendInteger<arrow::UInt64Array>(array, i);
      case arrow::Type::FLOAT:
        return AppendNumber(static_cast<const arrow::FloatArray&>(array).Value(i), &out_);
      case arrow::Type::DOUBLE:
        return AppendNumber(static_cast<const arrow::DoubleArray&>(array).Value(i), &out_);
      case arrow::Type::STRING:
      case arrow::Type::BINARY:
        return AppendJsonString(static_cast<const arrow::BinaryArray&>(array).GetView(i), &out_);
      case arrow::Type::LARGE_STRING:
      case arrow::Type::LARGE_BINARY:
        return AppendJsonString(static_cast<const arrow::LargeBinaryArray&>(array).GetView(i), &out_);
      case arrow::Type::STRING_VIEW:
      case arrow::Type::BINARY_VIEW:
        return AppendJsonString(static_cast<const arrow::BinaryViewArray&>(array).GetView(i), &out_);
      case arrow::Type::LIST:
      case arrow::Type::MAP:  // a list of pairs
        return AppendList(static_cast<const arrow::ListArray&>(array), i);
      case arrow::Type::LARGE_LIST:
        return AppendList(static_cast<const arrow::LargeListArray&>(array), i);
      case arrow::Type::FIXED_SIZE_LIST:
        return AppendList(static_cast<const arrow::FixedSizeListArray&>(array), i);
      case arrow::Type::STRUCT:
        return AppendStruct(static_cast<const arrow::StructArray&>(array), i);
      case arrow::Type::DICTIONARY: {
        const auto& coded = static_cast<const arrow::DictionaryArray&>(array);
        return Append(*coded.dictionary(), coded.GetValueIndex(i));
      }
      default:  // times, dates, decimals: as Arrow writes them
        const auto scalar = array.GetScalar(i);
        return AppendJsonString(scalar.ok() ? (*scalar)->ToString() : "", &out_);
    }
  }

  // A row of a batch, or of a struct's columns.
  template <class Columns>
  void AppendObject(const arrow::FieldVector& fields, const Columns& column, int64_t i) {
    out_ += '{';
    for (size_t k = 0; k < fields.size(); ++k) {
      if (k > 0) out_ += ", ";
      AppendJsonString(fields[k]->name(), &out_);
      out_ += ": ";
      Append(column(static_cast<int>(k)), i);
    }
    out_ += '}';
  }

 private:
  template <class Numbers>
  void AppendInteger(const arrow::Array& array, int64_t i) {
    out_ += fmt::to_string(static_cast<const Numbers&>(array).Value(i) + 0);  // + 0: 8 bits are no character
  }

  template <class List>
  void AppendList(const List& list, int64_t i) {
    out_ += '[';
    const int64_t begin = list.value_offset(i), end = begin + list.value_length(i);
    for (int64_t k = begin; k < end; ++k) {
      if (k > begin) out_ += ", ";
      Append(*list.values(), k);
    }
    out_ += ']';
  }

  void AppendStruct(const arrow::StructArray& array, int64_t i) {
    AppendObject(
        array.type()->fields(), [&](int k) -> const arrow::Array& { return *array.field(k); }, i);
  }

  std::string& out_;
};

class ParquetUnpacker : public Unpacker {
 public:
  ParquetUnpacker(const std::string& name, std::string_view packed) : name_(name) {
    Guarded([&] {
      auto bytes = std::make_shared<arrow::Buffer>(reinterpret_cast<const uint8_t*>(packed.data()),
                                                   static_cast<int64_t>(packed.size()));
      parquet::arrow::FileReaderBuilder builder;
      if (const arrow::Status status = builder.Open(std::make_shared<arrow::io::BufferReader>(std::move(bytes)));
          !status.ok())
        Damaged(name_, status.message());
      parquet::ArrowReaderProperties properties;
      properties.set_batch_size(kBatchRows);
      properties.set_use_threads(false);
      properties.set_pre_buffer(false);
      builder.properties(properties);
      file_ = Must(name_, builder.Build());
      batches_ = Must(name_, file_->GetRecordBatchReader());
      for (const auto& field : batches_->schema()->fields()) {
        if (!IsKnown(*field->type()))
          BadInput("{}: the column \"{}\" is of the type {}, which no row has", name_, field->name(),
                   field->type()->ToString());
      }
    });
  }

  std::string_view Next() override {
    rest_.remove_prefix(given_);
    if (rest_.empty()) ReadBatch();
    given_ = std::min(rest_.size(), kParquetPiece);
    return rest_.substr(0, given_);
  }

 private:
  // Arrow's statuses are dealt with where they come; its Parquet part also throws.
  template <class Work>
  void Guarded(const Work& work) {
    try {
      work();
    } catch (const Error&) {
      throw;
    } catch (const std::bad_alloc&) {
      throw;
    } catch (const std::exception& error) {
      Damaged(name_, error.what());
    }
  }

  void ReadBatch() {
    text_.clear();
    while (text_.empty()) {
      std::shared_ptr<arrow::RecordBatch> batch;
      Guarded([&] { batch = Must(name_, batches_->Next()); });
      if (batch == nullptr) break;
      JsonAppender appender(&text_);
      for (int64_t row = 0; row < batch->num_rows(); ++row) {
        appender.AppendObject(
            batch->schema()->fields(), [&](int k) -> const arrow::Array& { return *batch->column(k); }, row);
        text_ += '\n';
      }
    }
    rest_ = text_;
  }

  std::string name_;
  std::unique_ptr<parquet::arrow::FileReader> file_;
  std::unique_ptr<arrow::RecordBatchReader> batches_;
  std::string text_;       // of a batch
  std::string_view rest_;  // of it, what has not been handed over but for what was last
  size_t given_ = 0;
};

}  // namespace

}  // namespace attune

// The one name that the program looks up (curate/parquet/plugin.cc).
extern "C" attune::Unpacker* AttuneOpenParquet(const std::string& name, std::string_view packed) {
  return new attune::ParquetUnpacker(name, packed);
}
