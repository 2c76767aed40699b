#include "train/trainer_state.h"

#include <type_traits>

#include "base/error.h"

namespace attune {
namespace {

using Json = nlohmann::ordered_json;

constexpr int64_t kMostCounted = int64_t{1} << 53;

// One list of the fields, read and written alike.
template <class State, class Visit>
void VisitFields(State& s, Visit&& visit) {
  visit("step", s.step);
  visit("epoch", s.epoch);
  visit("tokens_seen", s.tokens_seen);
  visit("trained_seen", s.trained_seen);
  visit("loss_sum", s.loss_sum);
  visit("train_seconds", s.train_seconds);
  visit("skipped_nonfinite", s.skipped_nonfinite);
  visit("logged_loss", s.logged_loss);
  visit("logged_seconds", s.logged_seconds);
  visit("logged_tokens", s.logged_tokens);
  visit("logged_updates", s.logged_updates);
  visit("best_step", s.best_step);
  visit("best_saved_step", s.best_saved_step);
  visit("evals_without_gain", s.evals_without_gain);
  visit("stopped_early", s.stopped_early);
  visit("plateau_bad_evaluations", s.plateau.bad_evaluations);
  visit("plateau_cooldown", s.plateau.cooldown);
  visit("plateau_reductions", s.plateau.reductions);
}

Json OptionalToJson(const std::optional<double>& value) { return value ? Json(*value) : Json(nullptr); }

std::optional<double> OptionalOf(const Json& json) {
  return json.is_null() ? std::nullopt : std::optional(json.get<double>());
}

}  // namespace

Json TrainerState::ToJson() const {
  Json json;
  VisitFields(*this, [&](const char* name, const auto& field) { json[name] = field; });
  json["best_metric"] = OptionalToJson(best_metric);
  json["plateau_best"] = OptionalToJson(plateau.best);
  json["history"] = history;
  return json;
}

TrainerState TrainerState::FromJson(const Json& json, const std::string& where) {
  TrainerState state;
  try {
    VisitFields(state, [&](const char* name, auto& field) {
      const Json& value = json.at(name);
      // The library would cut a fraction off, and take any number for an integer it has no room in.
      if constexpr (std::is_same_v<decltype(field), int64_t&>) {
        if (!value.is_number_integer() || value < 0 || value > kMostCounted)
          BadInput("{}: \"{}\" must be a whole number from 0 to {}, not {}", where, name, kMostCounted, value.dump());
      }
      value.get_to(field);
    });
    state.best_metric = OptionalOf(json.at("best_metric"));
    state.plateau.best = OptionalOf(json.at("plateau_best"));
    json.at("history").get_to(state.history);
  } catch (const Json::exception& error) {
    BadInput("{}: not the state of a run: {}", where, error.what());
  }
  if (state.skipped_nonfinite > state.step)
    BadInput("{}: {} updates skipped of {}", where, state.skipped_nonfinite, state.step);
  return state;
}

}  // namespace attune
