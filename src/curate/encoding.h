// What went wrong with a text on its way through encodings, and how it is put right.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "curate/row.h"

namespace attune {

// Mojibake, control characters, U+FFFD, odd characters and text that is not NFC, as findings of this part in
// the order of the text (the last of them spans the whole part). `text` must be valid UTF-8. Plain ASCII
// costs next to nothing.
void FindEncoding(std::string_view text, uint32_t part, std::vector<Finding>* findings);

// Which UTF-8 that was taken for Windows-1252 and encoded again counts.
enum class Mojibake {
  kSure,    // what no language writes so: "cafÃ©", "itâ€™s", or several characters in a row
  kLikely,  // also what some might ("AMANHÃ”", "„Ä“"): for texts that have the other, too
};

// Where mojibake begins at `at`, what it meant is appended to `mended`. Returns the end of it in `text`, or `at` where
// there is none. Pairs that real text has too ("Gruß“", "AMANHÃ”") are left alone.
size_t MendMojibakeAt(std::string_view text, size_t at, Mojibake which, std::string* mended);

// Characters that are seen by nobody, mean nothing outside the program they come from, or change the
// direction of what follows: zero-width spaces, marks and overrides of direction, private use, noncharacters,
// separators of lines and paragraphs. The joiners of emoji, Persian and Indic text are none.
bool IsOddCharacter(char32_t code_point);

}  // namespace attune
