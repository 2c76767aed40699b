// Personal data and secrets in a text: what a model must not learn by heart.
#pragma once

#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "curate/row.h"

namespace attune {

// E-mail addresses, telephone numbers, payment cards (by issuer's prefix and Luhn's check digit, ISO/IEC
// 7812) and bank accounts (IBAN, ISO 13616, mod 97), in the order of the text, as findings of this part.
void FindPersonalData(std::string_view text, uint32_t part, std::vector<Finding>* findings);

// Keys and tokens of one text, asked for from front to back.
class SecretFinder {
 public:
  explicit SecretFinder(std::string_view text) : text_(text) {}

  // Where the one that begins at `at` with one of the known beginnings ends; nullopt: it is none, its rest has not the
  // length and letters of one.
  std::optional<size_t> End(size_t at, std::string_view beginning);

 private:
  // A stretch of letters, digits, hyphens and underscores, with or without dots. The one seen last is kept: text of
  // nothing but beginnings would be read again for each of them.
  struct Stretch {
    size_t begin = 0, end = 0;  // without dots at its end
    size_t digits = 0, letters = 0, dots = 0,
           earlier_dots = 0;  // where behind the last of each, and the last but one, lies
  };
  const Stretch& StretchAt(size_t start, bool dotted);

  std::string_view text_;
  Stretch stretches_[2];  // without dots, with them
};

}  // namespace attune
