// A template, and after a line "---" the JSON of its variables (a fixed conversation when there is none).
// Parsing and rendering must end in a text or one Error, within bounded memory, time and stack.
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "base/error.h"
#include "formats/json.h"
#include "text/chat_template.h"

namespace {

constexpr std::string_view kSeparator = "\n---\n";
constexpr std::string_view kContext = R"({
  "messages": [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": [{"type": "text", "text": "héllo <b>"}, {"type": "image"}]},
    {"role": "assistant", "content": null, "tool_calls": [{"function": {"name": "f", "arguments": {"a": [1, 2.5]}}}]},
    {"role": "tool", "content": "{\"x\": 1}"}],
  "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}],
  "documents": null, "add_generation_prompt": true, "bos_token": "<s>", "n": 7, "s": " a,b c ", "f": 1.5,
  "big": 18446744073709551615})";

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const size_t at = input.find(kSeparator);
  try {
    static const auto fixed = attune::ParseOrderedJson(kContext, "context");
    const auto context =
        at == input.npos ? fixed : attune::ParseOrderedJson(input.substr(at + kSeparator.size()), "context");
    const std::tm now{};
    attune::ChatTemplate::Parse(input.substr(0, at), "fuzz").Render(context, &now);
  } catch (const attune::Error&) {
  }
  return 0;
}
