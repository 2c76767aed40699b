// Walks a parsed template once and produces its text. Variables live where Jinja's compiler would put them: a
// loop, macro, with, call, filter or set block opens a scope; `set` writes to the innermost one; an if does
// not open one.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "text/jinja_ast.h"
#include "text/jinja_runtime.h"

namespace attune::jinja {

struct Scope {
  struct Variable {
    NameId id;
    Value value;
  };
  Scope* parent = nullptr;
  Variable* variables = nullptr;
  uint32_t size = 0, capacity = 0;
};

// The `loop` of a for statement. Items pass the loop's own `if` one at a time, as late as possible: the
// condition may depend on what the body has done.
struct Loop {
  const Stmt* stmt;
  Scope* outer;
  const Value* items;
  size_t size, next = 0;
  bool filtered;  // items have yet to pass the condition
  int64_t index0 = -1, length = -1;
  int depth0 = 0;
  bool has_after = false;
  Value before, current, after;
  Value changed;  // the arguments of the last loop.changed()
};

class Interpreter {
 public:
  Interpreter(const Template& t, const Variables& variables, const std::tm* now);

  // Renders the whole template. Throws Error{kBadInput}.
  void Run();

  std::string& output() { return root_; }
  std::vector<std::pair<size_t, size_t>>& spans() { return spans_; }

  Value Call(const Value& callee, const Args& args);
  bool Advance(Loop* loop, Value* item);  // the next item, false at the end
  void Exhaust(Loop* loop);               // lets all remaining items pass the condition now

 private:
  enum class Flow : uint8_t { kNext, kBreak, kContinue };

  // Statements (jinja_interpreter.cc).
  Flow Exec(const Body& body);
  Flow ExecStmt(const Stmt& stmt);
  Flow ExecFor(const Stmt& stmt, const Value& iterable, int depth);
  Flow ExecSetBlock(const Stmt& stmt);
  Flow ExecFilter(const Stmt& stmt);
  Flow ExecWith(const Stmt& stmt);
  Flow ExecBlock(const Stmt& stmt);
  void ExecCall(const Stmt& stmt);
  void ExecGeneration(const Stmt& stmt);
  void Print(const Value& value);
  void Assign(const Expr& target, const Value& value);
  void AssignTuple(const Expr& target, const Value& value);
  void AssignAttribute(const Expr& target, const Value& value);
  Value CallMacro(const Callable& macro, const Args& args);
  void BindParameters(const Callable& macro, const Args& args, Scope* scope);
  Value RunRecursiveLoop(const Value& loop, const Args& args);
  Scope* NewScope(Scope* parent);
  void SetVariable(Scope* scope, NameId id, const Value& value);
  Value NewCaller(const Macro& macro);

  // Expressions (jinja_eval.cc).
  Value Eval(const Expr& e);
  Value EvalNode(const Expr& e);
  Value EvalName(NameId id);
  Value EvalSlice(const Expr& e);
  Value EvalFilter(const Expr& e);
  Value EvalCompare(const Expr& e);
  Value EvalConcat(const Expr& e);
  Value EvalItems(const Expr& e);
  Value EvalDict(const Expr& e);
  Value EvalCall(const Expr& e, const Value* caller);
  Args EvalArguments(const Expr& e, const Value* caller);

  const Template& template_;
  Runtime rt_;
  Value* slots_;            // the template's own variables, by NameId
  Scope* scope_ = nullptr;  // null: the top level, whose variables are in slots_
  std::string root_;
  std::string* out_ = &root_;
  Value filter_input_;  // what the first filter of a {% filter %} or set block applies to
  std::vector<std::pair<size_t, size_t>> spans_;
};

// loop.name; kMissing when there is no such attribute.
Value LoopAttribute(Runtime& rt, const Value& loop, std::string_view name);

}  // namespace attune::jinja
