#include "text/jinja_operators.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "text/jinja_string.h"

namespace attune::jinja {
namespace {

constexpr std::string_view kSymbols[] = {"+",  "-",  "*", "/",  "//", "%", "** or pow()",
                                         "==", "!=", "<", "<=", ">",  ">="};

[[noreturn]] void FailOperands(Runtime& rt, Op op, const Value& left, const Value& right) {
  rt.Fail("unsupported operand type(s) for {}: '{}' and '{}'", kSymbols[static_cast<int>(op)], TypeName(left),
          TypeName(right));
}

[[noreturn]] void FailOverflow(Runtime& rt) { rt.Fail("integer result does not fit in 64 bits"); }

int64_t FloorDivide(int64_t a, int64_t b) { return a / b - ((a % b != 0 && (a < 0) != (b < 0)) ? 1 : 0); }

int64_t IntegerPower(Runtime& rt, int64_t base, int64_t exponent) {
  int64_t result = 1;
  while (exponent > 0) {
    if (exponent & 1 && __builtin_mul_overflow(result, base, &result)) FailOverflow(rt);
    exponent >>= 1;
    if (exponent > 0 && __builtin_mul_overflow(base, base, &base)) FailOverflow(rt);
  }
  return result;
}

Value IntegerArithmetic(Runtime& rt, Op op, int64_t a, int64_t b) {
  int64_t result = 0;
  switch (op) {
    case Op::kAdd:
      if (__builtin_add_overflow(a, b, &result)) FailOverflow(rt);
      return Value::Int(result);
    case Op::kSub:
      if (__builtin_sub_overflow(a, b, &result)) FailOverflow(rt);
      return Value::Int(result);
    case Op::kMul:
      if (__builtin_mul_overflow(a, b, &result)) FailOverflow(rt);
      return Value::Int(result);
    case Op::kPow:
      if (b >= 0) return Value::Int(IntegerPower(rt, a, b));
      if (a == 0) rt.Fail("0.0 cannot be raised to a negative power");
      return Value::Float(std::pow(static_cast<double>(a), static_cast<double>(b)));
    case Op::kDiv:
      if (b == 0) rt.Fail("division by zero");
      return Value::Float(static_cast<double>(a) / static_cast<double>(b));
    default:
      if (b == 0) rt.Fail("integer {} by zero", op == Op::kMod ? "modulo" : "division or modulo");
      if (b == -1) return op == Op::kMod ? Value::Int(0) : IntegerArithmetic(rt, Op::kSub, 0, a);
      if (op == Op::kFloorDiv) return Value::Int(FloorDivide(a, b));
      return Value::Int(a - FloorDivide(a, b) * b);
  }
}

Value FloatArithmetic(Runtime& rt, Op op, double a, double b) {
  switch (op) {
    case Op::kAdd:
      return Value::Float(a + b);
    case Op::kSub:
      return Value::Float(a - b);
    case Op::kMul:
      return Value::Float(a * b);
    case Op::kPow: {
      if (a == 0 && b < 0) rt.Fail("0.0 cannot be raised to a negative power");
      if (a < 0 && b != std::floor(b)) rt.Fail("a negative number to a fractional power is complex");
      const double result = std::pow(a, b);
      if (std::isinf(result) && std::isfinite(a) && std::isfinite(b)) rt.Fail("numerical result out of range");
      return Value::Float(result);
    }
    case Op::kDiv:
      if (b == 0) rt.Fail("float division by zero");
      return Value::Float(a / b);
    default: {
      if (b == 0) rt.Fail("float floor division or modulo by zero");
      double mod = std::fmod(a, b);
      double div = (a - mod) / b;
      if (mod != 0 && (b < 0) != (mod < 0)) {
        mod += b;
        div -= 1;
      }
      if (op == Op::kMod) return Value::Float(mod == 0 ? std::copysign(0.0, b) : mod);
      const double floor = std::floor(div);
      return Value::Float(div == 0 ? std::copysign(0.0, a / b) : div - floor > 0.5 ? floor + 1 : floor);
    }
  }
}

Value ConcatStrings(Runtime& rt, const Value& left, const Value& right) {
  const bool markup = left.markup || right.markup;
  std::string escaped;
  std::string_view a = left.text(), b = right.text();
  if (markup && left.markup != right.markup) {
    escaped = EscapeHtml(left.markup ? b : a);
    (left.markup ? b : a) = escaped;
  }
  if (a.size() + b.size() > UINT32_MAX) rt.Fail("string is too long");
  char* joined = rt.New<char>(a.size() + b.size());
  if (!a.empty()) std::memcpy(joined, a.data(), a.size());
  if (!b.empty()) std::memcpy(joined + a.size(), b.data(), b.size());
  Value v = Value::Borrow({joined, a.size() + b.size()});
  v.markup = markup;
  return v;
}

Value ConcatLists(Runtime& rt, const Value& left, const Value& right) {
  const List& a = rt.Items(left);
  const List& b = rt.Items(right);
  Value* items = rt.New<Value>(a.size + b.size);
  std::copy_n(a.items, a.size, items);
  std::copy_n(b.items, b.size, items + a.size);
  return rt.NewList(items, a.size + b.size, left.kind);
}

Value Repeat(Runtime& rt, const Value& value, int64_t times) {
  const uint64_t n = times < 0 ? 0 : static_cast<uint64_t>(times);
  const uint64_t size = value.is(Kind::kString) ? value.length : rt.Items(value).size;
  uint64_t total = 0;
  if (__builtin_mul_overflow(n, size, &total) || total > UINT32_MAX) rt.Fail("repeated value is too long");
  if (value.is(Kind::kString)) {
    char* chars = rt.New<char>(total);
    for (uint64_t i = 0; size > 0 && i < n; ++i) std::memcpy(chars + i * size, value.chars, size);
    Value v = Value::Borrow({chars, total});
    v.markup = value.markup;
    return v;
  }
  Value* items = rt.New<Value>(total);
  for (uint64_t i = 0; size > 0 && i < n; ++i) std::copy_n(value.list->items, size, items + i * size);
  return rt.NewList(items, total, value.kind);
}

bool IsRepeatable(const Value& v) { return v.is(Kind::kString) || v.IsSequence(); }

bool EqualLists(Runtime& rt, const Value& left, const Value& right) {
  const List& a = rt.Items(left);
  const List& b = rt.Items(right);
  if (a.size != b.size) return false;
  if (a.items == b.items) return true;
  for (size_t i = 0; i < a.size; ++i)
    if (!Equal(rt, a.items[i], b.items[i])) return false;
  return true;
}

bool EqualDicts(Runtime& rt, const Value& left, const Value& right) {
  const Dict& a = rt.Entries(left);
  if (a.size != right.dict->size) return false;
  if (left.dict == right.dict) return true;
  for (size_t i = 0; i < a.size; ++i) {
    const Value* other = rt.Find(right, a.entries[i].key);
    if (!other || !Equal(rt, a.entries[i].value, *other)) return false;
  }
  return true;
}

}  // namespace

Value Arithmetic(Runtime& rt, Op op, const Value& left, const Value& right) {
  if (left.is(Kind::kUndefined)) rt.FailUndefined(left);
  if (op == Op::kMod && left.is(Kind::kString)) return FormatPercent(rt, left, right);
  if (right.is(Kind::kUndefined)) rt.FailUndefined(right);
  if (left.IsIntegral() && right.IsIntegral()) return IntegerArithmetic(rt, op, left.AsInt(), right.AsInt());
  if (left.IsNumber() && right.IsNumber()) return FloatArithmetic(rt, op, left.AsDouble(), right.AsDouble());
  if (op == Op::kAdd) {
    if (left.is(Kind::kString) && right.is(Kind::kString)) return ConcatStrings(rt, left, right);
    if (left.is(Kind::kString)) rt.Fail("can only concatenate str (not \"{}\") to str", TypeName(right));
    if (left.IsSequence() && left.kind == right.kind) return ConcatLists(rt, left, right);
    if (left.IsSequence()) rt.Fail("can only concatenate {0} (not \"{1}\") to {0}", TypeName(left), TypeName(right));
  }
  if (op == Op::kMul) {
    if (IsRepeatable(left) && right.IsIntegral()) return Repeat(rt, left, right.AsInt());
    if (left.IsIntegral() && IsRepeatable(right)) return Repeat(rt, right, left.AsInt());
  }
  FailOperands(rt, op, left, right);
}

Value Negate(Runtime& rt, const Value& value) {
  if (value.is(Kind::kUndefined)) rt.FailUndefined(value);
  if (value.IsIntegral()) return IntegerArithmetic(rt, Op::kSub, 0, value.AsInt());
  if (value.is(Kind::kFloat)) return Value::Float(-value.real);
  rt.Fail("bad operand type for unary -: '{}'", TypeName(value));
}

bool Equal(Runtime& rt, const Value& left, const Value& right) {
  if (left.IsIntegral() && right.IsIntegral()) return left.AsInt() == right.AsInt();
  if (left.IsNumber() && right.IsNumber()) return left.AsDouble() == right.AsDouble();
  if (left.kind != right.kind) return false;
  switch (left.kind) {
    case Kind::kUndefined:
    case Kind::kNone:
      return true;
    case Kind::kBigInt:
      return left.big == right.big;
    case Kind::kString:
      rt.Scan(left.length);
      return left.text() == right.text();
    case Kind::kList:
    case Kind::kTuple: {
      Runtime::Depth depth(rt);
      rt.Step();
      return EqualLists(rt, left, right);
    }
    case Kind::kDict: {
      Runtime::Depth depth(rt);
      rt.Step();
      return EqualDicts(rt, left, right);
    }
    case Kind::kRange:
      return left.range->size == right.range->size &&
             (left.range->size == 0 || (left.range->start == right.range->start &&
                                        (left.range->size == 1 || left.range->step == right.range->step)));
    default:
      return left.list == right.list;  // the same object
  }
}

bool Compare(Runtime& rt, Op op, const Value& left, const Value& right) {
  switch (op) {
    case Op::kEq:
      return Equal(rt, left, right);
    case Op::kNe:
      return !Equal(rt, left, right);
    case Op::kIn:
      return Contains(rt, right, left);
    case Op::kNotIn:
      return !Contains(rt, right, left);
    default:
      break;
  }
  if (left.is(Kind::kUndefined)) rt.FailUndefined(left);
  if (right.is(Kind::kUndefined)) rt.FailUndefined(right);
  const auto decide = [op](const auto& a, const auto& b) {
    return op == Op::kLt ? a < b : op == Op::kLe ? a <= b : op == Op::kGt ? a > b : a >= b;
  };
  if (left.IsIntegral() && right.IsIntegral()) return decide(left.AsInt(), right.AsInt());
  if (left.IsNumber() && right.IsNumber()) return decide(left.AsDouble(), right.AsDouble());
  if (left.is(Kind::kString) && right.is(Kind::kString)) {
    rt.Scan(left.length);
    return decide(left.text(), right.text());  // the order of UTF-8 bytes is the order of code points
  }
  if (left.IsSequence() && left.kind == right.kind) {
    Runtime::Depth depth(rt);
    const List& a = rt.Items(left);
    const List& b = rt.Items(right);
    for (size_t i = 0; i < a.size && i < b.size; ++i)
      if (!Equal(rt, a.items[i], b.items[i])) return Compare(rt, op, a.items[i], b.items[i]);
    return decide(a.size, b.size);
  }
  rt.Fail("'{}' not supported between instances of '{}' and '{}'", kSymbols[static_cast<int>(op)], TypeName(left),
          TypeName(right));
}

bool Less(Runtime& rt, const Value& left, const Value& right) { return Compare(rt, Op::kLt, left, right); }

bool Contains(Runtime& rt, const Value& container, const Value& item) {
  if (container.is(Kind::kString)) {
    if (!item.is(Kind::kString)) rt.Fail("'in <string>' requires string as left operand, not {}", TypeName(item));
    rt.Scan(container.length);
    return container.text().find(item.text()) != std::string_view::npos;
  }
  if (container.is(Kind::kDict)) {
    if (!rt.Hashable(item)) rt.Fail("unhashable type: '{}'", TypeName(item));
    return rt.Find(container, item) != nullptr;
  }
  if (container.is(Kind::kRange) && item.IsIntegral()) {
    const Range& range = *container.range;
    rt.Step(1 + static_cast<size_t>(range.size) / 8);
    for (int64_t i = 0; i < range.size; ++i)
      if (range.start + i * range.step == item.AsInt()) return true;
    return false;
  }
  if (!rt.Iterable(container)) rt.Fail("argument of type '{}' is not iterable", TypeName(container));
  if (container.is(Kind::kIterator)) {  // searched only as far as the item
    Iterator& iterator = *container.iterator;
    while (iterator.next < iterator.size)
      if (Equal(rt, iterator.items[iterator.next++], item)) return true;
    return false;
  }
  const List list = rt.Iterate(container);
  for (size_t i = 0; i < list.size; ++i) {
    rt.Step();
    if (Equal(rt, list.items[i], item)) return true;
  }
  return false;
}

int64_t Length(Runtime& rt, const Value& value) {
  switch (value.kind) {
    case Kind::kUndefined:
      return 0;
    case Kind::kString:
      rt.Scan(value.length);
      return static_cast<int64_t>(CountCodePoints(value.text()));
    case Kind::kList:
    case Kind::kTuple:
      return static_cast<int64_t>(value.list->size);
    case Kind::kDict:
      return static_cast<int64_t>(value.dict->size);
    case Kind::kRange:
      return value.range->size;
    case Kind::kView:
      return static_cast<int64_t>(value.view->items.size);
    default:
      rt.Fail("object of type '{}' has no len()", TypeName(value));
  }
}

}  // namespace attune::jinja
