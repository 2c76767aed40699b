// `attune train` and `attune resume` as jobs: a configuration in, events and a result out.
#pragma once

#include <string>
#include <vector>

#include "app/config.h"
#include "app/train_events.h"

namespace attune {

// Trains, and leaves the adapter or model and the records in output_dir. Errors: Error{kBadInput} before anything is
// written; Error{kFailed} when the work fails or is interrupted (Ctrl-C, SIGTERM). `profile`, if given, collects the
// cost of each op.
TrainResult Train(const RunConfig& config, TrainEvents& events, Profile* profile = nullptr);

struct ResumeJob {
  std::string output_dir;
  std::vector<Setting> settings;  // on top of the run's own
  bool force = false;             // go on although data or settings differ, where that has a meaning
};

// Goes on from the newest checkpoint in output_dir that is whole, with the settings in its run.json; from the start
// where there is none. Errors: as Train; Error{kBadInput} naming what differs from the run that is resumed.
TrainResult Resume(const ResumeJob& job, TrainEvents& events);

}  // namespace attune
