// A folder that is there as a whole or not at all, whatever moment the process dies or the power goes. Its
// files are written into a sibling, PATH.partial; Commit() flushes them, writes manifest.json last and
// renames. Where PATH stands already, it moves to PATH.old first and goes when the new one is in place, so
// that one of them can be found at any moment: PATH, or PATH.old while there is no PATH.
#pragma once

#include <optional>
#include <string>

namespace attune {

class DurableFolder {
 public:
  // Makes an empty PATH.partial, after RecoverFolder(path). Errors: Error{kFailed} or Error{kBadInput} naming
  // the path.
  explicit DurableFolder(const std::string& path);
  // Without Commit(), PATH.partial is removed and PATH is untouched.
  ~DurableFolder();
  DurableFolder(const DurableFolder&) = delete;
  DurableFolder& operator=(const DurableFolder&) = delete;

  // Where the files are to be written.
  const std::string& partial() const { return partial_; }

  // Errors: Error{kFailed} or Error{kBadInput} naming the path; PATH is then the previous folder or, where
  // only what comes after the renaming failed, the new one, and whole in either case.
  void Commit();

 private:
  void Seal();
  void PutInPlace();

  std::string path_, partial_, old_;
};

// Why a folder is not what its manifest says, naming the file ("trainer_state.json has 12 bytes, its manifest
// says 2,048"), or nothing when all is well. Reads every byte. Files that the manifest does not list do not
// matter.
std::optional<std::string> VerifyFolder(const std::string& path);

// Ends what a crash in Commit() left half done: PATH.old is put back where PATH is missing, and removed where
// PATH is whole. Errors: Error{kFailed} naming the path.
void RecoverFolder(const std::string& path);

}  // namespace attune
