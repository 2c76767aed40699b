#include "curate/duplicates.h"

#include <fmt/format.h>
#include <xxhash.h>

#include <charconv>
#include <limits>
#include <memory>
#include <optional>
#include <unordered_set>

#include "base/error.h"
#include "curate/near_index.h"
#include "curate/row_parser.h"
#include "curate/similar_rows.h"

namespace attune {
namespace {

double ScoreOf(const RowParser& parser, const std::string& column) {
  if (column.empty()) return 0;
  const std::optional<std::string> text = parser.Value(column);
  double score = 0;
  if (text && std::from_chars(text->data(), text->data() + text->size(), score).ec == std::errc())
    return score;
  return -std::numeric_limits<double>::infinity();
}

uint64_t LabelOf(const RowParser& parser, const std::string& column) {
  const std::optional<std::string> text = column.empty() ? std::nullopt : parser.Value(column);
  return text ? XXH3_64bits(text->data(), text->size()) : 0;
}

struct SketchRoom {
  std::unique_ptr<RowParser> parser;
  std::unique_ptr<Sketcher> sketcher;
  PromptAnswerScratch scratch;

  void Prepare(const StageInput& stage, const DuplicateSettings& settings) {
    if (parser) return;
    parser = std::make_unique<RowParser>(stage.columns);
    sketcher = std::make_unique<Sketcher>(settings.near, settings.threshold);
  }
};

void AddAll(const StageInput& stage, const DuplicateSettings& settings, NearIndex* index) {
  struct Result {
    BlockSketch sketch;
    std::optional<std::string> broken;
  };
  RowSource source(stage.input, stage.columns);
  ForEachBlock<Result, SketchRoom>(
      source, stage.threads,
      [&](const RecordBlock& block, SketchRoom& room) {
        room.Prepare(stage, settings);
        Result result;
        const DataFile& file = source.files()[block.file];
        for (const Record& record : block.records) {
          const Row& row = room.parser->Parse(file, block, record);
          RowOrigin origin{static_cast<uint32_t>(block.file), 0, record.line, 0, 0, 0};
          if (row.readable()) {
            origin.score = ScoreOf(*room.parser, settings.score);
            origin.label = LabelOf(*room.parser, settings.label);
            room.sketcher->Add(ComparedText(row, settings.by, &room.scratch), origin, &result.sketch);
            continue;
          }
          room.sketcher->AddNone(origin, &result.sketch);
          const std::string& detail = row.structure[0].detail;
          if (!result.broken)
            result.broken = fmt::format("{}:{}: {}", file.path, record.line,
                                        detail.empty() ? InfoOf(row.structure[0].rule).what : detail);
        }
        return result;
      },
      [&](const RecordBlock&, Result& result) {
        if (stage.strict && result.broken) BadInput("{}", *result.broken);
        index->Add(result.sketch);
      });
}

// Reads the input again for the rows that may have a double.
void AddShingles(const StageInput& stage, const DuplicateSettings& settings, NearIndex* index) {
  struct FoundShingles {
    uint32_t row;
    ShingleKind kind;
    std::vector<uint32_t> set;
  };
  RowSource source(stage.input, stage.columns);
  ForEachBlock<std::vector<FoundShingles>, SketchRoom>(
      source, stage.threads,
      [&](const RecordBlock& block, SketchRoom& room) {
        room.Prepare(stage, settings);
        std::vector<FoundShingles> found;
        for (size_t i = 0; i < block.records.size(); ++i) {
          const auto number = static_cast<uint32_t>(block.first) + static_cast<uint32_t>(i);
          for (const ShingleKind kind : {ShingleKind::kWords, ShingleKind::kCharacters}) {
            if (!index->IsCandidate(number, kind)) continue;
            const Row& row = room.parser->Parse(source.files()[block.file], block, block.records[i]);
            room.sketcher->Shingles(ComparedText(row, settings.by, &room.scratch), kind,
                                    &found.emplace_back(FoundShingles{number, kind, {}}).set);
          }
        }
        return found;
      },
      [&](const RecordBlock&, std::vector<FoundShingles>& found) {
        for (FoundShingles& shingles : found)
          index->SetShingles(shingles.row, shingles.kind, std::move(shingles.set));
      });
}

// Joins clusters whose rows mean the same. Of rows with the same text the first stands for all.
void JoinSimilar(const DuplicateSettings& settings, int64_t threads, DuplicateClusters* clusters) {
  const Embeddings embeddings = settings.embeddings();
  std::unordered_set<uint64_t> seen;
  std::vector<uint32_t> rows;
  for (uint32_t row = 0; row < clusters->rows.size(); ++row) {
    const uint64_t content = clusters->rows[row].content;
    if (content != 0 && seen.insert(content).second) rows.push_back(row);
  }
  for (const SimilarPair& pair : FindSimilarPairs(embeddings, rows, settings.semantic_threshold, threads)) {
    for (const auto& [row, other] : {std::pair(pair.a, pair.b), std::pair(pair.b, pair.a)}) {
      const uint32_t twin = clusters->twin[row];
      // Its exact double goes where it goes; a near one says more than this.
      const bool doubles = twin != kNoRow && clusters->rows[row].content == clusters->rows[twin].content;
      const bool better = clusters->semantic[row] && clusters->similarity[row] < pair.cosine;
      if (twin != kNoRow && !doubles && !better) continue;
      clusters->twin[row] = other;
      clusters->similarity[row] = pair.cosine;
      clusters->semantic[row] = true;
    }
    const auto [low, high] =
        std::minmax({RootOf(clusters->cluster, pair.a), RootOf(clusters->cluster, pair.b)});
    clusters->near_pairs += low != high;
    clusters->cluster[high] = low;
  }
  for (uint32_t row = 0; row < clusters->cluster.size(); ++row)
    clusters->cluster[row] = RootOf(clusters->cluster, row);
}

}  // namespace

uint32_t RootOf(std::vector<uint32_t>& cluster, uint32_t row) {
  while (cluster[row] != row) row = cluster[row] = cluster[cluster[row]];
  return row;
}

std::string_view ComparedText(const Row& row, CompareBy by, PromptAnswerScratch* scratch) {
  if (row.parts.empty()) return row.json;  // ready tokens
  const PromptAnswer split = SplitPromptAnswer(row, scratch);
  if (by == CompareBy::kPrompt && !row.turns.empty()) return split.prompt;
  if (by == CompareBy::kAnswer || row.turns.empty()) return split.answer;
  std::string both(split.prompt);
  both += '\n';
  both += split.answer;
  scratch->prompt = std::move(both);
  return scratch->prompt;
}

DuplicateClusters FindDuplicates(const StageInput& stage, const DuplicateSettings& settings) {
  NearIndex index(settings.threshold);
  AddAll(stage, settings, &index);
  index.FindCandidates(stage.threads);
  if (settings.near) AddShingles(stage, settings, &index);
  DuplicateClusters clusters = index.Finish();
  clusters.semantic.assign(clusters.rows.size(), false);
  if (settings.embeddings) JoinSimilar(settings, stage.threads, &clusters);
  return clusters;
}

}  // namespace attune
