#include "app/data_report_rows.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <map>
#include <numeric>

#include "curate/diversity.h"
#include "curate/hashed_words.h"
#include "curate/row_parser.h"
#include "text/unicode.h"

namespace attune {
namespace {

using Json = nlohmann::ordered_json;

constexpr int64_t kDiversityRows = 2000;
constexpr size_t kWorstRows = 5;
constexpr size_t kShownCharacters = 280;
constexpr int kIfdClasses = 12;  // of 0.1; the last one is open

// Calls visit(number, where, row) for readable rows of which wants(number).
template <class Wants, class Visit>
void VisitRows(const StageInput& data, const Wants& wants, const Visit& visit) {
  RowSource source(data.input, data.columns);
  RowParser parser(data.columns);
  for (RecordBlock block; source.Next(&block);) {
    for (size_t i = 0; i < block.records.size(); ++i) {
      const int64_t number = block.first + static_cast<int64_t>(i);
      if (!wants(number)) continue;
      const DataFile& file = source.files()[block.file];
      const Row& row = parser.Parse(file, block, block.records[i]);
      if (row.readable()) visit(number, fmt::format("{}:{}", file.path, block.records[i].line), row);
    }
  }
}

// The first characters, and a mark where there are more.
std::string Beginning(std::string_view text) {
  size_t at = 0;
  for (size_t count = 0; count < kShownCharacters && at < text.size(); ++count) NextCodePoint(text, &at);
  return std::string(text.substr(0, at)) + (at < text.size() ? " …" : "");
}

// A list of the page: what its rows have in common, and which they are, the oddest first.
struct WorstList {
  const char* what;
  std::vector<size_t> rows;
};

// Rows that `takes`, those with the largest key first.
WorstList Worst(const char* what, const std::vector<RowScore>& scores,
                const std::function<bool(const RowScore&)>& takes, const std::function<double(const RowScore&)>& key) {
  WorstList list{what, {}};
  for (size_t i = 0; i < scores.size(); ++i) {
    if (scores[i].scored() && takes(scores[i])) list.rows.push_back(i);
  }
  const auto larger = [&](size_t a, size_t b) {
    return key(scores[a]) != key(scores[b]) ? key(scores[a]) > key(scores[b]) : a < b;
  };
  const size_t shown = std::min(kWorstRows, list.rows.size());
  std::partial_sort(list.rows.begin(), list.rows.begin() + static_cast<std::ptrdiff_t>(shown), list.rows.end(), larger);
  list.rows.resize(shown);
  return list;
}

std::vector<WorstList> WorstLists(const std::vector<RowScore>& scores) {
  const auto all = [](const RowScore&) { return true; };
  return {Worst(
              "The prompt does not help to foresee the answer (IFD 1 or more): it may answer something else", scores,
              [](const RowScore& s) { return s.Ifd().value_or(0) >= 1; }, [](const RowScore& s) { return *s.Ifd(); }),
          Worst("The model finds these answers the most surprising: another language, garbled, or truly new", scores,
                all, [](const RowScore& s) { return s.loss; }),
          Worst("The model knows these answers best: there is the least to learn from them", scores, all,
                [](const RowScore& s) { return -s.loss; })};
}

// The rows of the lists as a page shows them, by number.
std::map<size_t, Json> DescribedRows(const StageInput& data, const std::vector<WorstList>& lists,
                                     const std::vector<RowScore>& scores) {
  std::map<size_t, Json> rows;
  for (const WorstList& list : lists) {
    for (const size_t row : list.rows) rows[row] = {};
  }
  PromptAnswerScratch scratch;
  VisitRows(
      data, [&](int64_t number) { return rows.contains(static_cast<size_t>(number)); },
      [&](int64_t number, const std::string& where, const Row& row) {
        const PromptAnswer split = SplitPromptAnswer(row, &scratch);
        const RowScore& score = scores[static_cast<size_t>(number)];
        Json& json = rows[static_cast<size_t>(number)];
        json = {{"where", where}, {"loss", score.loss}};
        if (const auto ifd = score.Ifd()) json["ifd"] = *ifd;
        json["prompt"] = Beginning(split.prompt);
        json["answer"] = Beginning(split.answer);
      });
  return rows;
}

}  // namespace

Json DiversityJson(const StageInput& data, int64_t rows) {
  const int64_t sample = std::min(rows, kDiversityRows);
  int64_t taken = 0;
  Embeddings vectors{kHashedWidth, {}};
  NormalWords words;
  PromptAnswerScratch scratch;
  VisitRows(
      data,
      [&](int64_t number) {
        if (taken >= sample || number < taken * rows / sample) return false;
        ++taken;
        return true;
      },
      [&](int64_t, const std::string&, const Row& row) {
        words.Read(ComparedText(row, CompareBy::kBoth, &scratch));
        const auto vector = HashedWords(words);
        vectors.values.insert(vectors.values.end(), vector.begin(), vector.end());
      });
  Places places(vectors.size());
  std::iota(places.begin(), places.end(), size_t{0});
  const Diversity diversity = DiversityOf(vectors, places, data.threads);
  return {{"rows", diversity.rows}, {"vendi", diversity.vendi}, {"mean_nearest_distance", diversity.mean_nearest}};
}

Json ScoresJson(const RowScoreJob& job, const OnProgress& on_progress) {
  const RowScores scores = ScoreRows(job, on_progress);
  double loss = 0, ifd = 0;
  int64_t scored = 0, with_ifd = 0, from_1 = 0;
  std::vector<int64_t> classes(kIfdClasses);
  for (const RowScore& score : scores.rows) {
    if (!score.scored()) continue;
    ++scored;
    loss += score.loss;
    const auto difficulty = score.Ifd();
    if (!difficulty) continue;
    ++with_ifd;
    ifd += *difficulty;
    from_1 += *difficulty >= 1;
    ++classes[static_cast<size_t>(std::min(*difficulty * 10, kIfdClasses - 1.0))];
  }
  Json json = {{"rows", scored}, {"refused", scores.refused}, {"ifd_from_1", from_1}};
  if (scored > 0) json["mean_loss"] = loss / static_cast<double>(scored);
  if (with_ifd > 0) json["mean_ifd"] = ifd / static_cast<double>(with_ifd);
  json["ifd"] = Json::array();
  const auto first =
      std::find_if(classes.begin(), classes.end(), [](int64_t rows) { return rows > 0; }) - classes.begin();
  for (auto i = static_cast<int>(first); i < kIfdClasses; ++i)
    json["ifd"].push_back({{"from", i / 10.0}, {"rows", classes[static_cast<size_t>(i)]}});
  json["worst"] = Json::array();
  const std::vector<WorstList> lists = WorstLists(scores.rows);
  const std::map<size_t, Json> rows = DescribedRows(job.stage, lists, scores.rows);
  for (const WorstList& list : lists) {
    Json shown = Json::array();
    for (const size_t row : list.rows) shown.push_back(rows.at(row));
    json["worst"].push_back({{"what", list.what}, {"rows", shown}});
  }
  return json;
}

}  // namespace attune
