// lr_scheduler_kwargs: what every schedule reads its own keywords from.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

namespace attune {

// "did you mean ...?" where one of `known` is near, else all of them.
std::string SuggestionFor(const std::string& word, const std::vector<std::string>& known);

// Errors of every reader: Error{kBadInput} naming the key.
class ScheduleKeywords {
 public:
  // An object or null, which must outlive this.
  explicit ScheduleKeywords(const nlohmann::ordered_json& kwargs);

  void RefuseUnknown(const std::string& schedule, const std::vector<std::string>& known) const;

  // Nothing where the keyword is absent or null.
  std::optional<double> Number(const char* key, double least) const;
  std::optional<double> Count(const char* key) const;

  // Which of `names` the keyword is; `otherwise` where it is absent.
  size_t OneOf(const char* key, const std::vector<std::string>& names, size_t otherwise = 0) const;

 private:
  const nlohmann::ordered_json* Find(const char* key) const;

  const nlohmann::ordered_json& json_;
};

}  // namespace attune
