#include "app/general_loss.h"

#include <algorithm>
#include <numeric>

#include "app/forward_model.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/file.h"
#include "base/torch_random.h"
#include "plan/embedded.h"
#include "text/unicode.h"
#include "train/evaluation.h"

namespace attune {
namespace {

constexpr size_t kStretch = 512, kMostGeneralTokens = 8192, kFewestGeneralTokens = 32;
constexpr int64_t kMostContrastTokens = 2048, kPiece = 512;
constexpr uint64_t kContrastSeed = 42;

// Examples in this order, in groups of about kPiece tokens, up to kMostContrastTokens of all.
std::vector<std::vector<Example>> PiecesOf(const std::vector<Example>& examples, const std::vector<int64_t>& order) {
  std::vector<std::vector<Example>> pieces(1);
  int64_t all = 0, here = 0;
  for (const int64_t i : order) {
    const Example& e = examples[static_cast<size_t>(i)];
    if (all >= kMostContrastTokens) break;
    if (here >= kPiece) {
      pieces.emplace_back();
      here = 0;
    }
    pieces.back().push_back(e);
    here += std::ssize(e.input_ids);
    all += std::ssize(e.input_ids);
  }
  return pieces;
}

}  // namespace

std::vector<Example> GeneralText(const ModelBundle& bundle, const std::string& path) {
  const std::string text = path == kBuiltInText ? std::string(EmbeddedGeneralText()) : ReadFile(path);
  if (!IsValidUtf8(text)) BadInput("{}: is not UTF-8 text", path);
  std::vector<int32_t> ids = bundle.RequireTokenizer().Encode(text, false);
  if (ids.size() < kFewestGeneralTokens) {
    BadInput("{}: holds {} tokens; the loss of general text needs {} or more", path, ids.size(), kFewestGeneralTokens);
  }
  ids.resize(std::min(ids.size(), kMostGeneralTokens));
  std::vector<Example> stretches;
  for (size_t begin = 0; begin < ids.size(); begin += kStretch) {
    const auto at = [&](size_t i) { return ids.begin() + static_cast<std::ptrdiff_t>(std::min(i, ids.size())); };
    Example stretch;
    stretch.input_ids.assign(at(begin), at(begin + kStretch));
    stretch.labels = stretch.input_ids;
    if (stretch.input_ids.size() > 1) stretches.push_back(std::move(stretch));
  }
  return stretches;
}

LossContrast MeasureLossContrast(const ModelBundle& bundle, const std::vector<Example>& examples, double seconds,
                                 const OnProgress& on_progress) {
  const double begin = Now();
  const std::vector<Example> text = GeneralText(bundle, kBuiltInText);
  std::vector<int64_t> in_order(text.size());
  std::iota(in_order.begin(), in_order.end(), int64_t{0});
  // Rows at random, so that a measurement that is cut short is of all parts of the data.
  const std::vector<std::vector<Example>> row_pieces =
                                              PiecesOf(examples,
                                                       TorchGenerator(kContrastSeed).Permutation(std::ssize(examples))),
                                          text_pieces = PiecesOf(text, in_order);
  ChunkLimits limits;
  for (const auto* pieces : {&row_pieces, &text_pieces}) {
    for (const std::vector<Example>& piece : *pieces) {
      const std::vector<RowShape> shapes = ShapesOf(piece);
      for (const Chunk& chunk : CutAllIntoChunks(shapes, kPiece)) limits.Include(chunk, shapes);
    }
  }
  const auto model = MakeForwardModel(bundle.files, {"", false, true}, limits);
  LossContrast contrast;
  const size_t count = std::max(row_pieces.size(), text_pieces.size());
  const auto add = [&](const std::vector<std::vector<Example>>& pieces, size_t i, double* sum, int64_t* tokens) {
    if (i >= pieces.size()) return;
    const EvalMetrics m = model->Loss(pieces[i], kPiece);
    *sum += m.loss * static_cast<double>(m.tokens);
    *tokens += m.tokens;
  };
  for (size_t i = 0; i < count && (i == 0 || Now() - begin < seconds); ++i) {
    add(row_pieces, i, &contrast.rows, &contrast.row_tokens);
    add(text_pieces, i, &contrast.general, &contrast.general_tokens);
    if (i < row_pieces.size()) contrast.rows_measured += std::ssize(row_pieces[i]);
    if (on_progress)
      on_progress("loss on the rows and on general text", static_cast<int64_t>(i) + 1, static_cast<int64_t>(count));
  }
  contrast.rows /= static_cast<double>(std::max<int64_t>(1, contrast.row_tokens));
  contrast.general /= static_cast<double>(std::max<int64_t>(1, contrast.general_tokens));
  contrast.seconds = Now() - begin;
  return contrast;
}

}  // namespace attune
