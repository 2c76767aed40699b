// A chart in a terminal: the line of training in braille dots (two by four in a character), evaluations as
// discs.
#pragma once

#include <string>

#include "store/chart.h"

namespace attune {

// Lines of UTF-8 text, each at most `width` columns (at least 40 are taken), `height` of them (at least 4)
// for the plot itself, then the axis, its steps and what the marks mean. With `colour`, ANSI colours.
std::string PlotInTerminal(const Chart& chart, int width, int height, bool colour);

}  // namespace attune
