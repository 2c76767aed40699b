// Which language a text is in, well enough to see that a data set mixes several.
#pragma once

#include <string_view>

namespace attune {

// By the script ("Han", "Cyrillic" ...) and, for Latin letters, by the commonest words of nine languages
// ("English" ...); of the first few hundred bytes. "": too little to tell. The text must be valid UTF-8.
const char* LanguageOf(std::string_view text);

}  // namespace attune
