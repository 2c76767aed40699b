// The manifest of a checkpoint: either a list of paths that stay below their folder, which then prints and
// parses to itself, or one Error.
#include <cstdlib>
#include <string_view>

#include "base/error.h"
#include "formats/manifest.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  try {
    const auto files = attune::ParseManifest(text, "fuzz");
    if (attune::ParseManifest(attune::ManifestText(files), "fuzz") != files) std::abort();
    for (const attune::ManifestFile& file : files) {
      const std::string framed = "/" + file.path + "/";
      if (file.bytes < 0 || framed.find("//") != std::string::npos || framed.find("/../") != std::string::npos) {
        std::abort();
      }
    }
  } catch (const attune::Error&) {
  }
  return 0;
}
