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

// Where the key or token that begins at `at` with one of the known beginnings ends; nullopt: it is none, its
// rest has not the length and letters of one.
std::optional<size_t> EndOfSecret(std::string_view text, size_t at, std::string_view beginning);

}  // namespace attune
