#include "data/text_reader.h"

#include <utility>

#include "base/error.h"
#include "data/data_files.h"

namespace attune {
namespace {

constexpr size_t kDropBytes = size_t{1} << 24;  // pages go in portions of this size

std::deque<std::string> TextsOf(DataRow row) {
  switch (row.kind) {
    case DataRow::Kind::kText:
      return {std::move(row.text)};
    case DataRow::Kind::kPromptCompletion:
      return {row.prompt + row.completion};
    case DataRow::Kind::kMessages: {
      std::deque<std::string> texts;
      for (const auto& message : row.messages) {
        const auto content = message.find("content");
        if (content != message.end() && content->is_string()) texts.push_back(content->get<std::string>());
      }
      return texts;
    }
    case DataRow::Kind::kTokens:
      break;
  }
  BadInput("{}: the row holds token ids, and a tokenizer learns from text", row.where);
}

}  // namespace

TextReader::TextReader(const std::vector<std::string>& paths) {
  for (const std::string& path : paths) {
    for (std::string& file : DataFiles(path)) {
      file_bytes_ += FileSize(file);
      files_.push_back(std::move(file));
    }
  }
}

std::optional<std::string_view> TextReader::Next() {
  do {
    while (waiting_.empty()) {
      if (!NextRow()) return std::nullopt;
    }
    text_ = std::move(waiting_.front());
    waiting_.pop_front();
  } while (text_.empty());
  return text_;
}

bool TextReader::NextRow() {
  JsonlLine line;
  while (!file_ || !lines_.Next(&line)) {
    if (next_file_ == files_.size()) return false;
    file_.emplace(files_[next_file_++]);
    lines_ = LineReader(file_->text());
    dropped_ = 0;
  }
  waiting_ = TextsOf(ReadDataRow(line, file_->path(), true));
  const size_t done = file_->bytes().size() - lines_.rest().size();
  if (done - dropped_ >= kDropBytes) {
    file_->DropPages(file_->bytes().subspan(dropped_, done - dropped_));
    dropped_ = done;
  }
  return true;
}

}  // namespace attune
