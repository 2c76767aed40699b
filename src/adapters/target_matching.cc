#include "adapters/target_matching.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <optional>
#include <set>
#include <string_view>

#include "adapters/python_regex.h"
#include "base/error.h"

namespace attune {
namespace {

constexpr size_t kManyTargets = 20;                                             // from here on PEFT shortens the list
constexpr const char* kDefaultsFor[] = {"llama", "mistral", "qwen2", "qwen3"};  // all: q_proj and v_proj

bool IsNameOrSuffix(std::string_view path, std::string_view name) {
  return path == name ||
         (path.size() > name.size() && path.ends_with(name) && path[path.size() - name.size() - 1] == '.');
}

// "a.b.c" gives "c", "b.c", "a.b.c".
std::vector<std::string> Suffixes(const std::string& path) {
  std::vector<std::string> suffixes;
  for (size_t dot = path.rfind('.'); dot != std::string::npos; dot = dot == 0 ? dot - 1 : path.rfind('.', dot - 1)) {
    suffixes.push_back(path.substr(dot + 1));
  }
  suffixes.push_back(path);
  return suffixes;
}

// The shortest suffixes of `targets` that no other module of the model has, taken greedily in PEFT's order.
std::vector<std::string> ShortenTargets(const std::vector<std::string>& targets, std::span<const ModuleInfo> modules) {
  const std::set<std::string> wanted(targets.begin(), targets.end());
  const auto is_wanted = [&](const std::string& path) {
    const std::vector<std::string> suffixes = Suffixes(path);
    return std::any_of(suffixes.begin(), suffixes.end(), [&](const std::string& s) { return wanted.contains(s); });
  };
  std::set<std::string> others;  // suffixes of the modules that are not wanted, containers among them
  for (const ModuleInfo& module : modules) {
    std::string path = module.path;
    while (!path.empty()) {
      if (!is_wanted(path)) {
        for (std::string& suffix : Suffixes(path)) others.insert(std::move(suffix));
      }
      const size_t dot = path.rfind('.');
      path.resize(dot == std::string::npos ? 0 : dot);
    }
  }
  std::vector<std::vector<std::string>> by_suffixes;
  for (const std::string& target : wanted) by_suffixes.push_back(Suffixes(target));
  std::sort(by_suffixes.begin(), by_suffixes.end());
  std::vector<std::string> shortest;
  for (const std::vector<std::string>& suffixes : by_suffixes) {
    const std::string& path = suffixes.back();
    // PEFT asks for a dot before the suffix: a target that is itself one of `shortest` is not yet covered.
    const auto covers = [&](const std::string& s) { return path != s && IsNameOrSuffix(path, s); };
    for (const std::string& suffix : suffixes) {
      if (others.contains(suffix) || std::find(shortest.begin(), shortest.end(), suffix) != shortest.end()) continue;
      if (std::none_of(shortest.begin(), shortest.end(), covers)) {
        shortest.push_back(suffix);
        break;
      }
    }
  }
  return shortest.empty() ? targets : shortest;
}

bool IsAllLinear(const LoraConfig::Selection& selection) {
  const auto* text = std::get_if<std::string>(&selection);
  if (text == nullptr) return false;
  std::string lower = *text;
  for (char& c : lower) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
  return lower == "all-linear";
}

// target_modules or exclude_modules, ready to test paths.
class Selector {
 public:
  Selector(const LoraConfig::Selection& selection, const std::string& where) {
    if (const auto* text = std::get_if<std::string>(&selection); text != nullptr && !text->empty()) {
      expression_.emplace(*text, where);
    }
    if (const auto* names = std::get_if<std::vector<std::string>>(&selection)) names_ = names;
  }
  bool Matches(const std::string& path) const {
    if (expression_) return expression_->FullMatch(path);
    return names_ != nullptr && std::any_of(names_->begin(), names_->end(),
                                            [&](const std::string& name) { return IsNameOrSuffix(path, name); });
  }
  bool Names(const std::string& path) const {  // a list holds exactly this path
    return names_ != nullptr && std::find(names_->begin(), names_->end(), path) != names_->end();
  }

 private:
  std::optional<PythonRegex> expression_;
  const std::vector<std::string>* names_ = nullptr;
};

// layers_to_transform and layers_pattern.
class LayerFilter {
 public:
  LayerFilter(const LoraConfig& config, const std::string& where) {
    if (const auto* layer = std::get_if<int64_t>(&config.layers_to_transform)) {
      layers_ = {*layer};
      active_ = true;
    } else if (const auto* layers = std::get_if<std::vector<int64_t>>(&config.layers_to_transform)) {
      layers_ = *layers;
      active_ = !layers->empty();
    }
    if (!active_) return;
    if (const auto* name = std::get_if<std::string>(&config.layers_pattern); name != nullptr && !name->empty()) {
      AddPattern(*name, where);
    } else if (const auto* names = std::get_if<std::vector<std::string>>(&config.layers_pattern)) {
      for (const std::string& pattern : *names) AddPattern(pattern, where);
    }
    // Without a name, the first number between dots that follows a part of the path.
    if (patterns_.empty()) patterns_.emplace_back(R"(.*?\.[^.]*\.(?P<idx>\d+)\.)", where);
  }
  bool Keeps(const std::string& path) const {
    if (!active_) return true;
    for (const PythonRegex& pattern : patterns_) {
      const std::optional<std::string> index = pattern.StartMatchGroup(path, "idx");
      if (!index) continue;
      return std::find(layers_.begin(), layers_.end(), std::strtoll(index->c_str(), nullptr, 10)) != layers_.end();
    }
    return false;
  }

 private:
  void AddPattern(const std::string& name, const std::string& where) {
    patterns_.emplace_back(fmt::format(R"((?:^|.*?\.){}\.(?P<idx>\d+)\.)", name), where);
  }
  bool active_ = false;
  std::vector<int64_t> layers_;
  std::vector<PythonRegex> patterns_;
};

// rank_pattern or alpha_pattern: the value of the first expression that matches the path or its end.
template <class Value>
class Patterns {
 public:
  Patterns(const std::vector<std::pair<std::string, Value>>& patterns, Value fallback, const std::string& where)
      : fallback_(fallback) {
    for (const auto& [pattern, value] : patterns) {
      entries_.emplace_back(PythonRegex(fmt::format(R"((.*\.)?({})$)", pattern), where), value);
    }
  }
  Value For(const std::string& path) const {
    for (const auto& [expression, value] : entries_) {
      if (expression.StartMatch(path)) return value;
    }
    return fallback_;
  }

 private:
  std::vector<std::pair<PythonRegex, Value>> entries_;
  Value fallback_;
};

// modules_to_save must not be adapted as well, nor what is inside them.
std::vector<PythonRegex> SavedModules(const LoraConfig& config, const std::string& where) {
  std::vector<PythonRegex> saved;
  if (!config.modules_to_save) return saved;
  for (const std::string& name : *config.modules_to_save) {
    saved.emplace_back(fmt::format(R"((^|.*\.){}($|\..*))", name), where);
  }
  return saved;
}

void RefuseUnknownTargets(const LoraConfig& config, std::span<const ModuleInfo> modules, const std::string& where) {
  const auto* names = std::get_if<std::vector<std::string>>(&config.target_modules);
  if (names == nullptr) return;
  for (const std::string& name : *names) {
    const bool found = std::any_of(modules.begin(), modules.end(),
                                   [&](const ModuleInfo& module) { return IsNameOrSuffix(module.path, name); });
    if (!found) {
      BadInput("{}: target_modules: the model has no module \"{}\" (it has {})", where, name, NamesThatExist(modules));
    }
  }
}

[[noreturn]] void NothingMatches(const LoraConfig& config, std::span<const ModuleInfo> modules,
                                 const std::string& where) {
  const auto* expression = std::get_if<std::string>(&config.target_modules);
  BadInput(
      "{}: target_modules{}, less exclude_modules, modules_to_save and layers_to_transform, leave no module to "
      "adapt{} "
      "(the model has {})",
      where, expression != nullptr ? " \"" + *expression + "\"" : "",
      expression != nullptr ? "; a text is a regular expression for the whole path, a list holds names" : "",
      NamesThatExist(modules));
}

}  // namespace

std::string NamesThatExist(std::span<const ModuleInfo> modules) {
  std::vector<std::string> names;
  for (const ModuleInfo& module : modules) {
    if (!module.is_linear && !module.is_embedding) continue;
    const std::string name = Suffixes(module.path).front();
    if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
  }
  return fmt::format("{}", fmt::join(names, ", "));
}

bool HasDefaultTargets(const std::string& model_type) {
  return std::find(std::begin(kDefaultsFor), std::end(kDefaultsFor), model_type) != std::end(kDefaultsFor);
}

LoraConfig ResolveTargets(LoraConfig config, std::span<const ModuleInfo> modules, const std::string& model_type) {
  config.fan_in_fan_out = false;
  if (std::holds_alternative<std::monostate>(config.target_modules)) {
    if (!HasDefaultTargets(model_type)) {
      BadInput(
          "target_modules has no default for model_type {}: name the modules, or \"all-linear\" (the model "
          "has {})",
          model_type, NamesThatExist(modules));
    }
    config.target_modules = std::vector<std::string>{"q_proj", "v_proj"};
  } else if (IsAllLinear(config.target_modules)) {
    std::vector<std::string> names;
    for (const ModuleInfo& module : modules) {
      if (module.is_linear && !module.is_output_head) names.push_back(module.path);
    }
    config.target_modules = std::move(names);
  }
  if (auto* names = std::get_if<std::vector<std::string>>(&config.target_modules);
      names && names->size() >= kManyTargets) {
    std::vector<std::string> shorter = ShortenTargets(*names, modules);
    if (shorter.size() < names->size()) *names = std::move(shorter);
  }
  return config;
}

std::vector<MatchedModule> MatchTargets(const LoraConfig& given, std::span<const ModuleInfo> modules,
                                        const std::string& model_type, const std::string& where,
                                        UnknownTargets unknown) {
  const LoraConfig config = ResolveTargets(given, modules, model_type);
  if (unknown == UnknownTargets::kRefuse) RefuseUnknownTargets(config, modules, where);
  const Selector targets(config.target_modules, where + ": target_modules");
  const Selector excluded(config.exclude_modules, where + ": exclude_modules");
  const std::vector<PythonRegex> saved = SavedModules(config, where + ": modules_to_save");
  const LayerFilter layers(config, where + ": layers_pattern");
  const Patterns<int64_t> ranks(config.rank_pattern, config.r, where + ": rank_pattern");
  const Patterns<double> alphas(config.alpha_pattern, config.lora_alpha, where + ": alpha_pattern");

  std::vector<MatchedModule> matched;
  for (const ModuleInfo& module : modules) {
    const std::string& path = module.path;
    if (excluded.Matches(path) || !targets.Matches(path)) continue;
    if (std::any_of(saved.begin(), saved.end(), [&](const PythonRegex& s) { return s.StartMatch(path); })) continue;
    // A path given in full is meant, whatever its layer.
    if (!targets.Names(path) && !layers.Keeps(path)) continue;
    if (!module.is_linear && !module.is_embedding) {
      BadInput("{}: target_modules: \"{}\" is neither a linear layer nor an embedding, so it cannot be adapted", where,
               path);
    }
    MatchedModule match{module, ranks.For(path), alphas.For(path)};
    const auto rank = static_cast<double>(match.rank);
    match.scaling = match.alpha / (config.use_rslora ? std::sqrt(rank) : rank);
    matched.push_back(std::move(match));
  }
  if (matched.empty()) NothingMatches(config, modules, where);
  return matched;
}

std::vector<ModuleInfo> MatchModulesToSave(const LoraConfig& config, std::span<const ModuleInfo> modules,
                                           const std::string& where) {
  std::vector<ModuleInfo> saved;
  if (!config.modules_to_save) return saved;
  for (const std::string& name : *config.modules_to_save) {
    if (std::none_of(modules.begin(), modules.end(), [&](const ModuleInfo& m) { return m.path.ends_with(name); })) {
      BadInput("{}: modules_to_save: the model has no module \"{}\" (it has {})", where, name, NamesThatExist(modules));
    }
  }
  for (const ModuleInfo& module : modules) {
    if (std::any_of(config.modules_to_save->begin(), config.modules_to_save->end(),
                    [&](const std::string& name) { return module.path.ends_with(name); })) {
      saved.push_back(module);
    }
  }
  return saved;
}

}  // namespace attune
