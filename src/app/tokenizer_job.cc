#include "app/tokenizer_job.h"

#include <algorithm>
#include <chrono>

#include "base/error.h"
#include "base/file.h"
#include "data/text_reader.h"
#include "formats/durable_folder.h"
#include "text/tokenizer_json.h"

namespace attune {
namespace {

constexpr int64_t kMeasuredBytes = int64_t{4} << 20;

double FractionFor(int64_t wanted, int64_t bytes) {
  return wanted == 0 || bytes <= wanted ? 1 : static_cast<double>(wanted) / static_cast<double>(bytes);
}

double BytesPerToken(const TrainTokenizerJob& job, const Tokenizer& tokenizer) {
  TextReader reader(job.input);
  const double fraction = FractionFor(kMeasuredBytes, reader.file_bytes());
  size_t bytes = 0, tokens = 0;
  for (uint64_t index = 0; const auto text = reader.Next(); ++index) {
    if (!IsDrawn(job.settings.seed + 1, index, fraction)) continue;
    bytes += text->size();
    tokens += tokenizer.Encode(*text, false).size();
  }
  return tokens == 0 ? 0 : static_cast<double>(bytes) / static_cast<double>(tokens);
}

}  // namespace

TrainTokenizerResult RunTrainTokenizer(const TrainTokenizerJob& job) {
  const auto start = std::chrono::steady_clock::now();
  TextReader reader(job.input);
  RequireNewFolder(job.output);
  DurableFolder folder(job.output);
  TokenizerSettings settings = job.settings;
  settings.sample_fraction = FractionFor(job.sample_bytes, reader.file_bytes());
  int64_t read = 0;  // of texts: in JSON lines less than of their files
  const TrainedTokenizer trained = TrainTokenizer(std::move(settings), [&] {
    const auto text = reader.Next();
    read += text ? std::ssize(*text) : 0;
    if (job.on_progress) job.on_progress("reading bytes", std::min(read, reader.file_bytes()), reader.file_bytes());
    return text;
  });
  WriteTrainedTokenizer(trained, folder.partial());

  const std::string path = folder.partial() + "/tokenizer.json";
  const auto tokenizer = TokenizerFromJson(MappedFile(path).text(), path);
  TrainTokenizerResult result;
  result.output = job.output;
  result.vocabulary = tokenizer->VocabularySize();
  result.files = std::ssize(reader.files());
  result.texts = trained.texts;
  result.sample_fraction = trained.settings.sample_fraction;
  result.bytes_per_token = BytesPerToken(job, *tokenizer);
  folder.Commit();
  result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return result;
}

}  // namespace attune
