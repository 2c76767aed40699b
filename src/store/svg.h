// Charts as SVG, drawn by hand: no script, nothing fetched, light and dark by the reader's preference.
#pragma once

#include <string>
#include <string_view>

#include "store/chart.h"

namespace attune {

// Text for HTML and XML, content or attribute: markup characters as entities, control characters that XML
// forbids and bytes that are no UTF-8 replaced.
std::string Escaped(std::string_view text);

// An <svg> element with a viewBox of this size, to be put into a page that has ChartStyle().
std::string ChartSvg(const Chart& chart, int width, int height);

// The CSS of the classes that ChartSvg uses.
std::string ChartStyle();

// A stand-alone file: the same with its own style and background.
std::string ChartSvgFile(const Chart& chart, int width, int height);

}  // namespace attune
