// Looking at what is there: a model, an adapter, this machine.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

namespace attune {

// A model folder, GGUF file, org/name or adapter folder: what it is and how large.
nlohmann::ordered_json Inspect(const std::string& path);

// What this machine offers and what is missing: {"checks": [{"name", "ok", "detail"}], ...}.
nlohmann::ordered_json Doctor();

}  // namespace attune
