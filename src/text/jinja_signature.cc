// Binds the arguments of a call to the names of a built-in function's signature.
#include <algorithm>

#include "text/jinja_runtime.h"

namespace attune::jinja {

Signature::Signature(Runtime& rt, std::string_view function, const Args& args,
                     std::initializer_list<std::string_view> names, size_t required)
    : rt_(rt), function_(function) {
  if (args.count > names.size())
    rt.Fail("{}() takes at most {} argument(s), got {}", function, names.size(), args.count);
  for (size_t i = 0; i < args.count; ++i) values_[i] = &args.positional[i];
  for (size_t i = 0; i < args.named_count; ++i) {
    const auto name = std::find(names.begin(), names.end(), args.named[i].name);
    if (name == names.end()) rt.Fail("{}() has no argument named '{}'", function, args.named[i].name);
    const Value*& value = values_[name - names.begin()];
    if (value) rt.Fail("{}() got two values for its argument '{}'", function, *name);
    value = &args.named[i].value;
  }
  for (size_t i = 0; i < required; ++i)
    if (!values_[i]) rt.Fail("{}() needs its argument '{}'", function, names.begin()[i]);
}

int64_t Signature::Int(size_t i, int64_t fallback) const {
  if (!values_[i]) return fallback;
  if (values_[i]->is(Kind::kUndefined)) rt_.FailUndefined(*values_[i]);
  if (!values_[i]->IsIntegral())
    rt_.Fail("{}(): '{}' object cannot be interpreted as an integer", function_, TypeName(*values_[i]));
  return values_[i]->AsInt();
}

std::string_view Signature::Text(size_t i, std::string_view fallback) const {
  if (!values_[i]) return fallback;
  if (values_[i]->is(Kind::kUndefined)) rt_.FailUndefined(*values_[i]);
  if (!values_[i]->is(Kind::kString)) rt_.Fail("{}(): expected a string, got '{}'", function_, TypeName(*values_[i]));
  return values_[i]->text();
}

}  // namespace attune::jinja
