// GPT-2's way to write any byte as a visible character: bytes that are printable in Latin-1 stand for
// themselves, the others become U+0100, U+0101, ... in byte order.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace attune {

// Each byte of `bytes` as its character, in UTF-8.
void AppendByteLevel(std::string_view bytes, std::string* out);

// The byte that `character` stands for, if any.
std::optional<char> ByteLevelByte(char32_t character);

}  // namespace attune
