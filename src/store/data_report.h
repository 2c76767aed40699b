// What was done to a data set, and what it is like now, as one HTML page: rows in and out by stage and
// reason, findings with examples, doubles, leakage, token lengths, hashes. Everything that comes from data is
// escaped.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

namespace attune {

// `report`: {"title": ..., "stages": [manifests of attune data], "check": what data check prints with --json,
// "diversity": {"rows", "vendi", "mean_nearest_distance"}, "scores": {"rows", "mean_loss", "mean_ifd", "ifd_from_1",
// "ifd":
// [{"from", "rows"}], "worst": [{"what", "rows": [{"where", "loss", "ifd", "prompt", "answer"}]}]}, "tokens": {"rows",
// "tokens", "trained_tokens", "lengths": [{"to", "rows"}], "at_max_length":
// [{"max_length", "cut_rows", "cut_tokens", "packing"}]}}; all but the title may be
// absent. Members that a
// stage does not have are left out.
std::string DataReportHtml(const nlohmann::ordered_json& report);

}  // namespace attune
