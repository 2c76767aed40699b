#include "curate/duplicates.h"

#include <fmt/format.h>
#include <xxhash.h>

#include <algorithm>
#include <charconv>
#include <functional>
#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <unordered_set>

#include "base/clock.h"
#include "base/error.h"
#include "base/file.h"
#include "curate/near_index.h"
#include "curate/row_parser.h"
#include "curate/signatures.h"
#include "curate/similar_rows.h"

namespace attune {
namespace {

using Json = nlohmann::ordered_json;

double ScoreOf(const RowParser& parser, const std::string& column) {
  if (column.empty()) return 0;
  const std::optional<std::string> text = parser.Value(column);
  double score = 0;
  if (text && std::from_chars(text->data(), text->data() + text->size(), score).ec == std::errc()) return score;
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

// A row as it stands in its file, for RowsChecksum.
uint64_t HashOfRecord(const RecordBlock& block, const Record& record) {
  const std::string_view text = block.text(record);
  return XXH3_64bits(text.data(), text.size());
}

// Calls take(sketch, hashes) for each block of the source's rows in order; `hashes` of each row, where they are wanted.
void SketchRows(RowSource& source, const StageInput& stage, const DuplicateSettings& settings, bool hashes,
                const std::function<void(const BlockSketch&, const std::vector<uint64_t>&)>& take) {
  struct Result {
    BlockSketch sketch;
    std::vector<uint64_t> hashes;
    std::optional<std::string> broken;
  };
  ForEachBlock<Result, SketchRoom>(
      source, stage.threads,
      [&](const RecordBlock& block, SketchRoom& room) {
        room.Prepare(stage, settings);
        Result result;
        const DataFile& file = source.files()[block.file];
        for (const Record& record : block.records) {
          if (hashes) result.hashes.push_back(HashOfRecord(block, record));
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
        take(result.sketch, result.hashes);
      });
}

// What the signatures of a shard must be about: the settings and the files that they depend on.
Json SignatureHeader(const StageInput& stage, const DuplicateSettings& settings, const std::vector<DataFile>& files) {
  Json json = {{"attune_signatures", kSignatureVersion}, {"settings", ToJson(settings)}, {"files", Json::array()}};
  json["settings"]["columns"] = stage.columns;
  json["settings"]["label"] = settings.label;
  for (const DataFile& file : files) json["files"].push_back({{"path", file.path}, {"bytes", FileSize(file.path)}});
  return json;
}

// The rows of a merged input against those that the signatures were made of.
class MergedRows {
 public:
  // Takes the sketches of all shards. Errors: Error{kBadInput} where one does not belong, is there twice or is missing.
  MergedRows(const StageInput& stage, const DuplicateSettings& settings, NearIndex* index) {
    const Json wanted = SignatureHeader(stage, settings, RowSource(stage.input, stage.columns).files());
    std::map<int64_t, std::string> by_shard;
    int64_t of = 0;
    for (const std::string& path : settings.signatures) {
      const MappedFile mapped(path);
      const SignatureFile file(path, mapped.text());
      for (const auto& [key, value] : wanted.items()) {
        if (file.header.value(key, Json()) != value)
          BadInput("{}: was made for other {} than --merge is asked for: {}, not {}", path, key,
                   Shortened(file.header.value(key, Json())), Shortened(value));
      }
      if (of != 0 && of != file.of)
        BadInput("{}: is of {} shards, {} of {}", path, file.of, by_shard.begin()->second, of);
      of = file.of;
      if (!by_shard.emplace(file.shard, path).second)
        BadInput("{}: is shard {}/{}, as {} is", path, file.shard, of, by_shard.at(file.shard));
    }
    for (int64_t shard = 1; shard <= of; ++shard) {
      if (!by_shard.contains(shard)) BadInput("--merge: the signatures of shard {}/{} are missing", shard, of);
    }
    for (const auto& [shard, path] : by_shard) {
      const MappedFile mapped(path);
      const SignatureFile file(path, mapped.text());
      file.ForEach([&](const BlockSketch& block) { index->Add(block); });
      expected_.push_back({path, file.rows});
    }
  }

  void Take(const std::vector<uint64_t>& hashes) {
    for (const uint64_t hash : hashes) {
      while (shard_ < expected_.size() && expected_[shard_].second.rows() == now_.rows()) EndShard();
      now_.Add(hash);
    }
  }
  void End() {
    while (shard_ < expected_.size()) EndShard();
    if (now_.rows() > 0) BadInput("--merge: the input has more rows than the signatures say; make them anew");
  }

 private:
  static std::string Shortened(const Json& json) {
    const std::string text = json.dump(-1, ' ', false, Json::error_handler_t::replace);
    return text.size() > 200 ? text.substr(0, 200) + "..." : text;
  }
  void EndShard() {
    const auto& [path, rows] = expected_[shard_++];
    if (rows != now_) BadInput("{}: was made from other rows than the input has now; make it anew", path);
    now_ = {};
  }

  std::vector<std::pair<std::string, RowsChecksum>> expected_;  // by shard
  size_t shard_ = 0;
  RowsChecksum now_;
};

// Reads the input again for the rows that may have a double. `merged`: compares all rows with the signatures'; may be
// null.
void AddShingles(const StageInput& stage, const DuplicateSettings& settings, NearIndex* index, MergedRows* merged) {
  struct FoundShingles {
    uint32_t row;
    ShingleKind kind;
    std::vector<uint32_t> set;
  };
  struct Found {
    std::vector<FoundShingles> shingles;
    std::vector<uint64_t> hashes;
  };
  RowSource source(stage.input, stage.columns);
  ForEachBlock<Found, SketchRoom>(
      source, stage.threads,
      [&](const RecordBlock& block, SketchRoom& room) {
        room.Prepare(stage, settings);
        Found found;
        for (size_t i = 0; i < block.records.size(); ++i) {
          if (merged != nullptr) found.hashes.push_back(HashOfRecord(block, block.records[i]));
          const auto number = static_cast<uint32_t>(block.first) + static_cast<uint32_t>(i);
          if (number >= index->rows()) continue;  // MergedRows will say so
          for (const ShingleKind kind : {ShingleKind::kWords, ShingleKind::kCharacters}) {
            if (!index->IsCandidate(number, kind)) continue;
            const Row& row = room.parser->Parse(source.files()[block.file], block, block.records[i]);
            room.sketcher->Shingles(ComparedText(row, settings.by, &room.scratch), kind,
                                    &found.shingles.emplace_back(FoundShingles{number, kind, {}}).set);
          }
        }
        return found;
      },
      [&](const RecordBlock&, const Found& found) {
        if (merged != nullptr) merged->Take(found.hashes);
        for (const FoundShingles& shingles : found.shingles)
          index->SetShingles(shingles.row, shingles.kind, shingles.set);
      });
  if (merged != nullptr) merged->End();
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
    const auto [low, high] = std::minmax({RootOf(clusters->cluster, pair.a), RootOf(clusters->cluster, pair.b)});
    clusters->near_pairs += low != high;
    clusters->cluster[high] = low;
  }
  for (uint32_t row = 0; row < clusters->cluster.size(); ++row) clusters->cluster[row] = RootOf(clusters->cluster, row);
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

Json ToJson(const DuplicateSettings& settings) {
  Json json = {{"by", kCompareNames[static_cast<size_t>(settings.by)]}, {"near", settings.near}};
  if (settings.near) json["threshold"] = settings.threshold;
  if (settings.embeddings) {
    json["semantic_threshold"] = settings.semantic_threshold;
    json["model"] = settings.model;
  }
  if (!settings.score.empty()) json["score"] = settings.score;
  return json;
}

DuplicateClusters FindDuplicates(const StageInput& stage, const DuplicateSettings& settings) {
  const double start = Now();
  NearIndex index(settings.threshold, settings.memory, ParentOf(stage.output));
  std::optional<MergedRows> merged;
  if (settings.signatures.empty()) {
    RowSource source(stage.input, stage.columns);
    SketchRows(source, stage, settings, false,
               [&](const BlockSketch& sketch, const std::vector<uint64_t>&) { index.Add(sketch); });
  } else {
    merged.emplace(stage, settings, &index);
  }
  const double sketched = Now();
  index.FindCandidates(stage.threads);
  const double found = Now();
  if (settings.near || merged) AddShingles(stage, settings, &index, merged ? &*merged : nullptr);
  DuplicateClusters clusters = index.Finish();
  clusters.semantic.assign(clusters.rows.size(), false);
  if (settings.embeddings) JoinSimilar(settings, stage.threads, &clusters);
  clusters.sketch_seconds = sketched - start;
  clusters.candidate_seconds = found - sketched;
  clusters.compare_seconds = Now() - found;
  return clusters;
}

Json SketchData(const StageInput& stage, const DuplicateSettings& settings) {
  const std::string path = StageFiles::NameOf(stage.output) + ".signatures";
  if (PathExists(path)) BadInput("{}: exists already; name another output or remove it", path);
  MakeDirectories(ParentOf(path));
  RowSource source(stage.input, stage.columns, stage.shard);
  Json header = SignatureHeader(stage, settings, source.files());
  header["shard"] = stage.shard.index;
  header["of"] = stage.shard.of;
  SignatureWriter writer(path, header);
  RowsChecksum rows;
  SketchRows(source, stage, settings, true, [&](const BlockSketch& sketch, const std::vector<uint64_t>& hashes) {
    writer.Add(sketch);
    for (const uint64_t hash : hashes) rows.Add(hash);
  });
  writer.Commit(rows);
  return {{"rows", rows.rows()}, {"signatures", path}};
}

}  // namespace attune
