// Where a run or a command writes: what may be there already, and what an overwriting run clears away.
#pragma once

#include <string>

#include "app/config.h"

namespace attune {

// Errors: Error{kBadInput} when the folder cannot be written, or holds another run or a model and overwrite is not set.
void CheckOutputDir(const std::string& output_dir, bool overwrite);

// Of a file that a command will write at its end, asked before it works. Errors: Error{kBadInput} where it has no name,
// is a folder or its folder is not there, and, for the second, where anything has its name.
void RequireFolderOf(const std::string& path);
void RequireNewFile(const std::string& path);

// Removes what a run leaves in its folder (checkpoint-N, records, adapter and model files), and nothing else.
// Errors: Error{kBadInput}, before anything is removed, when `config` reads one of these files;
// Error{kFailed} when one cannot be removed.
void RemoveOldRun(const RunConfig& config);

}  // namespace attune
