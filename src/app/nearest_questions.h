// Which of many questions are like one, for choosing the examples that a prompt shows: by their words, or by what they
// mean to the base model.
#pragma once

#include <cstdint>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <unordered_map>
#include <vector>

#include "app/bundle.h"
#include "app/text_embedder.h"
#include "base/progress.h"
#include "curate/embeddings.h"
#include "data/bm25.h"

namespace attune {

class NearestQuestions {
 public:
  virtual ~NearestQuestions() = default;
  // `count` questions (all, where there are fewer) in the order of their likeness to `question`, the likest first.
  virtual std::vector<int64_t> Nearest(const std::string& question, int64_t count) const = 0;
};

class NearestByWords : public NearestQuestions {
 public:
  explicit NearestByWords(const std::vector<std::string>& questions)
      : index_(questions), size_(std::ssize(questions)) {}
  std::vector<int64_t> Nearest(const std::string& question, int64_t count) const override {
    return index_.Nearest(question, std::min(count, size_));
  }

 private:
  Bm25Index index_;
  int64_t size_;
};

// By the cosine of vectors (app/text_embedder.h) from which the mean of all questions has been taken. The model is
// opened when the first vector is made. Not for several threads at once.
class NearestByMeaning : public NearestQuestions {
 public:
  // `bundle` must outlive it. Makes the vectors of all questions.
  NearestByMeaning(const ModelBundle& bundle, const std::vector<std::string>& questions, const OnProgress& on_progress);
  // Reads the vectors that Write left. Errors: Error{kBadInput}: they are of another model or of other questions.
  NearestByMeaning(const ModelBundle& bundle, const std::vector<std::string>& questions, const std::string& path);

  std::vector<int64_t> Nearest(const std::string& question, int64_t count) const override;

  // A safetensors file: "questions" (count, width) F32 of length 1, "mean" (width) F32; its metadata say of what they
  // are.
  void Write(const std::string& path) const;

 private:
  std::vector<float> VectorOf(const std::string& question) const;

  const ModelBundle& bundle_;
  std::string identity_;  // of the model and the questions
  Embeddings vectors_;    // centred
  std::vector<float> mean_;
  mutable std::unique_ptr<TextEmbedder> embedder_;
  mutable std::unordered_map<std::string, std::vector<float>>
      asked_;  // held-out questions are asked once for each number of shots
};

}  // namespace attune
