#include "curate/select.h"

#include <fmt/format.h>
#include <xxhash.h>

#include <numeric>

#include "base/error.h"
#include "curate/hashed_words.h"
#include "curate/stage_pass.h"

namespace attune {
namespace {

using Json = nlohmann::ordered_json;

// Readable rows, with the number of each among all.
struct NumberedRows {
  std::vector<int64_t> numbers;
  SelectionRows rows;
};

NumberedRows ReadRows(const StageInput& stage, bool hash_words) {
  RowSource source(stage.input, stage.columns);
  struct Room {
    std::unique_ptr<RowParser> parser;
    NormalWords words;
    PromptAnswerScratch scratch;
  };
  NumberedRows all;
  if (hash_words) all.rows.vectors.width = kHashedWidth;
  const auto append = [](auto* to, const auto& from) { to->insert(to->end(), from.begin(), from.end()); };
  ForEachBlock<NumberedRows, Room>(
      source, stage.threads,
      [&](const RecordBlock& block, Room& room) {
        if (!room.parser) room.parser = std::make_unique<RowParser>(stage.columns);
        NumberedRows found;
        for (size_t i = 0; i < block.records.size(); ++i) {
          const Row& row = room.parser->Parse(source.files()[block.file], block, block.records[i]);
          if (!row.readable()) continue;
          const PromptAnswer split = SplitPromptAnswer(row, &room.scratch);
          found.numbers.push_back(block.first + static_cast<int64_t>(i));
          found.rows.answer_bytes.push_back(static_cast<int64_t>(split.answer.size()));
          found.rows.content.push_back(XXH3_64bits(row.json.data(), row.json.size()));
          if (!hash_words) continue;
          room.words.Read(std::string(split.prompt) + "\n" + std::string(split.answer));
          append(&found.rows.vectors.values, HashedWords(room.words));
        }
        return found;
      },
      [&](const RecordBlock&, const NumberedRows& found) {
        append(&all.numbers, found.numbers);
        append(&all.rows.answer_bytes, found.rows.answer_bytes);
        append(&all.rows.content, found.rows.content);
        append(&all.rows.vectors.values, found.rows.vectors.values);
      });
  return all;
}

// What a model says of the readable rows.
void AddModel(const SelectSettings& settings, NumberedRows* all) {
  if (settings.scores) {
    const RowScores scores = settings.scores();
    for (const int64_t number : all->numbers) all->rows.scores.push_back(scores.rows[static_cast<size_t>(number)]);
  }
  if (settings.embeddings) {
    const Embeddings embeddings = settings.embeddings();
    all->rows.vectors.width = embeddings.width;
    for (const int64_t number : all->numbers) {
      const auto row = embeddings.Row(static_cast<size_t>(number));
      all->rows.vectors.values.insert(all->rows.vectors.values.end(), row.begin(), row.end());
    }
  }
}

Json Measured(const SelectionRows& rows, const Places& part, int64_t threads) {
  double bytes = 0, loss = 0, ifd = 0;
  int64_t scored = 0, with_ifd = 0;
  for (const size_t i : part) {
    bytes += static_cast<double>(rows.answer_bytes[i]);
    if (rows.scores.empty() || !rows.scores[i].scored()) continue;
    loss += rows.scores[i].loss;
    ++scored;
    const std::optional<double> difficulty = rows.scores[i].Ifd();
    ifd += difficulty.value_or(0);
    with_ifd += difficulty.has_value();
  }
  Json json = {{"rows", part.size()},
               {"mean_answer_bytes", bytes / static_cast<double>(part.size())},
               {"mean_nearest_distance", DiversityOf(rows.vectors, part, threads).mean_nearest}};
  if (scored > 0) json["mean_loss"] = loss / static_cast<double>(scored);
  if (with_ifd > 0) json["mean_ifd"] = ifd / static_cast<double>(with_ifd);
  return json;
}

// Why a row is in neither part.
std::string WhyNot(const SelectionRows& rows, size_t place, const SelectionSettings& rules) {
  if (rules.Uses(SelectRule::kIfd)) {
    const std::optional<double> ifd = rows.scores[place].Ifd();
    if (!ifd) return "the model cannot score it: no prompt, no answer, or nothing that can be trained on";
    if (*ifd >= 1) return fmt::format("the prompt does not help to foresee the answer: IFD {:.3f}", *ifd);
  }
  if (rules.Uses(SelectRule::kLoss) && !rows.scores[place].scored())
    return "the model cannot score it: no answer, or nothing that can be trained on";
  return "chosen neither by the rule nor as control";
}

}  // namespace

Json SelectData(const SelectSettings& settings) {
  StageFiles files(settings.stage.output, {".jsonl", ".control.jsonl"});
  NumberedRows all = ReadRows(settings.stage, !settings.embeddings);
  AddModel(settings, &all);
  const SelectionRows& rows = all.rows;
  const Places eligible = Eligible(rows, settings.rules);
  if (settings.rows > std::ssize(eligible) || settings.rows >= std::ssize(rows.content)) {
    BadInput("--rows {}: there are only {} rows to choose from{}", settings.rows, eligible.size(),
             eligible.size() < rows.content.size() ? fmt::format(", of {}", rows.content.size()) : "");
  }
  const auto count = static_cast<size_t>(settings.rows);
  const Places selected = Choose(rows, eligible, settings.rules, count, settings.stage.threads);
  // Another seed than the choice's, or a random choice would be its own control.
  Places every(rows.content.size());
  std::iota(every.begin(), every.end(), size_t{0});
  const Places control = DrawRandom(rows, every, count, settings.rules.seed + 1);
  enum : uint8_t { kSelected = 1, kControl = 2 };
  struct Fate {
    uint8_t parts = 0;
    size_t place = 0;
  };
  std::vector<Fate> fates(all.numbers.empty() ? 0 : static_cast<size_t>(all.numbers.back()) + 1);
  for (size_t i = 0; i < all.numbers.size(); ++i) fates[static_cast<size_t>(all.numbers[i])].place = i;
  for (const size_t i : selected) fates[static_cast<size_t>(all.numbers[i])].parts |= kSelected;
  for (const size_t i : control) fates[static_cast<size_t>(all.numbers[i])].parts |= kControl;

  RowSource source(settings.stage.input, settings.stage.columns);
  StageTotals totals(2);
  ForEachRow(
      source, settings.stage, 2,
      [&](const RecordBlock& block, const Record& record, const Row& row, RowParser& parser, StageOutput& output) {
        const DataFile& file = source.files()[block.file];
        if (!row.readable()) return output.RemoveUnreadable(row, file, block, record);
        const Fate& fate = fates[NumberOf(block, record, file, fates.size())];
        std::string line;
        parser.Write(&line);
        if ((fate.parts & kSelected) != 0) output.Keep(0, line);
        if ((fate.parts & kControl) != 0) output.Keep(1, line);
        if (fate.parts == 0)
          output.Remove("not-selected", WhyNot(rows, fate.place, settings.rules), file, record.line, line, false);
      },
      [&](const StageOutput& output) { totals.Take(settings.stage, output, files); });
  Json settings_json = StageSettingsJson(settings.stage);
  settings_json.update(ToJson(settings.rules));
  settings_json["rows"] = settings.rows;
  if (!settings.model.is_null()) settings_json["model"] = settings.model;
  Json record = {{"settings", settings_json}};
  record.update(totals.Json(settings.stage));
  record["rows_out"] = totals.kept(0);  // the control stands beside the data
  record["eligible"] = eligible.size();
  record["vectors"] = settings.embeddings ? "hidden states" : "hashed words";
  record["selected"] = Measured(rows, selected, settings.stage.threads);
  record["control"] = Measured(rows, control, settings.stage.threads);
  return files.Commit("select", source.files(), record);
}

}  // namespace attune
