// attune data report: one page on what the stages did and what the data set is like now.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/progress.h"
#include "curate/stage_files.h"

namespace attune {

struct DataReportJob {
  std::vector<std::string> manifests;  // in the order of the stages
  StageInput data;                     // checked as it is now, where it names files
  std::string model;                   // whose tokens are counted; empty: they are not
  std::string scores;                  // a file of the model's scores of rows, which are then shown; empty: none
  std::string output;                  // NAME.html; NAME.json is written beside it
  OnProgress on_progress;
};

// Returns the report as JSON (store/data_report.h). Errors: Error{kBadInput}: a file that is no manifest,
// nothing to report on, outputs that exist; as CheckData, DataEncoder and
// ScoreRows.
nlohmann::ordered_json RunDataReport(const DataReportJob& job);

}  // namespace attune
