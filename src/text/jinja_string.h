// Python's view of a string over UTF-8: lengths, positions and cases count code points. Every function takes
// any bytes: a byte that starts no sequence counts as one code point.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace attune::jinja {

// Bytes of the code point at `at` (less than the size): the lead byte and the continuation bytes it owns.
size_t CodePointSize(std::string_view text, size_t at);
size_t CountCodePoints(std::string_view text);
// Byte offset of the n-th code point; the size of the text when there are fewer.
size_t ByteOffset(std::string_view text, size_t n);
// The code point at `at`; U+FFFD for ill-formed bytes.
char32_t CodePointAt(std::string_view text, size_t at);
void AppendCodePoint(char32_t code_point, std::string* out);

// str.isspace of one code point, which str.strip, str.split and \s of re go by.
bool IsPythonSpace(char32_t code_point);
// str.isprintable of one code point, which repr goes by.
bool IsPrintable(char32_t code_point);

// str.strip(chars) and its halves. `chars` empty with `spaces` set strips white space.
std::string_view Strip(std::string_view text, bool left, bool right);
std::string_view Strip(std::string_view text, std::string_view chars, bool left, bool right);

// str.split() and str.rsplit() with at most `limit` splits (negative: all). An empty separator means white
// space.
std::vector<std::string_view> Split(std::string_view text, std::string_view separator, int64_t limit, bool from_right);
std::vector<std::string_view> SplitLines(std::string_view text, bool keep_ends);

std::string Replace(std::string_view text, std::string_view from, std::string_view to, int64_t limit);

std::string Upper(std::string_view text);
std::string Lower(std::string_view text);
std::string Capitalize(std::string_view text);
std::string Title(std::string_view text);  // str.title(): a word starts after every uncased code point

bool IsCased(char32_t code_point);
bool IsUpper(char32_t code_point);
bool IsLower(char32_t code_point);
bool IsAlpha(char32_t code_point);
bool IsDecimal(char32_t code_point);
bool IsDigit(char32_t code_point);
bool IsNumericPoint(char32_t code_point);

std::string EscapeHtml(std::string_view text);  // & < > " '

}  // namespace attune::jinja
