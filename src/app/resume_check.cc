#include "app/resume_check.h"

#include <set>
#include <string>

#include "base/error.h"
#include "train/plateau.h"

namespace attune {
namespace {

using Json = nlohmann::ordered_json;

// What a change means for a run that is under way.
enum class Weight { kHarmless, kAnotherRun, kImpossible };

Weight WeightOf(const std::string& section, const std::string& key) {
  // Where things are is not what they are: their hashes are compared.
  static const std::set<std::string> harmless = {"training.output_dir",
                                                 "training.overwrite_output_dir",
                                                 "training.logging_strategy",
                                                 "training.logging_steps",
                                                 "training.logging_first_step",
                                                 "training.save_strategy",
                                                 "training.save_steps",
                                                 "training.save_total_limit",
                                                 "training.eval_strategy",
                                                 "training.eval_steps",
                                                 "training.eval_delay",
                                                 "training.eval_samples",
                                                 "training.eval_max_new_tokens",
                                                 "training.load_best_model_at_end",
                                                 "training.metric_for_best_model",
                                                 "training.greater_is_better",
                                                 "training.early_stopping_patience",
                                                 "training.early_stopping_threshold",
                                                 "training.gradient_checkpointing",
                                                 "training.skip_nonfinite",
                                                 "training.per_device_eval_batch_size",
                                                 "model.name_or_path",
                                                 "model.init_from_config",
                                                 "model.tokenizer",
                                                 "model.chat_template",
                                                 "model.adapter",
                                                 "model.offload",
                                                 "data.train",
                                                 "data.eval",
                                                 "data.check"};
  if (harmless.contains(section + "." + key)) return Weight::kHarmless;
  if (section == "lora" || section == "full") return Weight::kHarmless;  // what they come to is compared: "trained"
  return section == "training" && (key == "optim" || key == "optim_args") ? Weight::kImpossible : Weight::kAnotherRun;
}

// With reduce_lr_on_plateau evaluations decide on the rate.
bool IsOfEvaluation(const std::string& key) {
  return key == "eval_strategy" || key == "eval_steps" || key == "eval_delay" || key == "metric_for_best_model" ||
         key == "logging_steps";  // which eval_steps defaults to
}

[[noreturn]] void Differs(const std::string& what, const Json& before, const Json& now, Weight weight) {
  const auto text = [](const Json& value) {
    std::string shown = value.is_null() ? "not set" : value.dump();
    if (shown.size() > 80) shown = shown.substr(0, 77) + "...";
    return shown;
  };
  BadInput("{} is not what it was when the checkpoint was made: {} then, {} now{}", what, text(before), text(now),
           weight == Weight::kImpossible ? "; start a new run" : "; --force goes on with what is now");
}

Json At(const Json& json, const std::string& key) {
  if (!json.is_object()) return nullptr;
  const auto found = json.find(key);
  return found == json.end() ? Json(nullptr) : *found;
}

void CompareSettings(const Json& before, const Json& now, bool force) {
  const bool on_plateau = At(At(now, "training"), "lr_scheduler_type") == Plateau::kName;
  std::set<std::string> sections;
  for (const Json* side : {&before, &now}) {
    for (const auto& [section, fields] : side->items()) sections.insert(section);
  }
  for (const std::string& section : sections) {
    const Json a = At(before, section), b = At(now, section);
    std::set<std::string> keys;
    for (const Json* side : {&a, &b}) {
      if (!side->is_object()) continue;
      for (const auto& [key, value] : side->items()) keys.insert(key);
    }
    for (const std::string& key : keys) {
      const Weight weight =
          on_plateau && section == "training" && IsOfEvaluation(key) ? Weight::kAnotherRun : WeightOf(section, key);
      if (weight == Weight::kHarmless || At(a, key) == At(b, key)) continue;
      if (weight == Weight::kImpossible || !force) Differs(section + "." + key, At(a, key), At(b, key), weight);
    }
  }
}

}  // namespace

void CheckResumable(const Json& checkpoint, const Json& now, bool force) {
  const auto compare = [&](const char* key, const char* what, Weight weight) {
    if (At(checkpoint, key) == At(now, key) || (force && weight != Weight::kImpossible)) return;
    Differs(what, At(checkpoint, key), At(now, key), weight);
  };
  // The base's name in an adapter's configuration is a matter of where it lies.
  Json then_trained = At(checkpoint, "trained"), now_trained = At(now, "trained");
  for (Json* trained : {&then_trained, &now_trained}) {
    if (trained->is_object()) trained->erase("base_model_name_or_path");
  }
  if (then_trained != now_trained) {
    if (then_trained.is_object() && now_trained.is_object()) {
      for (const auto& [key, value] : now_trained.items()) {
        if (At(then_trained, key) != value) Differs("lora." + key, At(then_trained, key), value, Weight::kImpossible);
      }
    }
    Differs("what is trained", then_trained, now_trained, Weight::kImpossible);
  }
  compare("model", "the model", Weight::kAnotherRun);
  compare("train_sha256", "the training data", Weight::kAnotherRun);
  compare("eval_sha256", "the evaluation data", Weight::kAnotherRun);
  CompareSettings(At(checkpoint, "settings"), At(now, "settings"), force);  // before what they bring about
  compare("train_tokens", "what tokenizer and chat template make of the training rows", Weight::kAnotherRun);
  compare("compute", "the type that is computed in", Weight::kAnotherRun);
}

}  // namespace attune
