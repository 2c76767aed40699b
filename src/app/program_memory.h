// What the process holds beside the engine's own buffers, as a figure that can be had before the process is there: a
// plan and the run it is for must agree, and no two processes are resident with the same pages.
#pragma once

#include <cstdint>
#include <vector>

#include "data/dataset.h"

namespace attune {

// The program, its libraries and threads; the tokenizer's tables; the rows. Measured constants: within some 5 MiB of
// what Linux reports (program_memory.cc). `eval` may be null.
int64_t ProgramBytes(int64_t vocabulary, const std::vector<Example>& train, const Dataset* eval);

}  // namespace attune
