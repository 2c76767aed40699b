#include "curate/record_reader.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/error.h"

namespace attune {
namespace {

constexpr size_t kKeptOfTooLong = 512;  // bytes of a record that is too long, to know it again

std::string_view WithoutPacking(std::string_view path) {
  for (const std::string_view packed : {".gz", ".zst", ".zstd"}) {
    if (path.ends_with(packed)) path.remove_suffix(packed.size());
  }
  return path;
}

bool IsBlank(char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; }

}  // namespace

std::optional<Container> ContainerOf(std::string_view path) {
  const std::string_view name = WithoutPacking(path);
  if (name.ends_with(".jsonl") || name.ends_with(".ndjson") || path.ends_with(".parquet")) return Container::kJsonl;
  if (name.ends_with(".json")) return Container::kJson;
  if (name.ends_with(".csv")) return Container::kCsv;
  if (name.ends_with(".tsv")) return Container::kTsv;
  if (name.ends_with(".txt")) return Container::kText;
  return std::nullopt;
}

RecordReader::RecordReader(ByteSource source, Container container, size_t longest)
    : source_(std::move(source)), container_(container), longest_(longest) {}

bool RecordReader::Next(RecordBlock* block, size_t bytes) {
  block->records.clear();
  if (!started_) SkipStart();
  needed_ = std::max(needed_, bytes);
  for (;;) {
    Fill();
    for (;;) {
      const Cut cut = CutNext();
      if (cut.next == std::string::npos) break;
      const size_t begin = at_ + cut.begin, size = cut.end - cut.begin;
      if (size > 0 || broken_ != nullptr) {
        // The line of the record itself, not of the blanks before it.
        Record record{container_ == Container::kJson ? ++rows_ : line_ + CountLines(at_, begin), begin, size,
                      PlaceOf(begin), broken_};
        if (size > longest_) record.broken = kTooLongRecord, record.size = kKeptOfTooLong;
        block->records.push_back(record);
      }
      Advance(at_ + cut.next);
    }
    if (buffer_.size() - at_ > longest_) TakeTooLong(block);
    if (!block->records.empty()) break;
    if (ended_) return false;
    buffer_.erase(0, at_);  // blanks, of which there may be any number
    at_ = 0;
    needed_ = std::max<size_t>(2 * (buffer_.size() - at_), 1);
  }
  // What is left begins the next block, in the room that this one's bytes had last, unless a long record made that
  // large.
  const size_t usual = bytes + (size_t{2} << 20);
  std::string rest;
  if (block->bytes.capacity() < 2 * usual) rest = std::move(block->bytes);
  rest.assign(buffer_, at_);
  rest.reserve(usual);
  buffer_.resize(at_);
  buffer_.reserve(at_ + kReadBehind);
  block->bytes = std::exchange(buffer_, std::move(rest));
  at_ = 0;
  needed_ = 1;
  return true;
}

void RecordReader::Fill() {
  while (!ended_ && buffer_.size() - at_ < needed_ && (buffer_.size() - at_ <= longest_ || skipping_)) {
    const std::string_view piece = source_.Next();
    ended_ = piece.empty();
    read_ += std::ssize(piece);
    if (!skipping_) {
      buffer_ += piece;
    } else if (const size_t end = piece.find('\n'); end != piece.npos) {
      skipping_ = false;
      ++line_;
      buffer_ += piece.substr(end + 1);
    }
  }
}

void RecordReader::SkipStart() {
  started_ = true;
  needed_ = 4;
  Fill();
  const std::string_view start = buffer_;
  if (start.starts_with("\xFF\xFE") || start.starts_with("\xFE\xFF")) {
    BadInput("{}: is UTF-16; write it anew as UTF-8", name());
  }
  if (start.starts_with("\xEF\xBB\xBF")) at_ = 3;
  if (container_ != Container::kJson) return;
  for (;;) {
    while (at_ < buffer_.size() && IsBlank(buffer_[at_])) Advance(at_ + 1);
    if (at_ < buffer_.size() || ended_) break;
    buffer_.erase(0, at_);
    at_ = 0;
    Fill();
  }
  in_list_ = at_ < buffer_.size() && buffer_[at_] == '[';
  if (in_list_) Advance(at_ + 1);
}

int64_t RecordReader::CountLines(size_t begin, size_t end) const {
  int64_t lines = 0;
  const char* const last = buffer_.data() + end;
  for (const char* at = buffer_.data() + begin; at < last; ++at, ++lines) {
    at = static_cast<const char*>(std::memchr(at, '\n', static_cast<size_t>(last - at)));
    if (at == nullptr) break;
  }
  return lines;
}

void RecordReader::Advance(size_t to) {
  line_ += CountLines(at_, to);
  at_ = to;
}

void RecordReader::TakeTooLong(RecordBlock* block) {
  block->records.push_back(
      {container_ == Container::kJson ? ++rows_ : line_, at_, kKeptOfTooLong, PlaceOf(at_), kTooLongRecord});
  if (container_ == Container::kJson) {  // where the next row starts is not known
    block->records.back().broken = "longer than 16 MiB, and what follows in this file was not read";
    while (!source_.Next().empty()) {
    }
    ended_ = list_closed_ = true;
    Advance(buffer_.size());
    return;
  }
  const size_t end =
      container_ == Container::kCsv || container_ == Container::kTsv ? buffer_.find('\n', at_) : buffer_.npos;
  skipping_ = end == buffer_.npos;
  if (!skipping_) return Advance(end + 1);
  Advance(at_ + kKeptOfTooLong);
  line_ += CountLines(at_, buffer_.size());
  buffer_.resize(at_);
}

RecordReader::Cut RecordReader::CutNext() {
  broken_ = nullptr;
  if (at_ == buffer_.size() && !(ended_ && in_list_ && !list_closed_)) return {};
  switch (container_) {
    case Container::kJson:
      return CutJson();
    case Container::kCsv:
    case Container::kTsv:
      return CutCsv();
    default:
      return CutLine();
  }
}

RecordReader::Cut RecordReader::CutLine() const {
  const std::string_view rest = std::string_view(buffer_).substr(at_);
  size_t end = rest.find('\n');
  if (end == rest.npos && !ended_) return {};
  const size_t next = end == rest.npos ? rest.size() : end + 1;
  if (end == rest.npos) end = rest.size();
  if (end > 0 && rest[end - 1] == '\r') --end;
  if (std::all_of(rest.begin(), rest.begin() + static_cast<std::ptrdiff_t>(end), IsBlank)) end = 0;
  return {0, end, next};
}

// A record ends with a line break that stands in no quotes; quotes count only where they open a field.
RecordReader::Cut RecordReader::CutCsv() {
  const std::string_view rest = std::string_view(buffer_).substr(at_);
  const char separator = container_ == Container::kCsv ? ',' : '\t';
  bool at_field_start = true, quoted = false;
  for (size_t i = 0; i < rest.size(); ++i) {
    const char c = rest[i];
    if (quoted) {
      if (c != '"') continue;
      if (i + 1 < rest.size() && rest[i + 1] == '"') {
        ++i;
      } else {
        quoted = false;
      }
    } else if (c == '\n') {
      return {0, i > 0 && rest[i - 1] == '\r' ? i - 1 : i, i + 1};
    } else if (c == '"' && at_field_start) {
      quoted = true;
    }
    at_field_start = !quoted && c == separator;
  }
  if (!ended_) return {};
  if (quoted) broken_ = "a quote is opened and not closed before the file ends";
  return {0, rest.size(), rest.size()};
}

RecordReader::Cut RecordReader::CutJson() {
  const std::string_view rest = std::string_view(buffer_).substr(at_);
  size_t i = 0;
  while (i < rest.size() && (IsBlank(rest[i]) || (in_list_ && !list_closed_ && rest[i] == ','))) ++i;
  if (i == rest.size()) {
    if (!ended_ || !in_list_ || list_closed_) return i > 0 ? Cut{0, 0, i} : Cut{};
    list_closed_ = true;
    broken_ = "the file ends within its list; it may be cut short";
    return {0, rest.size(), rest.size()};
  }
  if (in_list_ && !list_closed_ && rest[i] == ']') {
    list_closed_ = true;
    return {0, 0, i + 1};
  }
  const size_t begin = i;
  if (list_closed_) {
    if (!ended_) return {};
    broken_ = "text follows the end of the list";
    return {begin, rest.size(), rest.size()};
  }
  if (rest[i] != '{' && rest[i] != '[') {  // no row, whatever it is
    do ++i;
    while (i < rest.size() && rest[i] != ',' && rest[i] != '\n' && rest[i] != ']');
    if (i == rest.size() && !ended_) return {};
    return {begin, i, i};
  }
  size_t depth = 0;
  bool in_string = false;
  for (; i < rest.size(); ++i) {
    const char c = rest[i];
    if (in_string) {
      if (c == '\\') {
        ++i;
      } else if (c == '"') {
        in_string = false;
      }
    } else if (c == '"') {
      in_string = true;
    } else if (c == '{' || c == '[') {
      ++depth;
    } else if ((c == '}' || c == ']') && --depth == 0) {
      return {begin, i + 1, i + 1};
    }
  }
  if (!ended_) return {};
  broken_ = "the file ends within this row; it may be cut short";
  list_closed_ = true;
  return {begin, rest.size(), rest.size()};
}

}  // namespace attune
