#include "curate/byte_source.h"

#include <zlib.h>
#include <zstd.h>

#include <algorithm>
#include <cstring>
#include <span>
#include <utility>
#include <vector>

#include "base/error.h"

namespace attune {
namespace {

constexpr size_t kPieceBytes = size_t{1} << 20;

[[noreturn]] void CutShort(const std::string& name, const char* kind) {
  BadInput("{}: the {} data is cut short; fetch or copy the file again", name, kind);
}

class StreamUnpacker : public Unpacker {
 protected:
  StreamUnpacker(std::string name, std::string_view packed)
      : name_(std::move(name)), packed_(packed), room_(kPieceBytes) {}

  std::string name_;
  std::string_view packed_;  // what has not been unpacked
  std::vector<char> room_;
};

class GzipUnpacker : public StreamUnpacker {
 public:
  GzipUnpacker(std::string name, std::string_view packed) : StreamUnpacker(std::move(name), packed) {
    if (inflateInit2(&stream_, 16 + MAX_WBITS) != Z_OK) Failed("{}: zlib cannot be started", name_);
  }
  ~GzipUnpacker() override { inflateEnd(&stream_); }

  std::string_view Next() override {
    while (!done_) {
      const size_t given = std::min(packed_.size(), size_t{1} << 30);  // zlib counts in 32 bits
      stream_.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(packed_.data()));
      stream_.avail_in = static_cast<uInt>(given);
      stream_.next_out = reinterpret_cast<Bytef*>(room_.data());
      stream_.avail_out = static_cast<uInt>(room_.size());
      const int result = inflate(&stream_, Z_NO_FLUSH);
      packed_.remove_prefix(given - stream_.avail_in);
      const size_t made = room_.size() - stream_.avail_out;
      if (result == Z_STREAM_END) {
        NextMember();
      } else if (result == Z_BUF_ERROR || (result == Z_OK && made == 0 && packed_.empty())) {
        CutShort(name_, "gzip");
      } else if (result != Z_OK) {
        BadInput("{}: the gzip data is damaged: {}", name_,
                 stream_.msg == nullptr ? "unknown reason" : stream_.msg);
      }
      if (made > 0) return {room_.data(), made};
    }
    return {};
  }

 private:
  // A gzip file may be several joined; zeros behind the last are padding, as the gzip tool sees it.
  void NextMember() {
    if (packed_.find_first_not_of('\0') == packed_.npos) {
      done_ = true;
    } else if (!packed_.starts_with("\x1F\x8B")) {
      BadInput("{}: other bytes follow the gzip data", name_);
    } else {
      inflateReset(&stream_);
    }
  }

  z_stream stream_{};
  bool done_ = false;
};

class ZstdUnpacker : public StreamUnpacker {
 public:
  ZstdUnpacker(std::string name, std::string_view packed)
      : StreamUnpacker(std::move(name), packed), stream_(ZSTD_createDStream(), &ZSTD_freeDStream) {
    if (stream_ == nullptr) Failed("{}: zstd cannot be started", name_);
  }

  std::string_view Next() override {
    while (!packed_.empty() || in_frame_) {
      ZSTD_inBuffer in{packed_.data(), packed_.size(), 0};
      ZSTD_outBuffer out{room_.data(), room_.size(), 0};
      const size_t result = ZSTD_decompressStream(stream_.get(), &out, &in);
      if (ZSTD_isError(result))
        BadInput("{}: the zstd data is damaged: {}", name_, ZSTD_getErrorName(result));
      packed_.remove_prefix(in.pos);
      in_frame_ = result != 0;
      if (out.pos > 0) return {room_.data(), out.pos};
      if (in_frame_ && packed_.empty()) CutShort(name_, "zstd");
    }
    return {};
  }

 private:
  std::unique_ptr<ZSTD_DStream, size_t (*)(ZSTD_DStream*)> stream_;
  bool in_frame_ = true;
};

}  // namespace

ByteSource::ByteSource(const std::string& path) : name_(path), file_(path), rest_(file_->text()) { Open(); }

ByteSource::ByteSource(std::string name, std::string_view bytes) : name_(std::move(name)), rest_(bytes) {
  Open();
}

ByteSource::~ByteSource() = default;
ByteSource::ByteSource(ByteSource&&) noexcept = default;
ByteSource& ByteSource::operator=(ByteSource&&) noexcept = default;

void ByteSource::Open() {
  if (rest_.starts_with("\x1F\x8B")) {
    unpacker_ = std::make_unique<GzipUnpacker>(name_, rest_);
  } else if (rest_.starts_with("\x28\xB5\x2F\xFD")) {
    unpacker_ = std::make_unique<ZstdUnpacker>(name_, rest_);
  } else if ((rest_.starts_with("PAR1") && rest_.ends_with("PAR1")) || name_.ends_with(".parquet")) {
    unpacker_ = OpenParquet(name_, rest_);
  } else if (name_.ends_with(".gz")) {
    BadInput("{}: is named .gz and holds no gzip data", name_);
  } else if (name_.ends_with(".zst") || name_.ends_with(".zstd")) {
    BadInput("{}: is named as a zstd file and holds no zstd data", name_);
  }
}

std::string_view ByteSource::Next() { return unpacker_ ? unpacker_->Next() : NextPlain(); }

std::string_view ByteSource::NextPlain() {
  if (file_) file_->DropPages(std::as_bytes(std::span(given_)));
  given_ = rest_.substr(0, kPieceBytes);
  rest_.remove_prefix(given_.size());
  return given_;
}

}  // namespace attune
