// JSON configurations: either a value, which then prints and parses to itself, or one Error.
#include <cstdlib>
#include <string_view>

#include "base/error.h"
#include "formats/json.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  try {
    const nlohmann::ordered_json value = attune::ParseOrderedJson(text, "fuzz");
    if (attune::ParseOrderedJson(value.dump(), "fuzz") != value) std::abort();
    attune::ParseJson(text, "fuzz");
  } catch (const attune::Error&) {
  }
  return 0;
}
