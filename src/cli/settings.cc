#include "cli/settings.h"

#include "base/error.h"

namespace attune {
namespace {

Setting SplitSetting(const std::string& text) {
  const size_t equals = text.find('=');
  if (equals == std::string::npos) BadInput("--set {}: write key=value", text);
  return {text.substr(0, equals), text.substr(equals + 1)};
}

}  // namespace

SettingArguments ParseSettings(const std::vector<std::string>& set, const std::vector<std::string>& rest) {
  SettingArguments arguments;
  for (const std::string& text : set) arguments.settings.push_back(SplitSetting(text));
  for (size_t i = 0; i < rest.size(); ++i) {
    if (rest[i].starts_with("--") && rest[i].find('=') != std::string::npos) {
      arguments.settings.push_back(SplitSetting(rest[i].substr(2)));
    } else if (rest[i].starts_with("--") && i + 1 < rest.size() && !rest[i + 1].starts_with("--")) {
      arguments.settings.emplace_back(rest[i].substr(2), rest[i + 1]);
      ++i;
    } else if (rest[i].starts_with("--")) {
      arguments.settings.emplace_back(rest[i].substr(2), "true");  // a switch
    } else if (rest[i].find('=') != std::string::npos) {
      arguments.settings.push_back(SplitSetting(rest[i]));
    } else if (arguments.file.empty()) {
      arguments.file = rest[i];
    } else {
      BadInput("unexpected argument \"{}\"; settings are written --key value", rest[i]);
    }
  }
  return arguments;
}

}  // namespace attune
