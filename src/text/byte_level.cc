#include "text/byte_level.h"

#include <array>

#include "text/unicode.h"

namespace attune {
namespace {

struct ByteTables {
  std::array<std::string, 256> text;  // of each byte
  std::array<int, 0x144> byte;        // of each character, or -1
};

const ByteTables& ByteLevelTables() {
  static const ByteTables tables = [] {
    ByteTables t;
    t.byte.fill(-1);
    char32_t next = 0x100;
    for (int byte = 0; byte < 256; ++byte) {
      const bool printable = (byte >= '!' && byte <= '~') || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
      const char32_t character = printable ? static_cast<char32_t>(byte) : next++;
      AppendUtf8(character, &t.text[byte]);
      t.byte[character] = byte;
    }
    return t;
  }();
  return tables;
}

}  // namespace

void AppendByteLevel(std::string_view bytes, std::string* out) {
  const ByteTables& tables = ByteLevelTables();
  for (const char byte : bytes) out->append(tables.text[static_cast<unsigned char>(byte)]);
}

std::optional<char> ByteLevelByte(char32_t character) {
  const ByteTables& tables = ByteLevelTables();
  if (character >= tables.byte.size() || tables.byte[character] < 0) return std::nullopt;
  return static_cast<char>(tables.byte[character]);
}

}  // namespace attune
