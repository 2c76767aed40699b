// Between attune advise and its --measure.
#pragma once

#include <string>

#include "app/ladder_job.h"
#include "cli/commands.h"

namespace attune {

// "90s", "30m", "2h". Errors: Error{kBadInput} naming `flag`.
double SecondsOf(const std::string& text, const char* flag);

// Runs a ladder and tells of it.
void SayLadder(const LadderJob& job, const CommandContext& context);

}  // namespace attune
