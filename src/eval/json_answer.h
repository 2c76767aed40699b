// Answers that should be JSON, and that should be of some shape: JSON Schema, drafts 4 to 7, by valijson.
#pragma once

#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>

namespace attune {

// The JSON document that an answer is, bare or between ``` fences; nothing where it is none.
std::optional<nlohmann::json> JsonOf(std::string_view answer);

// A schema, ready to hold documents against. "format" is not looked at.
class JsonSchema {
 public:
  // `where` names its source. Errors: Error{kBadInput}: what is no schema, a keyword that drafts 4 to 7 do not have (a
  // keyword that is passed over would call bad answers good), a reference to another document.
  JsonSchema(const nlohmann::json& schema, const std::string& where);
  ~JsonSchema();
  JsonSchema(JsonSchema&&) noexcept;
  JsonSchema& operator=(JsonSchema&&) noexcept;

  bool Accepts(const nlohmann::json& document) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace attune
