// value[start:stop:step] with Python's rules for bounds.
#include <algorithm>

#include "text/jinja_operators.h"
#include "text/jinja_string.h"

namespace attune::jinja {
namespace {

struct Bounds {
  int64_t start, step, count;
};

int64_t BoundOf(Runtime& rt, const Value& bound, int64_t missing) {
  if (bound.is(Kind::kNone)) return missing;
  if (!bound.IsIntegral()) rt.Fail("slice indices must be integers or None or have an __index__ method");
  return bound.AsInt();
}

Bounds Resolve(Runtime& rt, int64_t size, const Value& start, const Value& stop, const Value& step_value) {
  const int64_t step = std::max(BoundOf(rt, step_value, 1), -INT64_MAX);
  if (step == 0) rt.Fail("slice step cannot be zero");
  const int64_t low = step > 0 ? 0 : -1, high = step > 0 ? size : size - 1;
  const auto clamp = [&](const Value& bound, int64_t missing) {
    if (bound.is(Kind::kNone)) return missing;
    const int64_t at = BoundOf(rt, bound, 0);
    return at < 0 ? std::max(at + size, low) : std::min(at, high);
  };
  const int64_t from = clamp(start, step > 0 ? low : high), to = clamp(stop, step > 0 ? high : low);
  const int64_t distance = step > 0 ? to - from : from - to;
  const int64_t stride = step > 0 ? step : -step;
  return {from, step, distance > 0 ? (distance - 1) / stride + 1 : 0};
}

Value SliceString(Runtime& rt, const Value& value, const Value& start, const Value& stop, const Value& step) {
  const std::string_view text = value.text();
  const Bounds b = Resolve(rt, Length(rt, value), start, stop, step);
  Value result;
  if (b.count == 0) {
    result = Value::Borrow({});
  } else if (b.step == 1) {
    const size_t from = ByteOffset(text, static_cast<size_t>(b.start));
    const std::string_view rest = text.substr(from);
    result = Value::Borrow(rest.substr(0, ByteOffset(rest, static_cast<size_t>(b.count))));
  } else {
    const List points = rt.Iterate(value);
    std::string out;
    for (int64_t i = 0; i < b.count; ++i) out += points.items[b.start + i * b.step].text();
    result = rt.String(out);
  }
  result.markup = value.markup;
  return result;
}

}  // namespace

Value Slice(Runtime& rt, const Value& value, const Value& start, const Value& stop, const Value& step) {
  switch (value.kind) {
    case Kind::kUndefined:
      rt.FailUndefined(value);
    case Kind::kString:
      return SliceString(rt, value, start, stop, step);
    case Kind::kList:
    case Kind::kTuple: {
      const List& list = rt.Items(value);
      const Bounds b = Resolve(rt, static_cast<int64_t>(list.size), start, stop, step);
      if (b.count == 0) return rt.NewList(nullptr, 0, value.kind);
      const auto count = static_cast<size_t>(b.count);
      if (b.step == 1) return rt.NewList(list.items + b.start, count, value.kind);  // shares the items
      Value* items = rt.New<Value>(count);
      for (int64_t i = 0; i < b.count; ++i) items[i] = list.items[b.start + i * b.step];
      return rt.NewList(items, count, value.kind);
    }
    case Kind::kRange: {
      const Range& range = *value.range;
      const Bounds b = Resolve(rt, range.size, start, stop, step);
      // Unsigned: bounds outside the range may wrap around, elements do not.
      const auto step_of = static_cast<uint64_t>(range.step);
      const uint64_t first = static_cast<uint64_t>(range.start) + static_cast<uint64_t>(b.start) * step_of;
      const uint64_t stride = step_of * static_cast<uint64_t>(b.step);
      const uint64_t end = first + static_cast<uint64_t>(b.count) * stride;
      Value v = Value::Of(Kind::kRange);
      v.range =
          rt.Make(Range{static_cast<int64_t>(first), static_cast<int64_t>(end), static_cast<int64_t>(stride), b.count});
      return v;
    }
    case Kind::kDict:
      rt.Fail("unhashable type: 'slice'");
    default:
      rt.Fail("'{}' object is not subscriptable", TypeName(value));
  }
}

}  // namespace attune::jinja
