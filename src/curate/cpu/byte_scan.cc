// The loops of curate/byte_scan.h, compiled for each kind of processor.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "curate/cpu/byte_scan.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <cstring>

#include "curate/byte_scan.h"

HWY_BEFORE_NAMESPACE();
namespace attune {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using Bytes = hn::CappedTag<uint8_t, 32>;  // wider ones slow down some processors and gain nothing here

template <class Mask>
uint64_t BitsOf(Mask mask) {
  uint64_t bits = 0;
  hn::StoreMaskBits(Bytes(), mask, reinterpret_cast<uint8_t*>(&bits));
  return bits;
}

// The first place at or behind `at` for which find(pointer) has a bit, where find looks at as many bytes as a vector
// has and `behind` more.
template <class Find>
size_t FirstPlace(std::string_view text, size_t at, size_t behind, const Find& find) {
  const size_t width = hn::Lanes(Bytes());
  const auto* bytes = reinterpret_cast<const uint8_t*>(text.data());
  for (; at + width + behind <= text.size(); at += width) {
    if (const uint64_t bits = find(bytes + at); bits != 0) return at + static_cast<size_t>(__builtin_ctzll(bits));
  }
  while (at < text.size()) {
    uint8_t end[2 * hn::MaxLanes(Bytes())] = {};
    const size_t left = text.size() - at, taken = left < width ? left : width;
    std::memcpy(end, bytes + at, left < sizeof(end) ? left : sizeof(end));
    const uint64_t bits = find(end) & ((uint64_t{1} << taken) - 1);
    if (bits != 0) return at + static_cast<size_t>(__builtin_ctzll(bits));
    at += taken;
  }
  return text.size();
}

size_t FindUnplain(std::string_view text, size_t at) {
  const Bytes d;
  return FirstPlace(text, at, 0, [d](const uint8_t* bytes) HWY_ATTR {
    const auto c = hn::LoadU(d, bytes);
    const auto breaks =
        hn::Or(hn::Eq(c, hn::Set(d, '\n')), hn::Or(hn::Eq(c, hn::Set(d, '\t')), hn::Eq(c, hn::Set(d, '\r'))));
    const auto printable = hn::Lt(hn::Sub(c, hn::Set(d, 0x20)), hn::Set(d, 0x7F - 0x20));
    return BitsOf(hn::Not(hn::Or(printable, breaks)));
  });
}

size_t FindDigit(std::string_view text, size_t at) {
  const Bytes d;
  return FirstPlace(text, at, 0, [d](const uint8_t* bytes) HWY_ATTR {
    return BitsOf(hn::Lt(hn::Sub(hn::LoadU(d, bytes), hn::Set(d, '0')), hn::Set(d, 10)));
  });
}

template <class Is>
uint64_t BitsOfFirst(std::string_view text, const Is& is) {
  const Bytes d;
  uint8_t end[64] = {};
  const auto* bytes = reinterpret_cast<const uint8_t*>(text.data());
  if (text.size() < sizeof(end)) {
    std::memcpy(end, bytes, text.size());
    bytes = end;
  }
  uint64_t bits = 0;
  for (size_t at = 0; at < sizeof(end); at += hn::Lanes(d)) bits |= BitsOf(is(hn::LoadU(d, bytes + at))) << at;
  return bits;
}

template <class V>
auto IsLetter(V c) {
  const Bytes d;
  return hn::Lt(hn::Sub(hn::Or(c, hn::Set(d, 0x20)), hn::Set(d, 'a')), hn::Set(d, 26));
}

uint64_t FindLetters(std::string_view text) {
  const Bytes d;
  return BitsOfFirst(text, [d](auto c) HWY_ATTR { return hn::Or(IsLetter(c), hn::Gt(c, hn::Set(d, 0x7F))); });
}

uint64_t FindWords(std::string_view text) {
  const Bytes d;
  return BitsOfFirst(
      text, [d](auto c) HWY_ATTR { return hn::Or(IsLetter(c), hn::Lt(hn::Sub(c, hn::Set(d, '0')), hn::Set(d, 10))); });
}

bool Fold(std::string_view text, char* out) {
  const Bytes d;
  uint64_t after = 0, doubled = 0;  // the byte before was a blank; two stood side by side
  for (size_t at = 0; at < text.size(); at += hn::Lanes(d)) {
    uint8_t end[hn::MaxLanes(d)] = {};
    const size_t left = text.size() - at;
    const bool last = left < hn::Lanes(d);
    if (last) std::memcpy(end, text.data() + at, left);
    const auto c = hn::LoadU(d, last ? end : reinterpret_cast<const uint8_t*>(text.data()) + at);
    const auto blank = hn::Or(hn::Eq(c, hn::Set(d, ' ')), hn::Lt(hn::Sub(c, hn::Set(d, 9)), hn::Set(d, 5)));
    const auto upper = hn::Lt(hn::Sub(c, hn::Set(d, 'A')), hn::Set(d, 26));
    const auto lower = hn::Or(c, hn::IfThenElseZero(upper, hn::Set(d, 0x20)));
    const auto folded = hn::IfThenElse(blank, hn::Set(d, ' '), lower);
    const uint64_t bits = BitsOf(blank);
    doubled |= bits & (bits << 1 | after);
    after = bits >> (hn::Lanes(d) - 1);
    hn::StoreU(folded, d, last ? end : reinterpret_cast<uint8_t*>(out) + at);
    if (last) std::memcpy(out + at, end, left);
  }
  return doubled == 0;
}

size_t FindPhrase(const PhraseFilter::Tables& tables, std::string_view text, size_t at) {
  const Bytes d;
  const auto sets = [d, &tables](const uint8_t* bytes, size_t i) HWY_ATTR {
    const auto c = hn::LoadU(d, bytes + i);
    const auto low = hn::TableLookupBytes(hn::LoadDup128(d, tables.sets.low[i]), hn::And(c, hn::Set(d, 15)));
    const auto high = hn::TableLookupBytes(hn::LoadDup128(d, tables.sets.high[i]), hn::ShiftRight<4>(c));
    return hn::And(low, high);
  };
  return FirstPlace(text, at, PhraseFilter::kWindow, [d, &sets, &tables](const uint8_t* bytes) HWY_ATTR {
    const auto passed = hn::And(hn::And(sets(bytes, 0), sets(bytes, 1)), hn::And(sets(bytes, 2), sets(bytes, 3)));
    uint64_t bits = 0;
    for (uint64_t left = BitsOf(hn::Ne(passed, hn::Zero(d))); left != 0; left &= left - 1) {
      uint64_t window;
      std::memcpy(&window, bytes + __builtin_ctzll(left), sizeof(window));
      const uint64_t may =
          tables.three.Has(PhraseFilter::ThreeSlot(window)) | tables.eight.Has(PhraseFilter::EightSlot(window));
      bits |= may << __builtin_ctzll(left);
    }
    return bits;
  });
}
static_assert(PhraseFilter::kFirstBytes == 4);

}  // namespace HWY_NAMESPACE
}  // namespace attune
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace attune {

HWY_EXPORT(FindUnplain);
HWY_EXPORT(FindDigit);
HWY_EXPORT(FindLetters);
HWY_EXPORT(FindWords);
HWY_EXPORT(Fold);
HWY_EXPORT(FindPhrase);

size_t NextUnplain(std::string_view text, size_t at) { return HWY_DYNAMIC_DISPATCH(FindUnplain)(text, at); }
size_t NextDigit(std::string_view text, size_t at) { return HWY_DYNAMIC_DISPATCH(FindDigit)(text, at); }
uint64_t LetterBits(std::string_view text) { return HWY_DYNAMIC_DISPATCH(FindLetters)(text); }
uint64_t WordBits(std::string_view text) { return HWY_DYNAMIC_DISPATCH(FindWords)(text); }
bool FoldCase(std::string_view text, char* out) { return HWY_DYNAMIC_DISPATCH(Fold)(text, out); }
size_t PhraseFilter::Next(std::string_view text, size_t at) const {
  return HWY_DYNAMIC_DISPATCH(FindPhrase)(tables_, text, at);
}

}  // namespace attune
#endif
