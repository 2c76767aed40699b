// A run as one HTML page: charts, samples, settings, hashes, environment. The page fetches nothing and runs
// no script, so it can be mailed or kept; everything from the run is escaped.
#pragma once

#include <string>

#include "store/run_data.h"

namespace attune {

std::string ReportHtml(const RunData& run);

}  // namespace attune
