// A plan as a picture: a bar of memory for each method, its parts in colours, against what the device has. No script,
// nothing fetched, every text escaped.
#pragma once

#include <string>

#include "app/plan_job.h"

namespace attune {

std::string PlanSvg(const PlanReport& report);
std::string PlanHtml(const PlanReport& report);  // the picture with the table below it

// By the ending of the name, .svg or .html. Errors: Error{kBadInput} for another ending.
void WritePlanPicture(const PlanReport& report, const std::string& path);

}  // namespace attune
