// Expressions. Each kind of node has its own function, so that the recursion keeps small stack frames.
#include <algorithm>
#include <cstring>

#include "text/jinja_interpreter.h"
#include "text/jinja_operators.h"

namespace attune::jinja {
namespace {

constexpr std::string_view kNoElse = "the inline if-expression evaluated to false and no else section was defined.";

}  // namespace

Value Interpreter::Eval(const Expr& e) {
  if (e.kind == Expr::Kind::kConst) return e.constant;
  if (e.kind == Expr::Kind::kName) return EvalName(e.name);
  const Runtime::Depth depth(rt_);
  rt_.Step();
  rt_.line = e.line;
  return EvalNode(e);
}

Value Interpreter::EvalNode(const Expr& e) {
  switch (e.kind) {
    case Expr::Kind::kAttribute:
      return GetAttribute(rt_, Eval(*e.a), e.constant);
    case Expr::Kind::kItem: {
      const Value object = Eval(*e.a);
      return GetItem(rt_, object, Eval(*e.b));
    }
    case Expr::Kind::kSlice:
      return EvalSlice(e);
    case Expr::Kind::kCall:
      return EvalCall(e, nullptr);
    case Expr::Kind::kFilter:
      return EvalFilter(e);
    case Expr::Kind::kTest: {
      const Value value = Eval(*e.a);
      if (!e.function) rt_.Fail("No test named '{}'.", e.constant.text());
      return e.function(rt_, value, EvalArguments(e, nullptr));
    }
    case Expr::Kind::kNegate:
      return Negate(rt_, Eval(*e.a));
    case Expr::Kind::kPlus: {
      const Value value = Eval(*e.a);
      if (value.is(Kind::kUndefined)) rt_.FailUndefined(value);
      if (!value.IsNumber()) rt_.Fail("bad operand type for unary +: '{}'", TypeName(value));
      return value.is(Kind::kBool) ? Value::Int(value.AsInt()) : value;
    }
    case Expr::Kind::kNot:
      return Value::Bool(!Truthy(Eval(*e.a)));
    case Expr::Kind::kAnd: {
      const Value left = Eval(*e.a);
      return Truthy(left) ? Eval(*e.b) : left;
    }
    case Expr::Kind::kOr: {
      const Value left = Eval(*e.a);
      return Truthy(left) ? left : Eval(*e.b);
    }
    case Expr::Kind::kCondition:
      if (Truthy(Eval(*e.a))) return Eval(*e.b);
      if (e.c) return Eval(*e.c);
      return rt_.NewUndefinedHint(kNoElse);
    case Expr::Kind::kConcat:
      return EvalConcat(e);
    case Expr::Kind::kArithmetic: {
      const Value left = Eval(*e.a);
      const Value right = Eval(*e.b);
      return Arithmetic(rt_, e.op, left, right);
    }
    case Expr::Kind::kCompare:
      return EvalCompare(e);
    case Expr::Kind::kTuple:
    case Expr::Kind::kList:
      return EvalItems(e);
    case Expr::Kind::kDict:
      return EvalDict(e);
    default:
      rt_.Fail("an assignment target is no expression");
  }
}

Value Interpreter::EvalName(NameId id) {
  for (const Scope* scope = scope_; scope; scope = scope->parent) {
    for (uint32_t i = 0; i < scope->size; ++i)
      if (scope->variables[i].id == id) return scope->variables[i].value;
  }
  return slots_[id].is(Kind::kMissing) ? rt_.NewUndefined(template_.names[id]) : slots_[id];
}

Value Interpreter::EvalSlice(const Expr& e) {
  const Value object = Eval(*e.a);
  Value bounds[3];
  for (int i = 0; i < 3; ++i) bounds[i] = e.items[i] ? Eval(*e.items[i]) : Value::None();
  return Slice(rt_, object, bounds[0], bounds[1], bounds[2]);
}

Value Interpreter::EvalFilter(const Expr& e) {
  const Value input = e.a ? Eval(*e.a) : filter_input_;
  if (!e.function) rt_.Fail("No filter named '{}'.", e.constant.text());
  const Args args = EvalArguments(e, nullptr);
  rt_.line = e.line;
  return e.function(rt_, input, args);
}

Value Interpreter::EvalCompare(const Expr& e) {
  Value left = Eval(*e.a);
  for (size_t i = 0; i < e.ops.size(); ++i) {
    const Value right = Eval(*e.items[i]);
    if (!Compare(rt_, e.ops[i], left, right)) return Value::Bool(false);
    left = right;
  }
  return Value::Bool(true);
}

Value Interpreter::EvalConcat(const Expr& e) {
  Value* parts = rt_.New<Value>(e.items.size());
  size_t size = 0;
  for (size_t i = 0; i < e.items.size(); ++i) {
    parts[i] = ToStr(rt_, Eval(*e.items[i]));
    size += parts[i].length;
  }
  if (size > UINT32_MAX) rt_.Fail("string is too long");
  char* joined = rt_.New<char>(size);
  for (size_t i = 0, at = 0; i < e.items.size(); at += parts[i++].length)
    if (parts[i].length > 0) std::memcpy(joined + at, parts[i].chars, parts[i].length);
  return Value::Borrow({joined, size});
}

Value Interpreter::EvalItems(const Expr& e) {
  Value* items = rt_.New<Value>(e.items.size());
  for (size_t i = 0; i < e.items.size(); ++i) items[i] = Eval(*e.items[i]);
  return rt_.NewList(items, e.items.size(), e.kind == Expr::Kind::kTuple ? Kind::kTuple : Kind::kList);
}

Value Interpreter::EvalDict(const Expr& e) {
  std::vector<Entry> entries(e.items.size() / 2);
  for (size_t i = 0; i < entries.size(); ++i) {
    entries[i].key = Eval(*e.items[2 * i]);
    entries[i].value = Eval(*e.items[2 * i + 1]);
  }
  return rt_.NewDict(entries);
}

Value Interpreter::EvalCall(const Expr& e, const Value* caller) {
  const Value callee = Eval(*e.a);
  const Args args = EvalArguments(e, caller);
  rt_.line = e.line;
  return Call(callee, args);
}

Args Interpreter::EvalArguments(const Expr& e, const Value* caller) {
  Args args;
  if (e.items.empty() && e.named.empty() && !e.star && !e.double_star && !caller) return args;
  Value* positional = rt_.New<Value>(e.items.size());
  for (size_t i = 0; i < e.items.size(); ++i) positional[i] = Eval(*e.items[i]);
  args.positional = positional;
  args.count = e.items.size();
  if (e.star) {
    const List more = rt_.Iterate(Eval(*e.star));
    Value* all = rt_.New<Value>(args.count + more.size);
    std::copy_n(positional, args.count, all);
    std::copy_n(more.items, more.size, all + args.count);
    args.positional = all;
    args.count += more.size;
  }
  const Value extra = e.double_star ? Eval(*e.double_star) : Value();
  if (e.double_star && !extra.is(Kind::kDict)) rt_.Fail("argument after ** must be a mapping, not {}", TypeName(extra));
  const size_t extra_count = e.double_star ? rt_.Entries(extra).size : 0;
  auto* named = rt_.New<Args::Named>(e.named.size() + extra_count + 1);
  for (const Expr::Named& n : e.named) named[args.named_count++] = {n.name, Eval(*n.value)};
  if (caller) named[args.named_count++] = {"caller", *caller};
  for (size_t i = 0; i < extra_count; ++i) {
    const Entry& entry = extra.dict->entries[i];
    if (!entry.key.is(Kind::kString)) rt_.Fail("keywords must be strings");
    for (size_t j = 0; j < args.named_count - i; ++j)
      if (named[j].name == entry.key.text())
        rt_.Fail("got multiple values for keyword argument '{}'", entry.key.text());
    named[args.named_count++] = {entry.key.text(), entry.value};
  }
  args.named = named;
  return args;
}

}  // namespace attune::jinja
