// The page of attune data report from a manifest that holds anything: nothing of it may become markup.
#include <cstdint>
#include <string_view>

#include "base/error.h"
#include "formats/json.h"
#include "store/data_report.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  try {
    const nlohmann::ordered_json manifest = attune::ParseOrderedJson(text, "f");
    if (!manifest.is_object()) return 0;
    const std::string page =
        attune::DataReportHtml({{"title", "t"}, {"stages", nlohmann::ordered_json::array({manifest})}});
    for (const char* markup : {"<script", "<img", "<a", "\x1B", "\u202E"}) {
      if (page.find(markup) != std::string::npos) __builtin_trap();
    }
  } catch (const attune::Error& error) {
    if (std::string_view(error.what()).find('\n') != std::string_view::npos) __builtin_trap();  // one line
  }
  return 0;
}
