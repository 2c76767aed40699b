#include "text/prefix_index.h"

#include <algorithm>
#include <utility>

#include "base/error.h"

namespace attune {

PrefixIndex::PrefixIndex(std::vector<Entry> entries, const std::string& where) {
  std::stable_sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) { return a.text < b.text; });
  for (Entry& entry : entries) {
    if (entry.text.size() > kMaxBytes) {
      BadInput("{}: the token '{}...' has {} bytes; at most {} are supported", where, entry.text.substr(0, 16),
               entry.text.size(), kMaxBytes);
    }
    if (!entries_.empty() && entries_.back().text == entry.text) {
      entries_.back() = std::move(entry);
    } else {
      entries_.push_back(std::move(entry));
    }
  }
  for (uint32_t i = 0; i < entries_.size(); ++i) {
    auto& [low, high] = first_[static_cast<unsigned char>(entries_[i].text[0])];
    if (low == high) low = i;
    high = i + 1;
  }
}

void PrefixIndex::Narrow(size_t depth, char byte, uint32_t* low, uint32_t* high) const {
  const auto at = [&](const Entry& entry) { return static_cast<unsigned char>(entry.text[depth]); };
  const auto wanted = static_cast<unsigned char>(byte);
  const auto begin = entries_.begin() + *low, end = entries_.begin() + *high;
  const auto first = std::lower_bound(begin, end, wanted, [&](const Entry& e, unsigned char b) { return at(e) < b; });
  const auto last = std::upper_bound(first, end, wanted, [&](unsigned char b, const Entry& e) { return b < at(e); });
  *low = static_cast<uint32_t>(first - entries_.begin());
  *high = static_cast<uint32_t>(last - entries_.begin());
}

}  // namespace attune
