#include "app/data_preview.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "app/output_dir.h"
#include "base/error.h"
#include "base/system.h"
#include "curate/row_parser.h"
#include "store/page.h"
#include "store/svg.h"
#include "text/stream_decoder.h"
#include "text/unicode.h"

namespace attune {
namespace {

using Json = nlohmann::ordered_json;

PreviewRow MakePreviewRow(const Example& example, const Tokenizer& tokenizer, const Truncation& truncation,
                          const std::string& where) {
  PreviewRow row{where, {}, 0, 0, 0};
  StreamDecoder decoder(tokenizer, false);
  const auto [begin, end] = truncation.Kept(example.input_ids.size());
  for (size_t i = 0; i < example.input_ids.size(); ++i) {
    const bool trained = example.labels[i] != kIgnoredLabel && i > 0 && i != begin;  // as TrainedTokens counts
    const bool cut = i < begin || i >= end;
    row.tokens.push_back({example.input_ids[i], decoder.Push(example.input_ids[i]), trained, cut});
    row.trained += trained;
    row.cut += cut;
    row.cut_trained += trained && cut;
  }
  if (!row.tokens.empty()) row.tokens.back().text += decoder.Finish();
  return row;
}

std::vector<PreviewRow> ReadPreviewRows(const DataPreviewJob& job, const DataEncoder& encoder,
                                        const Truncation& truncation) {
  RowSource source(job.stage.input, job.stage.columns);
  RowParser parser(job.stage.columns);
  std::vector<PreviewRow> rows;
  RecordBlock block;
  while (std::ssize(rows) < job.rows && source.Next(&block)) {
    for (size_t i = 0; i < block.records.size() && std::ssize(rows) < job.rows; ++i) {
      if (block.first + static_cast<int64_t>(i) + 1 < job.from) continue;
      const DataFile& file = source.files()[block.file];
      const std::string where = fmt::format("{}:{}", file.path, block.records[i].line);
      if (!parser.Parse(file, block, block.records[i]).readable()) continue;
      std::string line;
      parser.Write(&line);
      try {
        rows.push_back(MakePreviewRow(encoder.Encode(line, where), encoder.tokenizer(), truncation, where));
      } catch (const Error&) {  // counted and named by CountTokens
      }
    }
  }
  return rows;
}

constexpr const char* kPreviewStyle = R"(
.tokens{white-space:pre-wrap;overflow-wrap:anywhere;font:14px/1.7 ui-monospace,"DejaVu Sans Mono",monospace;padding:14px 16px;margin:0 0 12px}
.tokens span{border-radius:3px;box-shadow:inset 0 -1px 0 var(--line)}
.tokens .on{background:color-mix(in srgb,var(--good) 24%,transparent)}
.tokens .cut{text-decoration:line-through;color:var(--bad);opacity:.75}
.key{margin:0 0 12px;color:var(--soft)}.key span{padding:1px 6px;border-radius:3px;color:var(--ink)}
.key .on{background:color-mix(in srgb,var(--good) 24%,transparent)}.key .cut{text-decoration:line-through;color:var(--bad)}
)";

std::string PreviewHtml(const DataPreview& preview) {
  std::string html = PageStart("Preview", kPreviewStyle) +
                     "<h1>Rows as the model sees them</h1>\n<p class=\"sub\">The chat template's text, token "
                     "by token</p>\n<div class=\"tiles\">\n";
  const DataTokens& counts = preview.counts;
  html += PageTile(GroupedDigits(static_cast<double>(counts.rows)), "rows") +
          PageTile(GroupedDigits(static_cast<double>(counts.tokens)), "tokens") +
          PageTile(fmt::format("{:.1f} %", counts.tokens == 0 ? 0
                                                              : 100.0 * static_cast<double>(counts.trained_tokens) /
                                                                    static_cast<double>(counts.tokens)),
                   "are trained on") +
          PageTile(GroupedDigits(static_cast<double>(counts.cut_rows)),
                   fmt::format("rows cut at {} tokens", preview.truncation.max_length));
  html +=
      "</div>\n<p class=\"key\"><span class=\"on\">trained on</span> <span>read only</span> <span "
      "class=\"cut\">cut off</span></p>\n";
  for (const PreviewRow& row : preview.rows) {
    html += fmt::format(
        "<h2>{}</h2>\n<p class=\"sub\">{} tokens, {} trained on, {} cut off</p>\n<div class=\"card tokens\">",
        Escaped(row.where), row.tokens.size(), row.trained, row.cut);
    for (const PreviewToken& token : row.tokens) {
      html += fmt::format("<span class=\"{}{}\" title=\"{}\">{}</span>", token.trained ? "on" : "",
                          token.cut ? " cut" : "", token.id, Escaped(token.text));
    }
    html += "</div>\n";
  }
  return html + PageEnd("Written by attune data preview.");
}

}  // namespace

DataPreview RunDataPreview(const DataPreviewJob& job) {
  if (!job.html.empty()) RequireNewFile(job.html);
  TrainingArguments whole = job.config.training;
  whole.max_length = 0;
  const DataEncoder encoder(ModelPathsOf(job.config), whole);
  StageInput stage = job.stage;
  stage.threads = CpuCount();
  DataPreview preview;
  preview.truncation = TruncationOf(job.config.training);
  preview.counts = CountTokens(stage, encoder, preview.truncation);
  const DataTokens& counts = preview.counts;
  if (counts.nothing + counts.refused == counts.rows) {
    const auto& named = counts.nothing > 0 ? counts.nothing_rows : counts.refused_rows;
    BadInput("{}: {} rows and none to learn from: {}", fmt::join(job.stage.input, ", "), counts.rows,
             named.empty()
                 ? "the files are empty"
                 : fmt::format("{}{}", fmt::join(named, ", "), counts.rows > std::ssize(named) ? " ..." : ""));
  }
  preview.rows = ReadPreviewRows(job, encoder, preview.truncation);
  if (preview.rows.empty())
    BadInput("--from {}: there is no such row that can be shown; the data has {}", job.from, counts.rows);
  if (!job.html.empty()) WriteFileAtomic(job.html, PreviewHtml(preview));
  return preview;
}

std::string PreviewText(const PreviewRow& row, bool colour) {
  std::string text;
  const char* state = "";  // of what was written last
  for (const PreviewToken& token : row.tokens) {
    const char* now = token.cut ? (colour ? "\x1b[31;9m" : "cut") : token.trained ? (colour ? "\x1b[32m" : "on") : "";
    if (std::string_view(now) != state) {
      if (colour) {
        text += std::string("\x1b[0m") + now;
      } else {
        if (std::string_view(state) == "on") text += "⟧";
        if (std::string_view(now) == "cut" || std::string_view(state) == "cut") text += "✂";
        if (std::string_view(now) == "on") text += "⟦";
      }
      state = now;
    }
    text += HarmlessText(token.text);
  }
  if (colour) return text + "\x1b[0m";
  return std::string_view(state) == "on" ? text + "⟧" : text;
}

std::vector<std::string> TokenLines(const DataTokens& counts, const Truncation& truncation) {
  const auto share = [](int64_t part, int64_t all) {
    return all == 0 ? 0.0 : 100.0 * static_cast<double>(part) / static_cast<double>(all);
  };
  std::vector<std::string> lines = {fmt::format("{} rows, {} tokens, {:.1f} % of them trained on", counts.rows,
                                                counts.tokens, share(counts.trained_tokens, counts.tokens))};
  if (truncation.max_length > 0)
    lines.push_back(fmt::format("max_length {} cuts {} rows ({:.1f} %) and {} trained tokens", truncation.max_length,
                                counts.cut_rows, share(counts.cut_rows, counts.rows), counts.cut_trained));
  if (counts.nothing > 0)
    lines.push_back(
        fmt::format("{} rows have nothing to learn from: {}", counts.nothing, fmt::join(counts.nothing_rows, ", ")));
  if (counts.refused > 0)
    lines.push_back(
        fmt::format("training would stop at {} rows: {}", counts.refused, fmt::join(counts.refused_rows, "; ")));
  return lines;
}

Json ToJson(const DataTokens& counts) {
  return {{"rows", counts.rows},
          {"tokens", counts.tokens},
          {"trained_tokens", counts.trained_tokens},
          {"cut_rows", counts.cut_rows},
          {"cut_tokens", counts.cut_tokens},
          {"cut_trained_tokens", counts.cut_trained},
          {"nothing_to_learn", counts.nothing},
          {"nothing_to_learn_rows", counts.nothing_rows},
          {"refused", counts.refused},
          {"refused_rows", counts.refused_rows}};
}

Json ToJson(const DataPreview& preview) {
  Json json = ToJson(preview.counts);
  json["shown"] = Json::array();
  for (const PreviewRow& row : preview.rows) {
    Json tokens = Json::array();
    for (const PreviewToken& token : row.tokens)
      tokens.push_back({{"id", token.id}, {"text", token.text}, {"trained", token.trained}, {"cut", token.cut}});
    json["shown"].push_back({{"where", row.where},
                             {"trained", row.trained},
                             {"cut", row.cut},
                             {"cut_trained", row.cut_trained},
                             {"tokens", tokens}});
  }
  return json;
}

}  // namespace attune
