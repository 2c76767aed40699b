// Settings on the command line: --set key=value, --KEY value, and one file.
#pragma once

#include <string>
#include <vector>

#include "app/config.h"

namespace attune {

struct SettingArguments {
  std::string file;
  std::vector<Setting> settings;
};

// Taken by hand, for CLI11 would take the value of a flag it does not know for a positional: one file, any number of
// --KEY value or --KEY=value, and key=value behind a --set. Errors: Error{kBadInput} for a second file.
SettingArguments ParseSettings(const std::vector<std::string>& set, const std::vector<std::string>& rest);

}  // namespace attune
