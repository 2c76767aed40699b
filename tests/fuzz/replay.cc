// Replays every file of a corpus folder through a fuzz target: the regression half of a libFuzzer target.
//   fuzz_replay fuzz_X FOLDER
#include "replay.h"

#include <cstdio>
#include <filesystem>

#include "base/file.h"

int main(int argc, char** argv) {
  const attune::FuzzTarget target = argc == 3 ? attune::FindFuzzTarget(argv[1]) : nullptr;
  if (target == nullptr) {
    std::fprintf(stderr, "usage: fuzz_replay fuzz_X FOLDER\n");
    return 2;
  }
  int files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(argv[2])) {
    const std::string input = attune::ReadFile(entry.path().string());
    target(reinterpret_cast<const uint8_t*>(input.data()), input.size());
    ++files;
  }
  std::printf("replayed %d inputs\n", files);
  return files > 0 ? 0 : 1;  // an empty corpus would test nothing
}
