#include "text/jinja_value.h"

#include "text/jinja_runtime.h"

namespace attune::jinja {

std::string_view TypeName(const Value& value) {
  switch (value.kind) {
    case Kind::kMissing:
    case Kind::kUndefined:
      return "Undefined";
    case Kind::kNone:
      return "NoneType";
    case Kind::kBool:
      return "bool";
    case Kind::kInt:
    case Kind::kBigInt:
      return "int";
    case Kind::kFloat:
      return "float";
    case Kind::kString:
      return value.markup ? "Markup" : "str";
    case Kind::kList:
      return "list";
    case Kind::kTuple:
      return "tuple";
    case Kind::kDict:
      return "dict";
    case Kind::kRange:
      return "range";
    case Kind::kView:
      return value.view->type;
    case Kind::kIterator:
      return value.iterator->type;
    case Kind::kNamespace:
      return "Namespace";
    case Kind::kLoop:
      return "LoopContext";
    case Kind::kCallable:
      return value.callable->macro ? "Macro" : "builtin_function_or_method";
  }
  return "object";
}

bool Truthy(const Value& value) {
  switch (value.kind) {
    case Kind::kMissing:
    case Kind::kUndefined:
    case Kind::kNone:
      return false;
    case Kind::kBool:
      return value.boolean;
    case Kind::kInt:
      return value.integer != 0;
    case Kind::kFloat:
      return value.real != 0;
    case Kind::kString:
      return value.length > 0;
    case Kind::kList:
    case Kind::kTuple:
      return value.list->size > 0;
    case Kind::kDict:
      return value.dict->size > 0;
    case Kind::kRange:
      return value.range->size > 0;
    case Kind::kView:
      return value.view->items.size > 0;
    default:
      return true;
  }
}

}  // namespace attune::jinja
