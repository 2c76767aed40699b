// Parses templates with Jinja's grammar: its statements, the loop controls extension and {% generation %}.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "text/jinja_ast.h"

namespace attune::jinja {

// Throws Error{kBadInput} "WHERE:LINE: ..." for a syntax error, deep nesting, or a source that is not UTF-8.
std::unique_ptr<Template> ParseTemplate(std::string_view source, std::string where);

}  // namespace attune::jinja
