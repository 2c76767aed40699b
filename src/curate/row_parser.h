// Parses records into rows, whatever container they come from, with simdjson: data sets are larger than
// memory and are read several times. One parser a thread.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "curate/row.h"
#include "curate/row_source.h"

namespace attune {

class RowParser {
 public:
  // Where a row's keys differ from the formats' (ColumnMap); the map outlives the parser.
  explicit RowParser(const ColumnMap& names);
  ~RowParser();

  // The row holds until the next call. Never throws for what the record holds: that is in Row::structure.
  const Row& Parse(const DataFile& file, const RecordBlock& block, const Record& record);
  // The same for JSON text of one row, which need not outlive the call.
  const Row& ParseText(const std::string& json);

  // Of the row parsed last: a string, or a number or boolean as text; nullopt: absent, null, a list or an
  // object.
  std::optional<std::string> Value(std::string_view key) const;

  // Appends the row parsed last as one line of JSON without the line break, with keys named as the formats
  // have them. `texts[i]`, where there is one, is what row.parts[i] shall say.
  void Write(std::span<const std::optional<std::string>> texts, std::string* out) const;
  void Write(std::string* out) const { Write({}, out); }

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace attune
