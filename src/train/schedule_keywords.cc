#include "train/schedule_keywords.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "base/nearest.h"

namespace attune {
namespace {

std::string ShownKeyword(const nlohmann::ordered_json& value) {
  return value.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace).substr(0, 60);
}

}  // namespace

std::string SuggestionFor(const std::string& word, const std::vector<std::string>& known) {
  const std::string near = NearestName(word, known);
  return near.empty() ? fmt::format("known: {}", fmt::join(known, ", ")) : fmt::format("did you mean \"{}\"?", near);
}

ScheduleKeywords::ScheduleKeywords(const nlohmann::ordered_json& kwargs) : json_(kwargs) {
  if (!kwargs.is_null() && !kwargs.is_object())
    BadInput("lr_scheduler_kwargs: expected a mapping, found {}", kwargs.type_name());
}

void ScheduleKeywords::RefuseUnknown(const std::string& schedule, const std::vector<std::string>& known) const {
  for (const auto& [key, value] : json_.items()) {
    if (std::find(known.begin(), known.end(), key) != known.end()) continue;
    if (known.empty()) BadInput("lr_scheduler_kwargs.{}: the schedule \"{}\" takes no keywords", key, schedule);
    BadInput("lr_scheduler_kwargs.{}: \"{}\" has no such keyword; {}", key, schedule, SuggestionFor(key, known));
  }
}

std::optional<double> ScheduleKeywords::Number(const char* key, double least) const {
  const nlohmann::ordered_json* value = Find(key);
  if (value == nullptr) return std::nullopt;
  if (!value->is_number() || !(value->get<double>() >= least) || !std::isfinite(value->get<double>()))
    BadInput("lr_scheduler_kwargs.{}: expected a number of {} or more, found {}", key, least, ShownKeyword(*value));
  return value->get<double>();
}

std::optional<double> ScheduleKeywords::Count(const char* key) const {
  const std::optional<double> value = Number(key, 0);
  if (value && *value != std::floor(*value))
    BadInput("lr_scheduler_kwargs.{}: expected a whole number, found {}", key, *value);
  return value;
}

size_t ScheduleKeywords::OneOf(const char* key, const std::vector<std::string>& names, size_t otherwise) const {
  const nlohmann::ordered_json* value = Find(key);
  if (value == nullptr) return otherwise;
  const auto found = std::find_if(names.begin(), names.end(), [&](const auto& name) { return *value == name; });
  if (found == names.end())
    BadInput("lr_scheduler_kwargs.{}: expected {}, found {}", key, fmt::join(names, " or "), ShownKeyword(*value));
  return static_cast<size_t>(found - names.begin());
}

const nlohmann::ordered_json* ScheduleKeywords::Find(const char* key) const {
  if (!json_.is_object()) return nullptr;
  const auto it = json_.find(key);
  return it == json_.end() || it->is_null() ? nullptr : &*it;
}

}  // namespace attune
