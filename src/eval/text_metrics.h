// How well an answer agrees with a reference, as published metrics count it. All are functions of the two texts alone,
// from 0 (nothing in common) to 1. Texts must be valid UTF-8.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace attune {

// Lower case, without ASCII punctuation and the articles a, an, the, words one space apart: as SQuAD's script compares
// answers (Rajpurkar et al. 2016, arXiv 1606.05250).
std::string NormalizedAnswer(std::string_view text);

// 1 where both are the same when normalised.
double ExactMatch(std::string_view answer, std::string_view reference);

// The harmonic mean of precision and recall over the words of the normalised texts, each counted as often as it stands
// there.
double TokenF1(std::string_view answer, std::string_view reference);

// ROUGE-L of Lin 2004: the F measure (both parts alike) of the longest common subsequence of words, without stemming.
// Words are runs of letters and digits in lower case; for English text that is what the package rouge-score counts,
// which knows no other letters than a to z.
double RougeL(std::string_view answer, std::string_view reference);

// The last number in a text: "1,250.5", "-3e4". Nothing where there is none.
std::optional<double> LastNumber(std::string_view text);

// 1 where both hold a number and the last ones differ by no more than tolerance * max(1, |reference|).
double NumericMatch(std::string_view answer, std::string_view reference, double tolerance);

// What stands between the first pair of ``` fences, without the language named behind the first; the whole text where
// there is none.
std::string FencedOrWhole(std::string_view text);

}  // namespace attune
