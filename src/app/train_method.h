// What a run trains and how that is kept: a LoRA adapter on a frozen base, or the model itself. The step loop sees
// neither.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "app/bundle.h"
#include "app/config.h"
#include "models/decoder.h"
#include "models/trainable.h"
#include "models/weights.h"

namespace attune {

class TrainMethod {
 public:
  virtual ~TrainMethod() = default;

  const AdapterSpec& spec() const { return spec_; }
  const std::vector<TrainableTensor>& trainables() const { return trainables_; }

  // Settles what depends on the training rows or on how the base is held; what is trained may change. Gives a note, or
  // "". Errors: Error{kBadInput}.
  virtual std::string Settle(const std::vector<Example>& /*rows*/, const TrainingArguments& /*training*/,
                             const BaseStorage& /*storage*/) {
    return "";
  }
  // Brings the base in memory to what is trained on; `checkpoint`: the folder that the run goes on from, or "". Call it
  // before anything else that is not const.
  virtual void PrepareBase(Device& /*device*/, const ModelWeights& /*weights*/, const std::string& /*checkpoint*/) {}
  // Puts the first values into the vector; then, once there is a decoder, those that it works out.
  virtual void Initialize(Device& device, const TrainableVectors& vectors) const = 0;
  virtual void FinishInitialization(Decoder& /*decoder*/) {}
  // Writes what was trained, with all that is needed to use it, into an existing folder; and reads it from there.
  virtual void Save(Device& device, const TrainableVectors& vectors, const std::string& folder) const = 0;
  virtual void Load(Device& device, const TrainableVectors& vectors, const std::string& folder) const = 0;
  // What a resumed run must train as well.
  virtual nlohmann::ordered_json Fingerprint() const = 0;
  // "the adapter", "the model": what is in output_dir at the end.
  virtual const char* noun() const = 0;

 protected:
  void SetSpec(AdapterSpec spec);

 private:
  AdapterSpec spec_;
  std::vector<TrainableTensor> trainables_;
};

// Errors: Error{kBadInput}: targets or patterns that match nothing, an adapter to go on from that does not fit.
// `bundle` must outlive the method.
std::unique_ptr<TrainMethod> MakeTrainMethod(const RunConfig& config, const ModelBundle& bundle);

}  // namespace attune
