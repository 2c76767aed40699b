// The tests of `x is name(...)`, which select and its kin use too.
#include <unordered_map>

#include "text/jinja_methods.h"
#include "text/jinja_operators.h"

namespace attune::jinja {
namespace {

using Predicate = bool (*)(const Value&);

template <Predicate predicate>
Value Is(Runtime& rt, const Value& v, const Args& args) {
  Signature(rt, "the test", args, {});
  return Value::Bool(predicate(v));
}

template <Kind kind>
bool IsKind(const Value& v) {
  return v.is(kind);
}

bool IsDefined(const Value& v) { return !v.is(Kind::kUndefined); }
bool IsTrue(const Value& v) { return v.is(Kind::kBool) && v.boolean; }
bool IsFalse(const Value& v) { return v.is(Kind::kBool) && !v.boolean; }
bool IsInteger(const Value& v) { return v.is(Kind::kInt) || v.is(Kind::kBigInt); }
bool IsNumber(const Value& v) { return v.IsNumber() || v.is(Kind::kBigInt); }
bool IsCallable(const Value& v) { return v.is(Kind::kCallable) || v.is(Kind::kLoop) || v.is(Kind::kUndefined); }
bool IsEscaped(const Value& v) { return v.is(Kind::kString) && v.markup; }
bool IsSequence(const Value& v) {
  return v.IsSequence() || v.is(Kind::kString) || v.is(Kind::kDict) || v.is(Kind::kRange) || v.is(Kind::kUndefined);
}

Value IsIterable(Runtime& rt, const Value& v, const Args& args) {
  Signature(rt, "iterable", args, {});
  return Value::Bool(rt.Iterable(v));
}

template <Op op>
Value Comparison(Runtime& rt, const Value& v, const Args& args) {
  const Signature s(rt, "the test", args, {"other"}, 1);
  return Value::Bool(Compare(rt, op, v, *s[0]));
}

template <int remainder>
Value Parity(Runtime& rt, const Value& v, const Args& args) {
  Signature(rt, "the test", args, {});
  return Value::Bool(Equal(rt, Arithmetic(rt, Op::kMod, v, Value::Int(2)), Value::Int(remainder)));
}

Value DivisibleBy(Runtime& rt, const Value& v, const Args& args) {
  const Signature s(rt, "divisibleby", args, {"num"}, 1);
  return Value::Bool(Equal(rt, Arithmetic(rt, Op::kMod, v, *s[0]), Value::Int(0)));
}

Value SameAs(Runtime& rt, const Value& v, const Args& args) {
  const Signature s(rt, "sameas", args, {"other"}, 1);
  const Value& other = *s[0];
  if (v.kind != other.kind) return Value::Bool(false);
  const bool scalar = v.is(Kind::kNone) || v.IsNumber() || v.is(Kind::kString) || v.is(Kind::kBigInt);
  return Value::Bool(scalar ? Equal(rt, v, other) : v.list == other.list);
}

template <bool upper>
Value IsCase(Runtime& rt, const Value& v, const Args& args) {
  return FindStringMethod(upper ? "isupper" : "islower")(rt, ToStr(rt, v), args);
}

template <Function (*Find)(std::string_view)>
Value Exists(Runtime& rt, const Value& v, const Args& args) {
  Signature(rt, "the test", args, {});
  return Value::Bool(v.is(Kind::kString) && Find(v.text()) != nullptr);
}

}  // namespace

Function FindTest(std::string_view name) {
  static const std::unordered_map<std::string_view, Function> tests = {
      {"boolean", Is<IsKind<Kind::kBool>>},
      {"callable", Is<IsCallable>},
      {"defined", Is<IsDefined>},
      {"divisibleby", DivisibleBy},
      {"escaped", Is<IsEscaped>},
      {"even", Parity<0>},
      {"false", Is<IsFalse>},
      {"filter", Exists<FindFilter>},
      {"float", Is<IsKind<Kind::kFloat>>},
      {"in", Comparison<Op::kIn>},
      {"integer", Is<IsInteger>},
      {"iterable", IsIterable},
      {"lower", IsCase<false>},
      {"mapping", Is<IsKind<Kind::kDict>>},
      {"none", Is<IsKind<Kind::kNone>>},
      {"number", Is<IsNumber>},
      {"odd", Parity<1>},
      {"sameas", SameAs},
      {"sequence", Is<IsSequence>},
      {"string", Is<IsKind<Kind::kString>>},
      {"test", Exists<FindTest>},
      {"true", Is<IsTrue>},
      {"undefined", Is<IsKind<Kind::kUndefined>>},
      {"upper", IsCase<true>},
      {"==", Comparison<Op::kEq>},
      {"eq", Comparison<Op::kEq>},
      {"equalto", Comparison<Op::kEq>},
      {"!=", Comparison<Op::kNe>},
      {"ne", Comparison<Op::kNe>},
      {">", Comparison<Op::kGt>},
      {"gt", Comparison<Op::kGt>},
      {"greaterthan", Comparison<Op::kGt>},
      {">=", Comparison<Op::kGe>},
      {"ge", Comparison<Op::kGe>},
      {"<", Comparison<Op::kLt>},
      {"lt", Comparison<Op::kLt>},
      {"lessthan", Comparison<Op::kLt>},
      {"<=", Comparison<Op::kLe>},
      {"le", Comparison<Op::kLe>},
  };
  const auto found = tests.find(name);
  return found == tests.end() ? nullptr : found->second;
}

}  // namespace attune::jinja
