#include "curate/byte_source.h"

#include <zlib.h>
#include <zstd.h>

#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/file.h"

namespace attune {

// The bytes as they lie in the file or in memory.
class SourceBytes {
 public:
  explicit SourceBytes(const std::string& path) : file_(path), room_(std::min(file_->left(), kPieceBytes)) { Step(); }
  explicit SourceBytes(std::string_view bytes) : rest_(bytes) { Step(); }

  std::string_view first() const { return piece_; }  // piece, before Next is called

  std::string_view Next() {
    if (!std::exchange(begun_, true)) return piece_;
    Step();
    return piece_;
  }

  // All of them, whatever has been handed over; they live as long as this.
  std::string_view Whole() {
    if (file_ && !mapped_) mapped_.emplace(file_->path());
    return mapped_ ? mapped_->text() : whole_;
  }

 private:
  static constexpr size_t kPieceBytes = size_t{256} << 10;  // they stay in the cache until they have been looked at

  void Step() {
    if (file_) {
      const auto read = file_->Read(room_);
      piece_ = {reinterpret_cast<const char*>(read.data()), read.size()};
    } else {
      piece_ = rest_.substr(0, kPieceBytes);
      rest_.remove_prefix(piece_.size());
    }
  }

  std::optional<InputFile> file_;
  std::optional<MappedFile> mapped_;
  std::vector<std::byte> room_;
  std::string_view rest_, whole_ = rest_, piece_;
  bool begun_ = false;
};

namespace {

constexpr size_t kUnpackedBytes = size_t{1} << 20;

class StreamUnpacker : public Unpacker {
 protected:
  StreamUnpacker(std::string name, SourceBytes& stored, const char* kind)
      : name_(std::move(name)), room_(kUnpackedBytes), stored_(stored), kind_(kind) {}

  // Whether there are bytes in packed_, read now if need be.
  bool HasMore() {
    if (packed_.empty()) packed_ = stored_.Next();
    return !packed_.empty();
  }
  void NeedMore() {
    if (!HasMore()) BadInput("{}: the {} data is cut short; fetch or copy the file again", name_, kind_);
  }

  std::string name_;
  std::string_view packed_;  // of the piece that was read last, what has not been unpacked
  std::vector<char> room_;

 private:
  SourceBytes& stored_;
  const char* kind_;
};

class GzipUnpacker : public StreamUnpacker {
 public:
  GzipUnpacker(std::string name, SourceBytes& stored) : StreamUnpacker(std::move(name), stored, "gzip") {
    if (inflateInit2(&stream_, 16 + MAX_WBITS) != Z_OK) Failed("{}: zlib cannot be started", name_);
  }
  ~GzipUnpacker() override { inflateEnd(&stream_); }

  std::string_view Next() override {
    while (!done_) {
      if (!has_output_) NeedMore();
      stream_.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(packed_.data()));
      stream_.avail_in = static_cast<uInt>(packed_.size());
      stream_.next_out = reinterpret_cast<Bytef*>(room_.data());
      stream_.avail_out = static_cast<uInt>(room_.size());
      const int result = inflate(&stream_, Z_NO_FLUSH);
      packed_.remove_prefix(packed_.size() - stream_.avail_in);
      const size_t made = room_.size() - stream_.avail_out;
      has_output_ = stream_.avail_out == 0;  // zlib may hold more than there was room for
      if (result == Z_STREAM_END) {
        NextMember();
      } else if (result != Z_OK && result != Z_BUF_ERROR) {
        BadInput("{}: the gzip data is damaged: {}", name_, stream_.msg == nullptr ? "unknown reason" : stream_.msg);
      }
      if (made > 0) return {room_.data(), made};
    }
    return {};
  }

 private:
  // A gzip file may be several joined; zeros behind the last are padding, as the gzip tool sees it.
  void NextMember() {
    has_output_ = false;
    bool padded = false;
    while (HasMore() && packed_[0] == 0) {
      padded = true;
      packed_.remove_prefix(std::min(packed_.find_first_not_of('\0'), packed_.size()));
    }
    done_ = !HasMore();
    if (done_) return;
    if (padded || packed_[0] != '\x1F') BadInput("{}: other bytes follow the gzip data", name_);
    inflateReset(&stream_);
  }

  z_stream stream_{};
  bool done_ = false, has_output_ = false;
};

class ZstdUnpacker : public StreamUnpacker {
 public:
  ZstdUnpacker(std::string name, SourceBytes& stored)
      : StreamUnpacker(std::move(name), stored, "zstd"), stream_(ZSTD_createDStream(), &ZSTD_freeDStream) {
    if (stream_ == nullptr) Failed("{}: zstd cannot be started", name_);
  }

  std::string_view Next() override {
    while (has_output_ || in_frame_ || HasMore()) {
      if (in_frame_ && !has_output_) NeedMore();
      ZSTD_inBuffer in{packed_.data(), packed_.size(), 0};
      ZSTD_outBuffer out{room_.data(), room_.size(), 0};
      const size_t result = ZSTD_decompressStream(stream_.get(), &out, &in);
      if (ZSTD_isError(result)) BadInput("{}: the zstd data is damaged: {}", name_, ZSTD_getErrorName(result));
      packed_.remove_prefix(in.pos);
      in_frame_ = result != 0;
      has_output_ = in_frame_ && out.pos == out.size;  // zstd may hold more than there was room for
      if (out.pos > 0) return {room_.data(), out.pos};
    }
    return {};
  }

 private:
  std::unique_ptr<ZSTD_DStream, size_t (*)(ZSTD_DStream*)> stream_;
  bool in_frame_ = true, has_output_ = false;
};

}  // namespace

ByteSource::ByteSource(const std::string& path) : name_(path), stored_(std::make_unique<SourceBytes>(path)) { Open(); }

ByteSource::ByteSource(std::string name, std::string_view bytes)
    : name_(std::move(name)), stored_(std::make_unique<SourceBytes>(bytes)) {
  Open();
}

ByteSource::~ByteSource() = default;
ByteSource::ByteSource(ByteSource&&) noexcept = default;
ByteSource& ByteSource::operator=(ByteSource&&) noexcept = default;

void ByteSource::Open() {
  const std::string_view first = stored_->first();
  if (first.starts_with("\x1F\x8B")) {
    unpacker_ = std::make_unique<GzipUnpacker>(name_, *stored_);
  } else if (first.starts_with("\x28\xB5\x2F\xFD")) {
    unpacker_ = std::make_unique<ZstdUnpacker>(name_, *stored_);
  } else if (name_.ends_with(".parquet") || (first.starts_with("PAR1") && stored_->Whole().ends_with("PAR1"))) {
    unpacker_ = OpenParquet(name_, stored_->Whole());
  } else if (name_.ends_with(".gz")) {
    BadInput("{}: is named .gz and holds no gzip data", name_);
  } else if (name_.ends_with(".zst") || name_.ends_with(".zstd")) {
    BadInput("{}: is named as a zstd file and holds no zstd data", name_);
  }
}

std::string_view ByteSource::Next() { return unpacker_ ? unpacker_->Next() : stored_->Next(); }

}  // namespace attune
