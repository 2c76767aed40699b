// Everything that is found in the texts of a row, for check to count and for clean to act upon: the two must
// not differ.
#pragma once

#include <string_view>
#include <vector>

#include "curate/phrases.h"
#include "curate/row.h"

namespace attune {

// Appends findings, part by part. `templates`, where not null, is set to which chat templates left marks (a
// bit each, TemplateFamily).
void ScanTexts(const Row& row, std::vector<Finding>* findings, uint32_t* templates = nullptr);

// A few words around a finding, on one line. Numbers and secrets are shown by their first characters only.
std::string Excerpt(const Row& row, const Finding& finding);

}  // namespace attune
