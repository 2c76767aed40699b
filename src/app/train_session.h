// A run from its configuration to its first step: everything is opened, encoded, checked and planned before anything is
// written, so that what is wrong is said while nothing has been spent.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "app/bundle.h"
#include "app/config.h"
#include "app/train_events.h"
#include "app/train_method.h"

namespace attune {

class TrainSession {
 public:
  // A session for planning takes what does not fit, tells nothing and cannot be resumed from.
  enum class Use { kTrain, kPlan };

  // Errors: Error{kBadInput}; nothing has been written then. Notes go to `events`.
  TrainSession(const RunConfig& config, TrainEvents& events, Use use = Use::kTrain);

  // What the plan is made from, and the plan.
  PlanInputs inputs() const;
  const RunPlan& plan() const { return plan_; }
  const ModelBundle& bundle() const { return bundle_; }
  const TokenStats& train_stats() const { return train_.stats; }
  const Dataset* eval() const { return eval_ ? &*eval_ : nullptr; }

  // What must be the same for a checkpoint to be gone on from.
  const nlohmann::ordered_json& fingerprint() const { return fingerprint_; }

  // Trains, from `point` if given, and leaves the result in output_dir. `stop_requested` as Trainer's.
  TrainResult Run(const ResumePoint* point, const std::function<bool()>& stop_requested, Profile* profile);

 private:
  void LoadData();
  void LookAtData();
  void CheckTorchDtype() const;
  void CheckFit() const;
  BaseStorage StorageWith(bool offload) const;
  std::string OffloadThatFits(int64_t available) const;
  void TellNotes(const std::string& compute_note);
  TrainReady Ready() const;
  std::string DamagedWeight() const;
  void MakeFingerprint();
  const Tokenizer& tokenizer() const;

  RunConfig config_;
  TrainEvents& events_;
  ModelBundle bundle_;
  std::unique_ptr<Device> device_;
  DType compute_ = DType::kF32;
  BaseStorage storage_{DType::kF32};
  int64_t program_bytes_ = 0;
  std::unique_ptr<TrainMethod> method_;
  NoTokenizer no_tokenizer_;
  Dataset train_;
  std::optional<Dataset> eval_;
  std::optional<double> packing_efficiency_;
  RunPlan plan_;
  nlohmann::ordered_json fingerprint_;
  nlohmann::ordered_json data_record_ = nlohmann::ordered_json::object();  // "check", "manifests": for run.json
};

}  // namespace attune
