// Puts texts right: what clean does to one string.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "curate/row.h"

namespace attune {

// [begin, end) of a text becomes `text`.
struct TextEdit {
  size_t begin = 0, end = 0;
  std::string text;
};
// In order of begin, without overlap (of two that overlap the first counts).
std::string Edited(std::string_view text, std::span<const TextEdit> edits);

// Mends what FindEncoding found in the text: mojibake read anew, control and odd characters taken out (a
// separator of lines becomes one), normal form C where the text had another. Findings of other rules are
// passed over.
std::string MendEncoding(std::string_view text, std::span<const Finding> findings);

// What stands in the place of a tag or entity: a line break for those that end a line, "- " for an item, the
// character an entity means, else nothing.
std::string PlainTextOf(std::string_view html);

// What is put in the place of personal data: "[EMAIL]" ...
const char* RedactionOf(Rule rule);

// Line ends become \n; blanks at the ends of lines go, and of empty lines in a row all but one, both outside
// code fences; blanks at the start and end of the text go where the text does not go on in another
// (`trim_start`, `trim_end`). IsTidy: whether it is certain that nothing would change; most texts are so, and
// it is quickly seen.
bool IsTidy(std::string_view text, bool trim_start, bool trim_end);
std::string TidyWhiteSpace(std::string_view text, bool trim_start, bool trim_end);

}  // namespace attune
