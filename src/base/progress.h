// How far a long piece of work is. Jobs report, the command line shows (cli/progress_line.h).
#pragma once

#include <cstdint>
#include <functional>

namespace attune {

// `what`: "scoring rows". Called from one thread, `done` growing to `total`.
using OnProgress = std::function<void(const char* what, int64_t done, int64_t total)>;

}  // namespace attune
