#include "text/jinja_interpreter.h"

#include <algorithm>

#include "text/jinja_methods.h"

namespace attune::jinja {

Interpreter::Interpreter(const Template& t, const Variables& variables, const std::tm* now)
    : template_(t), rt_(t.where, variables, now) {
  rt_.interpreter = this;
  rt_.line = 1;
  slots_ = rt_.New<Value>(t.names.size());
  for (size_t i = 0; i < t.names.size(); ++i) {
    slots_[i] = Value();
    const Function global = FindGlobal(t.names[i]);
    if (!global) continue;
    slots_[i] = Value::Of(Kind::kCallable);
    slots_[i].callable = rt_.Make(Callable{t.names[i], global, {}, nullptr, nullptr});
  }
  for (const auto& [name, value] : variables) {
    const auto found = t.name_ids.find(name);
    if (found != t.name_ids.end()) slots_[found->second] = rt_.FromJson(*value);
  }
}

void Interpreter::Run() {
  root_.reserve(1024);
  Exec(template_.body);
}

Scope* Interpreter::NewScope(Scope* parent) { return rt_.Make(Scope{parent, nullptr, 0, 0}); }

void Interpreter::SetVariable(Scope* scope, NameId id, const Value& value) {
  if (!scope) {
    slots_[id] = value;
    return;
  }
  for (uint32_t i = 0; i < scope->size; ++i) {
    if (scope->variables[i].id != id) continue;
    scope->variables[i].value = value;
    return;
  }
  if (scope->size == scope->capacity) {
    const uint32_t capacity = scope->capacity ? scope->capacity * 2 : 4;
    auto* grown = rt_.New<Scope::Variable>(capacity);
    std::copy_n(scope->variables, scope->size, grown);
    scope->variables = grown;
    scope->capacity = capacity;
  }
  scope->variables[scope->size++] = {id, value};
}

void Interpreter::Print(const Value& value) {
  if (value.is(Kind::kString)) {
    rt_.Charge(value.length);
    *out_ += value.text();
  } else {
    AppendStr(rt_, value, out_);
  }
}

Interpreter::Flow Interpreter::Exec(const Body& body) {
  const Runtime::Depth depth(rt_);
  for (const Stmt* stmt : body) {
    const Flow flow = ExecStmt(*stmt);
    if (flow != Flow::kNext) return flow;
  }
  return Flow::kNext;
}

Interpreter::Flow Interpreter::ExecStmt(const Stmt& stmt) {
  rt_.Step();
  rt_.line = stmt.line;
  switch (stmt.kind) {
    case Stmt::Kind::kText:
      rt_.Charge(stmt.text.size());
      *out_ += stmt.text;
      return Flow::kNext;
    case Stmt::Kind::kPrint:
      Print(Eval(*stmt.expr));
      return Flow::kNext;
    case Stmt::Kind::kIf:
      for (const Stmt::Branch& branch : stmt.branches)
        if (!branch.condition || Truthy(Eval(*branch.condition))) return Exec(branch.body);
      return Flow::kNext;
    case Stmt::Kind::kFor:
      return ExecFor(stmt, Eval(*stmt.expr), 0);
    case Stmt::Kind::kSet:
      Assign(*stmt.target, Eval(*stmt.expr));
      return Flow::kNext;
    case Stmt::Kind::kSetBlock:
      return ExecSetBlock(stmt);
    case Stmt::Kind::kWith:
      return ExecWith(stmt);
    case Stmt::Kind::kMacro: {
      Value macro = NewCaller(*stmt.macro);
      Assign(*stmt.target, macro);
      return Flow::kNext;
    }
    case Stmt::Kind::kCall:
      ExecCall(stmt);
      return Flow::kNext;
    case Stmt::Kind::kGeneration:
      ExecGeneration(stmt);
      return Flow::kNext;
    case Stmt::Kind::kFilter:
      return ExecFilter(stmt);
    case Stmt::Kind::kBlock:
      return ExecBlock(stmt);
    case Stmt::Kind::kBreak:
      return Flow::kBreak;
    case Stmt::Kind::kContinue:
      return Flow::kContinue;
    case Stmt::Kind::kRefused:
      rt_.Fail("'{}' is not allowed in a chat template", stmt.text);
  }
  return Flow::kNext;
}

// --- loops ---

bool Interpreter::Advance(Loop* loop, Value* item) {
  while (loop->next < loop->size) {
    rt_.Step();
    *item = loop->items[loop->next++];
    if (!loop->filtered) return true;
    Scope* const saved = scope_;
    scope_ = NewScope(loop->outer);
    Assign(*loop->stmt->target, *item);
    const bool passes = Truthy(Eval(*loop->stmt->condition));
    scope_ = saved;
    if (passes) return true;
  }
  return false;
}

void Interpreter::Exhaust(Loop* loop) {
  if (!loop->filtered) return;
  Value* passed = rt_.New<Value>(loop->size - loop->next);
  size_t size = 0;
  for (Value item; Advance(loop, &item);) passed[size++] = item;
  loop->items = passed;
  loop->size = size;
  loop->next = 0;
  loop->filtered = false;
}

Interpreter::Flow Interpreter::ExecFor(const Stmt& stmt, const Value& iterable, int depth) {
  const List list = rt_.Iterate(iterable);
  Value value = Value::Of(Kind::kLoop);
  Loop& loop = *rt_.Make(Loop{&stmt, scope_, list.items, list.size, 0, stmt.condition != nullptr});
  value.loop = &loop;
  loop.depth0 = depth;
  if (!loop.filtered) loop.length = static_cast<int64_t>(list.size);
  Scope* const outer = scope_;
  bool completed = false;  // Jinja runs the else unless some iteration came to its end
  Flow flow = Flow::kNext;
  while (flow != Flow::kBreak) {
    Value item = loop.after;
    if (loop.has_after) {
      loop.has_after = false;
    } else if (!Advance(&loop, &item)) {
      break;
    }
    ++loop.index0;
    loop.before = loop.current;
    loop.current = item;
    scope_ = NewScope(outer);
    SetVariable(scope_, template_.known.loop, value);
    Assign(*stmt.target, item);
    flow = Exec(stmt.body);
    completed |= flow == Flow::kNext;
    scope_ = outer;
  }
  if (completed || stmt.otherwise.empty()) return Flow::kNext;
  scope_ = NewScope(outer);
  flow = Exec(stmt.otherwise);
  scope_ = outer;
  return flow;
}

Value Interpreter::RunRecursiveLoop(const Value& loop, const Args& args) {
  const Signature s(rt_, "loop", args, {"iterable"}, 1);
  if (!loop.loop->stmt->recursive) rt_.Fail("The loop must have the 'recursive' marker to be called recursively.");
  std::string text;
  std::string* const out = std::exchange(out_, &text);
  Scope* const saved = std::exchange(scope_, loop.loop->outer);
  ExecFor(*loop.loop->stmt, *s[0], loop.loop->depth0 + 1);
  out_ = out;
  scope_ = saved;
  return rt_.String(text);
}

// --- assignment ---

void Interpreter::Assign(const Expr& target, const Value& value) {
  switch (target.kind) {
    case Expr::Kind::kName:
      return SetVariable(scope_, target.name, value);
    case Expr::Kind::kNsRef:
      return AssignAttribute(target, value);
    default:
      return AssignTuple(target, value);
  }
}

void Interpreter::AssignTuple(const Expr& target, const Value& value) {
  if (!rt_.Iterable(value)) rt_.Fail("cannot unpack non-iterable {} object", TypeName(value));
  const List list = rt_.Iterate(value);
  if (list.size < target.items.size())
    rt_.Fail("not enough values to unpack (expected {}, got {})", target.items.size(), list.size);
  if (list.size > target.items.size()) rt_.Fail("too many values to unpack (expected {})", target.items.size());
  for (size_t i = 0; i < list.size; ++i) Assign(*target.items[i], list.items[i]);
}

void Interpreter::AssignAttribute(const Expr& target, const Value& value) {
  const Value object = EvalName(target.name);
  if (!object.is(Kind::kNamespace)) rt_.Fail("cannot assign attribute on non-namespace object");
  const std::string_view name = target.constant.text();
  if (name.starts_with('_'))
    rt_.Fail("Chat templates cannot store underscore-prefixed attributes on a namespace: '{}'", name);
  Namespace& names = *object.name_space;
  for (size_t i = 0; i < names.size; ++i) {
    rt_.Step();
    if (names.entries[i].key.text() != name) continue;
    names.entries[i].value = value;
    return;
  }
  if (names.size == names.capacity) {
    names.capacity = std::max<size_t>(4, names.capacity * 2);
    Entry* grown = rt_.New<Entry>(names.capacity);
    std::copy_n(names.entries, names.size, grown);
    names.entries = grown;
  }
  names.entries[names.size++] = {target.constant, value};
}

// --- blocks that capture their text ---

Interpreter::Flow Interpreter::ExecSetBlock(const Stmt& stmt) {
  std::string text;
  std::string* const out = std::exchange(out_, &text);
  Scope* const outer = std::exchange(scope_, NewScope(scope_));
  const Flow flow = Exec(stmt.body);
  out_ = out;
  if (flow == Flow::kNext) {
    Value value = rt_.String(text);
    if (stmt.expr) {
      filter_input_ = value;
      value = Eval(*stmt.expr);
    }
    scope_ = outer;
    Assign(*stmt.target, value);
  }
  scope_ = outer;
  return flow;
}

Interpreter::Flow Interpreter::ExecFilter(const Stmt& stmt) {
  std::string text;
  std::string* const out = std::exchange(out_, &text);
  Scope* const outer = std::exchange(scope_, NewScope(scope_));
  const Flow flow = Exec(stmt.body);
  out_ = out;
  if (flow == Flow::kNext) {
    filter_input_ = rt_.String(text);
    Print(Eval(*stmt.expr));
  }
  scope_ = outer;
  return flow;
}

Interpreter::Flow Interpreter::ExecWith(const Stmt& stmt) {
  Scope* const outer = scope_;
  Scope* const inner = NewScope(outer);
  for (const Stmt::Assignment& assignment : stmt.assignments) {
    scope_ = outer;
    const Value value = Eval(*assignment.value);
    scope_ = inner;
    Assign(*assignment.target, value);
  }
  scope_ = inner;
  const Flow flow = Exec(stmt.body);
  scope_ = outer;
  return flow;
}

Interpreter::Flow Interpreter::ExecBlock(const Stmt& stmt) {
  Scope* const outer = std::exchange(scope_, NewScope(stmt.scoped ? scope_ : nullptr));
  const Flow flow = Exec(stmt.body);
  scope_ = outer;
  return flow;
}

void Interpreter::ExecGeneration(const Stmt& stmt) {
  // transformers counts what the template's top level has written so far: inside a macro or a set block the
  // span starts where the text before that block ends.
  const size_t start = root_.size();
  std::string text;
  std::string* const out = std::exchange(out_, &text);
  Scope* const outer = std::exchange(scope_, NewScope(scope_));
  Exec(stmt.macro->body);
  scope_ = outer;
  out_ = out;
  spans_.emplace_back(start, start + text.size());
  rt_.Charge(text.size() + sizeof spans_[0]);
  *out_ += text;
}

// --- macros ---

Value Interpreter::NewCaller(const Macro& macro) {
  Value v = Value::Of(Kind::kCallable);
  v.callable = rt_.Make(Callable{macro.name, nullptr, {}, &macro, scope_});
  return v;
}

void Interpreter::ExecCall(const Stmt& stmt) {
  const Value caller = NewCaller(*stmt.macro);
  Print(EvalCall(*stmt.expr, &caller));
}

void Interpreter::BindParameters(const Callable& callable, const Args& args, Scope* scope) {
  const Macro& macro = *callable.macro;
  const size_t count = macro.parameters.size();
  if (args.count > count && !macro.uses_varargs)
    rt_.Fail("macro '{}' takes not more than {} argument(s)", macro.name, count);
  for (size_t i = 0; i < count && i < args.count; ++i) SetVariable(scope, macro.parameters[i].id, args.positional[i]);
  std::vector<Entry> rest;
  Value caller;
  std::vector<bool> given(count);
  for (size_t i = 0; i < args.named_count; ++i) {
    const Args::Named& named = args.named[i];
    size_t p = std::min(count, args.count);
    while (p < count && macro.parameters[p].name != named.name) ++p;
    if (p < count) {
      given[p] = true;
      SetVariable(scope, macro.parameters[p].id, named.value);
    } else if (named.name == "caller" && macro.uses_caller) {
      caller = named.value;
    } else if (macro.uses_kwargs) {
      rest.push_back({Value::Borrow(named.name), named.value});
    } else if (named.name == "caller") {
      rt_.Fail(
          "macro '{}' was invoked with two values for the special caller argument. This is most likely a "
          "bug.",
          macro.name);
    } else {
      rt_.Fail("macro '{}' takes no keyword argument '{}'", macro.name, named.name);
    }
  }
  if (macro.uses_caller)
    SetVariable(scope, template_.known.caller,
                caller.is(Kind::kMissing) ? rt_.NewUndefinedHint("No caller defined") : caller);
  if (macro.uses_kwargs) SetVariable(scope, template_.known.kwargs, rt_.NewDict(rest));
  if (macro.uses_varargs) {
    const size_t taken = std::min(count, args.count);
    SetVariable(scope, template_.known.varargs, rt_.NewList(args.positional + taken, args.count - taken, Kind::kTuple));
  }
  for (size_t i = args.count; i < count; ++i) {
    if (given[i]) continue;
    const Macro::Parameter& parameter = macro.parameters[i];
    SetVariable(scope, parameter.id, parameter.fallback ? Eval(*parameter.fallback) : rt_.NewUndefined(parameter.name));
  }
}

Value Interpreter::CallMacro(const Callable& callable, const Args& args) {
  const Runtime::Depth depth(rt_);
  const uint32_t line = rt_.line;
  Scope* const saved = std::exchange(scope_, NewScope(callable.scope));
  BindParameters(callable, args, scope_);
  std::string text;
  std::string* const out = std::exchange(out_, &text);
  Exec(callable.macro->body);
  out_ = out;
  scope_ = saved;
  rt_.line = line;
  return rt_.String(text);
}

Value Interpreter::Call(const Value& callee, const Args& args) {
  switch (callee.kind) {
    case Kind::kUndefined:
      rt_.FailUndefined(callee);
    case Kind::kLoop:
      return RunRecursiveLoop(callee, args);
    case Kind::kCallable:
      if (callee.callable->macro) return CallMacro(*callee.callable, args);
      return callee.callable->function(rt_, callee.callable->self, args);
    default:
      rt_.Fail("'{}' object is not callable", TypeName(callee));
  }
}

}  // namespace attune::jinja
