// Look-up of built-in functions by name: string methods, filters, tests. Null when there is none of that
// name.
#pragma once

#include <string_view>

#include "text/jinja_runtime.h"

namespace attune::jinja {

Function FindStringMethod(std::string_view name);  // called with the string as `self`
Function FindFilter(std::string_view name);        // called with the filtered value as `self`
Function FindTest(std::string_view name);          // called with the tested value as `self`, gives a bool
Function FindGlobal(std::string_view name);        // range, namespace, dict, raise_exception, strftime_now

// One part of FindFilter each, by file.
Function FindTextFilter(std::string_view name);
Function FindSequenceFilter(std::string_view name);

}  // namespace attune::jinja
