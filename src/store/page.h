// The frame of the HTML pages that Attune writes: one style, light and dark by the reader's preference,
// nothing fetched, no script. All that is passed in is escaped here.
#pragma once

#include <string>
#include <utility>
#include <vector>

namespace attune {

// From the doctype to within <main>. `more_style`: CSS beside the page's own.
std::string PageStart(const std::string& title, const std::string& more_style);
std::string PageEnd(const std::string& footer);

// A large figure over its name, to stand in a <div class="tiles">.
std::string PageTile(const std::string& value, const std::string& name);

// A heading and a card of two columns; "" without rows.
std::string PageTable(const std::string& title, const std::vector<std::pair<std::string, std::string>>& rows);

// "1 234 567", with narrow spaces that do not break.
std::string GroupedDigits(double value);

}  // namespace attune
