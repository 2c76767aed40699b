#include "curate/signatures.h"

#include <xxhash.h>

#include <bit>
#include <cstring>
#include <new>
#include <type_traits>

#include "base/error.h"
#include "formats/json.h"

namespace attune {
namespace {

static_assert(std::endian::native == std::endian::little);
static_assert(sizeof(RowOrigin) == 40 && std::is_trivially_copyable_v<RowOrigin>);

[[noreturn]] void DamagedSignatures(const std::string& name) {
  BadInput("{}: the signatures are damaged or cut short; make them anew with attune data dedupe --shard", name);
}

// Takes numbers from the front of bytes.
class NumberReader {
 public:
  NumberReader(const std::string& name, std::string_view bytes) : name_(name), bytes_(bytes) {}

  template <class T>
  T One() {
    T value;
    Take(&value, 1);
    return value;
  }
  template <class T>
  void Many(std::vector<T>* values, size_t count) {
    if (count > bytes_.size() / sizeof(T)) DamagedSignatures(name_);  // before memory is asked for
    values->resize(count);
    Take(values->data(), count);
  }
  std::string_view rest() const { return bytes_; }

 private:
  template <class T>
  void Take(T* values, size_t count) {
    if (count > bytes_.size() / sizeof(T)) DamagedSignatures(name_);
    if (count > 0) std::memcpy(values, bytes_.data(), count * sizeof(T));
    bytes_.remove_prefix(count * sizeof(T));
  }

  const std::string& name_;
  std::string_view bytes_;
};

constexpr size_t kEndBytes = sizeof(uint32_t) + 3 * sizeof(uint64_t);

}  // namespace

struct SignatureWriter::Hash {
  Hash() : state(XXH3_createState(), &XXH3_freeState) {
    if (state == nullptr) throw std::bad_alloc();
    XXH3_64bits_reset(state.get());
  }
  std::unique_ptr<XXH3_state_t, decltype(&XXH3_freeState)> state;
};

SignatureWriter::SignatureWriter(const std::string& path, const nlohmann::ordered_json& header)
    : file_(path), hash_(std::make_unique<Hash>()) {
  const std::string line = header.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
  Write(line.data(), line.size());
}

SignatureWriter::~SignatureWriter() = default;

void SignatureWriter::Write(const void* data, size_t size) {
  XXH3_64bits_update(hash_->state.get(), data, size);
  file_.Write(data, size);
}

void SignatureWriter::Add(const BlockSketch& block) {
  if (block.origins.empty()) return;
  const auto rows = static_cast<uint32_t>(block.origins.size());
  Write(&rows, sizeof(rows));
  WriteAll(block.origins);
  WriteAll(block.exact);
  WriteAll(block.words);
  for (const BlockSketch::Index& index : block.index) {
    const auto count = static_cast<uint32_t>(index.rows.size());
    Write(&count, sizeof(count));
    WriteAll(index.rows);
    WriteAll(index.bands);
  }
}

void SignatureWriter::Commit(const RowsChecksum& rows) {
  const uint32_t end = 0;
  Write(&end, sizeof(end));
  Write(&rows.rows_, sizeof(uint64_t));
  Write(&rows.value_, sizeof(uint64_t));
  const uint64_t hash = XXH3_64bits_digest(hash_->state.get());
  file_.Write(&hash, sizeof(hash));
  file_.Commit();
}

SignatureFile::SignatureFile(std::string file_name, std::string_view bytes) : name(std::move(file_name)) {
  const size_t line = bytes.find('\n');
  if (line == bytes.npos || !bytes.starts_with("{\"attune_signatures\""))
    BadInput("{}: holds no signatures; attune data dedupe --shard I/N makes them", name);
  header = ParseOrderedJson(bytes.substr(0, line), name);
  if (header["attune_signatures"] != kSignatureVersion)
    BadInput("{}: the signatures are of another version of attune; make them anew", name);
  const bool names_shard = header.contains("shard") && header["shard"].is_number_integer() && header.contains("of") &&
                           header["of"].is_number_integer();
  if (!names_shard || bytes.size() < line + 1 + kEndBytes) DamagedSignatures(name);
  shard = header["shard"].get<int64_t>();
  of = header["of"].get<int64_t>();
  blocks = bytes.substr(line + 1, bytes.size() - line - 1 - kEndBytes);
  NumberReader end(name, bytes.substr(bytes.size() - kEndBytes));
  if (end.One<uint32_t>() != 0) DamagedSignatures(name);
  rows.rows_ = end.One<uint64_t>();
  rows.value_ = end.One<uint64_t>();
  if (end.One<uint64_t>() != XXH3_64bits(bytes.data(), bytes.size() - sizeof(uint64_t))) DamagedSignatures(name);
}

void SignatureFile::ForEach(const std::function<void(const BlockSketch&)>& take) const {
  BlockSketch block;
  uint64_t seen = 0;
  for (NumberReader reader(name, blocks); !reader.rest().empty(); take(block)) {
    const auto count = reader.One<uint32_t>();
    reader.Many(&block.origins, count);
    reader.Many(&block.exact, count);
    reader.Many(&block.words, count);
    for (BlockSketch::Index& index : block.index) {
      const auto indexed = reader.One<uint32_t>();
      reader.Many(&index.rows, indexed);
      reader.Many(&index.bands, indexed);
      for (size_t i = 0; i < index.rows.size(); ++i) {
        if (index.rows[i] >= count || (i > 0 && index.rows[i] <= index.rows[i - 1])) DamagedSignatures(name);
      }
    }
    seen += count;
  }
  if (seen != rows.rows()) DamagedSignatures(name);
}

}  // namespace attune
