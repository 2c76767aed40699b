// The way in from main().
#pragma once

namespace attune {

// Runs the command that `argv` names; what main() returns.
int RunCommandLine(int argc, char** argv);

}  // namespace attune
