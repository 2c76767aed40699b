// Prints rows that simdjson parsed, on one line, with some of their strings replaced and their keys renamed.
#pragma once

#include <simdjson.h>

#include <string>
#include <utility>
#include <vector>

#include "curate/row_source.h"

namespace attune {

// The place of a string's bytes in simdjson's parser, and what is printed instead; sorted.
using ReplacedStrings = std::vector<std::pair<const char*, const std::string*>>;

// Keys of the object itself are printed as `names` maps their columns; those further in stay.
void AppendJsonObject(const simdjson::dom::object& object, const ColumnMap& names, const ReplacedStrings& replaced,
                      std::string* out);

}  // namespace attune
