// A plan as a picture: a bar of memory for each method, its parts in colours, against what the device has. No script,
// nothing fetched, every text escaped.
#pragma once

#include <string>

#include "app/plan_job.h"

namespace attune {

std::string PlanSvg(const PlanReport& report);
std::string PlanHtml(const PlanReport& report);  // the picture with the table below it

// Before a plan is made. Errors: Error{kBadInput}: a name that ends in neither .svg nor .html, or a folder that is not
// there.
void RequirePictureName(const std::string& path);

// By the ending of the name, .svg or .html.
void WritePlanPicture(const PlanReport& report, const std::string& path);

}  // namespace attune
