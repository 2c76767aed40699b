// The files of catalogue/, as they were when the program was built (cmake/embed.cmake).
#pragma once

#include <string_view>

namespace attune {

std::string_view EmbeddedModels();   // JSON
std::string_view EmbeddedDevices();  // JSON
std::string_view EmbeddedPrices();   // YAML
std::string_view EmbeddedGeneralText();

}  // namespace attune
