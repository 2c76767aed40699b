// Which model a run started from, by its bytes.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>

namespace attune {

// {"bytes", "head_sha256"} of a model's files: their size, and the hash of each one's name, size and first
// MiB, in which the headers lie. Takes milliseconds, so it can be had before a run.
nlohmann::ordered_json QuickModelHash(const std::string& name_or_path);

// SHA-256 of a .gguf file; of a folder that of its lines "HASH  NAME", as sha256sum writes them in the order
// of names.
// "" for a model of more than 4 GiB, which would take minutes. Errors: Error{kBadInput} when a file cannot be
// read.
std::string FullModelHash(const std::string& name_or_path);

}  // namespace attune
