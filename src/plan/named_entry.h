// Looking an entry of a catalogue up by what a person types: the whole name, the part behind "/", or a beginning that
// only one entry has, in letters of any case.
#pragma once

#include <algorithm>
#include <cctype>
#include <string>
#include <vector>

namespace attune {

inline std::string LowerCase(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return text;
}

inline std::string BaseName(const std::string& name) { return name.substr(name.rfind('/') + 1); }

// nullptr where none or several match. Entry has a `name`.
template <class Entry>
const Entry* FindNamed(const std::vector<Entry>& entries, const std::string& asked) {
  const std::string wanted = LowerCase(asked);
  const Entry* found = nullptr;
  int begins = 0;
  for (const Entry& entry : entries) {
    const std::string name = LowerCase(entry.name), base = BaseName(name);
    if (name == wanted || base == wanted) return &entry;
    if (wanted.size() < 2 || !(name.starts_with(wanted) || base.starts_with(wanted))) continue;
    found = &entry;
    ++begins;
  }
  return begins == 1 ? found : nullptr;
}

template <class Entry>
std::vector<std::string> NamesOf(const std::vector<Entry>& entries) {
  std::vector<std::string> names;
  for (const Entry& entry : entries) names.push_back(entry.name);
  return names;
}

}  // namespace attune
