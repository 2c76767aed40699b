// Python's operators and built-in conversions on template values.
#pragma once

#include <string>

#include "text/jinja_runtime.h"

namespace attune::jinja {

enum class Op : uint8_t {
  kAdd,
  kSub,
  kMul,
  kDiv,
  kFloorDiv,
  kMod,
  kPow,  // arithmetic
  kEq,
  kNe,
  kLt,
  kLe,
  kGt,
  kGe,
  kIn,
  kNotIn,  // comparison
};

// left OP right. Errors as Python words them ("unsupported operand type(s) for +: ..."); integers beyond 64
// bits are an error.
Value Arithmetic(Runtime& rt, Op op, const Value& left, const Value& right);
Value Negate(Runtime& rt, const Value& value);

bool Equal(Runtime& rt, const Value& left, const Value& right);
bool Less(Runtime& rt, const Value& left, const Value& right);  // throws for types without an order
bool Compare(Runtime& rt, Op op, const Value& left, const Value& right);
bool Contains(Runtime& rt, const Value& container, const Value& item);

// value[start:stop:step]; the bounds may be None.
Value Slice(Runtime& rt, const Value& value, const Value& start, const Value& stop, const Value& step);

// len(value). Throws for what has none.
int64_t Length(Runtime& rt, const Value& value);

// value.name and value[key] as the sandboxed environment looks them up: undefined when there is none.
Value GetAttribute(Runtime& rt, const Value& object, const Value& name);
Value GetItem(Runtime& rt, const Value& object, const Value& key);

// A bound method of a str, list, tuple, dict or int; kMissing when the type has none of that name.
Value FindMethod(Runtime& rt, const Value& object, std::string_view name);

// str(value) and repr(value), appended.
void AppendStr(Runtime& rt, const Value& value, std::string* out);
void AppendRepr(Runtime& rt, const Value& value, std::string* out);
// str(value) as a string value; a string (marked safe or not) is returned as it is.
Value ToStr(Runtime& rt, const Value& value);

// A float as Python's repr prints it (shortest digits that read back).
void AppendFloat(double value, std::string* out);

// printf-style formatting ("%s" % value) and str.format.
Value FormatPercent(Runtime& rt, const Value& format, const Value& value);
Value FormatBraces(Runtime& rt, const Value& format, const Args& args);

// text.replace(from, to, limit), limit negative for all. May share the bytes of `text`.
Value ReplaceAll(Runtime& rt, std::string_view text, std::string_view from, std::string_view to, int64_t limit);

// int(text, base) and float(text) of Python; false when `text` is no such number.
bool ParseInt(std::string_view text, int base, int64_t* out);
bool ParseFloat(std::string_view text, double* out);

}  // namespace attune::jinja
