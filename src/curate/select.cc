#include "curate/select.h"

#include <fmt/format.h>
#include <xxhash.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>

#include "base/error.h"
#include "base/threads.h"
#include "curate/shingles.h"
#include "curate/stage_pass.h"

namespace attune {
namespace {

using Json = nlohmann::ordered_json;

constexpr size_t kDimensions = 128;
constexpr size_t kMeasured = 2000;  // rows of a part whose nearest others are looked for
constexpr int64_t kRowsAPiece = 4096;

using TextVector = std::array<float, kDimensions>;

struct SelectRow {
  int64_t number = 0;  // among all rows
  int64_t answer_bytes = 0;
  uint64_t content = 0;
  TextVector vector;
};

// Words and pairs of words hashed into a vector of length 1 (feature hashing, Weinberger et al. 2009), the
// more seldom counted as much as the frequent.
TextVector VectorOf(const NormalWords& words) {
  TextVector vector{};
  const auto add = [&](uint64_t hash) { vector[hash % kDimensions] += (hash >> 32 & 1) != 0 ? 1.0f : -1.0f; };
  const std::vector<uint64_t>& hashes = words.hashes();
  for (size_t i = 0; i < hashes.size(); ++i) {
    add(hashes[i]);
    if (i > 0) add((hashes[i - 1] ^ hashes[i] >> 1) * 0x9E3779B97F4A7C15 >> 3);
  }
  const float squares = std::inner_product(vector.begin(), vector.end(), vector.begin(), 0.0f);
  if (squares > 0) {
    for (float& value : vector) value /= std::sqrt(squares);
  }
  return vector;
}

// 1 - cosine.
float Distance(const TextVector& a, const TextVector& b) {
  std::array<float, 8> sums{};  // the compiler keeps them in one register
  for (size_t i = 0; i < kDimensions; i += 8) {
    for (size_t k = 0; k < 8; ++k) sums[k] += a[i + k] * b[i + k];
  }
  return 1 - std::accumulate(sums.begin(), sums.end(), 0.0f);
}

std::vector<SelectRow> ReadRows(const SelectSettings& settings) {
  RowSource source(settings.stage.input, settings.stage.columns);
  struct Room {
    std::unique_ptr<RowParser> parser;
    NormalWords words;
    PromptAnswerScratch scratch;
  };
  std::vector<SelectRow> rows;
  ForEachBlock<std::vector<SelectRow>, Room>(
      source, settings.stage.threads,
      [&](const RecordBlock& block, Room& room) {
        if (!room.parser) room.parser = std::make_unique<RowParser>(settings.stage.columns);
        std::vector<SelectRow> found;
        for (size_t i = 0; i < block.records.size(); ++i) {
          const Row& row = room.parser->Parse(source.files()[block.file], block, block.records[i]);
          if (!row.readable()) continue;
          const PromptAnswer split = SplitPromptAnswer(row, &room.scratch);
          SelectRow& made = found.emplace_back();
          made.number = block.first + static_cast<int64_t>(i);
          made.answer_bytes = static_cast<int64_t>(split.answer.size());
          made.content = XXH3_64bits(row.json.data(), row.json.size());
          room.words.Read(std::string(split.prompt) + "\n" + std::string(split.answer));
          made.vector = VectorOf(room.words);
        }
        return found;
      },
      [&](const RecordBlock&, const std::vector<SelectRow>& found) {
        rows.insert(rows.end(), found.begin(), found.end());
      });
  return rows;
}

using Places = std::vector<size_t>;  // in the rows that were read

// By a draw that depends on the seed and on what the rows say.
Places DrawRandom(const std::vector<SelectRow>& rows, size_t count, uint64_t seed) {
  Places order(rows.size());
  std::iota(order.begin(), order.end(), size_t{0});
  const auto key = [&](size_t i) { return XXH3_64bits_withSeed(&rows[i].content, sizeof(uint64_t), seed); };
  std::sort(order.begin(), order.end(),
            [&](size_t a, size_t b) { return std::pair(key(a), a) < std::pair(key(b), b); });
  order.resize(count);
  return order;
}

Places ChooseLongest(const std::vector<SelectRow>& rows, size_t count) {
  Places order(rows.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return rows[a].answer_bytes > rows[b].answer_bytes; });
  order.resize(count);
  return order;
}

// Farthest first, from a row drawn by the seed.
Places ChooseDiverse(const std::vector<SelectRow>& rows, size_t count, uint64_t seed, int64_t threads) {
  Places chosen = DrawRandom(rows, 1, seed);
  std::vector<float> distance(rows.size(), 3);  // to the nearest that is chosen
  const size_t pieces = (rows.size() + kRowsAPiece - 1) / kRowsAPiece;
  std::vector<size_t> farthest(pieces);
  struct NoRoom {};
  while (chosen.size() < count) {
    const TextVector& last = rows[chosen.back()].vector;
    distance[chosen.back()] = -1;
    InThreads<NoRoom>(
        std::min<int64_t>(threads, static_cast<int64_t>(pieces)), pieces, [&](size_t piece, NoRoom&) {
          const size_t begin = piece * kRowsAPiece, end = std::min(rows.size(), begin + kRowsAPiece);
          farthest[piece] = begin;
          for (size_t i = begin; i < end; ++i) {
            if (distance[i] >= 0)
              distance[i] = std::max(0.0f, std::min(distance[i], Distance(last, rows[i].vector)));
            if (distance[i] > distance[farthest[piece]]) farthest[piece] = i;
          }
        });
    chosen.push_back(*std::max_element(farthest.begin(), farthest.end(),
                                       [&](size_t a, size_t b) { return distance[a] < distance[b]; }));
  }
  return chosen;
}

Places Choose(const std::vector<SelectRow>& rows, const SelectSettings& settings) {
  const auto count = static_cast<size_t>(settings.rows);
  switch (settings.by) {
    case SelectBy::kLongest:
      return ChooseLongest(rows, count);
    case SelectBy::kDiverse:
      return ChooseDiverse(rows, count, settings.seed, settings.stage.threads);
    default:
      return DrawRandom(rows, count, settings.seed);
  }
}

Json Measured(const std::vector<SelectRow>& rows, const Places& part) {
  double bytes = 0, nearest = 0;
  for (const size_t i : part) bytes += static_cast<double>(rows[i].answer_bytes);
  const size_t looked_at = std::min(part.size(), kMeasured);
  for (size_t a = 0; a < looked_at; ++a) {
    float least = 2;
    for (size_t b = 0; b < looked_at; ++b) {
      if (a != b) least = std::min(least, Distance(rows[part[a]].vector, rows[part[b]].vector));
    }
    nearest += least;
  }
  return {{"rows", part.size()},
          {"mean_answer_bytes", bytes / static_cast<double>(part.size())},
          {"mean_nearest_distance", nearest / static_cast<double>(looked_at)}};
}

constexpr const char* kSelectNames[] = {"longest", "diverse", "random"};

}  // namespace

SelectBy SelectByNamed(const std::string& name) {
  for (size_t i = 0; i < std::size(kSelectNames); ++i) {
    if (name == kSelectNames[i]) return static_cast<SelectBy>(i);
  }
  for (const char* later : {"ifd", "loss", "embedding"}) {
    if (name == later)
      BadInput("--by {}: is not built yet: it needs the model to read every row; use {}", name,
               fmt::join(kSelectNames, ", "));
  }
  BadInput("--by {}: use {}", name, fmt::join(kSelectNames, ", "));
}

Json SelectData(const SelectSettings& settings) {
  StageFiles files(settings.stage.output, {".jsonl", ".control.jsonl"});
  const std::vector<SelectRow> rows = ReadRows(settings);
  if (settings.rows >= std::ssize(rows))
    BadInput("--rows {}: there are only {} rows to choose from", settings.rows, rows.size());
  const Places selected = Choose(rows, settings);
  // Another seed than the choice's, or a random choice would be its own control.
  const Places control = DrawRandom(rows, selected.size(), settings.seed + 1);
  enum : uint8_t { kSelected = 1, kControl = 2 };
  std::vector<uint8_t> parts(rows.empty() ? 0 : static_cast<size_t>(rows.back().number) + 1);
  for (const size_t i : selected) parts[static_cast<size_t>(rows[i].number)] |= kSelected;
  for (const size_t i : control) parts[static_cast<size_t>(rows[i].number)] |= kControl;

  RowSource source(settings.stage.input, settings.stage.columns);
  StageTotals totals(2);
  ForEachRow(
      source, settings.stage, 2,
      [&](const RecordBlock& block, const Record& record, const Row& row, RowParser& parser,
          StageOutput& output) {
        const DataFile& file = source.files()[block.file];
        if (!row.readable()) return output.RemoveUnreadable(row, file, block, record);
        const uint8_t part = parts[static_cast<size_t>(block.first + (&record - block.records.data()))];
        std::string line;
        parser.Write(&line);
        if ((part & kSelected) != 0) output.Keep(0, line);
        if ((part & kControl) != 0) output.Keep(1, line);
        if (part == 0)
          output.Remove("not-selected", "chosen neither by the rule nor as control", file, record.line, line,
                        false);
      },
      [&](const StageOutput& output) { totals.Take(settings.stage, output, files); });
  Json settings_json = StageSettingsJson(settings.stage);
  settings_json["by"] = kSelectNames[static_cast<size_t>(settings.by)];
  settings_json["rows"] = settings.rows;
  settings_json["seed"] = settings.seed;
  Json record = {{"settings", settings_json}};
  record.update(totals.Json());
  record["rows_out"] = totals.kept(0);  // the control stands beside the data
  record["selected"] = Measured(rows, selected);
  record["control"] = Measured(rows, control);
  return files.Commit("select", source.files(), record);
}

}  // namespace attune
