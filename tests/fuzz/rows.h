// What every fuzz target of a reader of rows does with a file: cuts it into records, parses them, looks
// through their texts, mends them, writes them again. Rows must come out the same however the file is cut
// into blocks, what is found must lie in its text, and what is written must be a row.
#pragma once

#include <cstdint>
#include <string_view>

#include "base/error.h"
#include "curate/row_parser.h"
#include "curate/shingles.h"
#include "curate/text_mending.h"
#include "curate/text_scan.h"
#include "text/unicode.h"

namespace attune {

inline void FuzzTexts(const Row& row) {
  std::vector<Finding> findings;
  ScanTexts(row, &findings);
  for (const Finding& finding : findings) {
    if (finding.begin > finding.end || finding.end > row.parts[finding.part].text.size()) __builtin_trap();
    if (Excerpt(row, finding).find('\n') != std::string::npos) __builtin_trap();
  }
  NormalWords words;
  std::vector<uint32_t> shingles;
  for (uint32_t part = 0; part < row.parts.size(); ++part) {
    std::vector<Finding> own;
    for (const Finding& finding : findings) {
      if (finding.part == part) own.push_back(finding);
    }
    const std::string mended = TidyWhiteSpace(MendEncoding(row.parts[part].text, own), true, true);
    if (!IsValidUtf8(mended)) __builtin_trap();
    words.Read(mended);
    WordShingles(words, &shingles);
    CharacterShingles(words, &shingles);
    if (shingles.empty() != (words.count() == 0)) __builtin_trap();
  }
}

inline void FuzzRows(Container container, const uint8_t* data, size_t size) {
  static const ColumnMap names, renamed = {{"prompt", "text"}};
  static RowParser again(names);
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  size_t counted[2] = {0, 0};
  for (const size_t bytes : {size_t{1}, size_t{1} << 20}) {
    try {
      RecordReader reader(ByteSource("f", text), container, 2048);
      RowParser parser(bytes == 1 ? names : renamed);
      const DataFile file{"f", container, {"prompt", "completion"}};
      RecordBlock block;
      while (reader.Next(&block, bytes)) {
        for (const Record& record : block.records) {
          ++counted[bytes == 1];
          const Row& row = parser.Parse(file, block, record);
          if (!row.readable()) continue;
          FuzzTexts(row);
          std::string out;
          std::vector<std::optional<std::string>> texts(row.parts.size());
          if (!texts.empty()) texts[0] = "new";
          parser.Write(texts, &out);
          if (out.find('\n') != std::string::npos || !again.ParseText(out).readable()) __builtin_trap();
        }
      }
    } catch (const Error& error) {
      if (std::string_view(error.what()).find('\n') != std::string_view::npos) __builtin_trap();  // one line
      counted[bytes == 1] = 0;
    }
  }
  if (counted[0] != counted[1]) __builtin_trap();
}

}  // namespace attune
