// A parsed template: statements and expressions, owned by one Template and never changed after parsing, so
// that many threads may render from it at once.
#pragma once

#include <deque>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "text/jinja_operators.h"
#include "text/jinja_value.h"

namespace attune::jinja {

using NameId = uint32_t;  // index into Template::names

struct Expr {
  enum class Kind : uint8_t {
    kConst,      // constant
    kName,       // name; as a target, the variable to set
    kNsRef,      // target only: attribute `constant` of namespace `name`
    kAttribute,  // a.constant
    kItem,       // a[b]
    kSlice,      // a[items[0]:items[1]:items[2]], null for a missing bound
    kCall,       // a(items..., named..., *star, **double_star)
    kFilter,     // a | constant(...), a is null in {% filter %} and {% set x | f %}
    kTest,       // a is constant(...)
    kNegate,
    kPlus,
    kNot,  // a
    kAnd,
    kOr,          // a, b
    kCondition,   // b if a else c; c may be null
    kConcat,      // items joined by ~
    kArithmetic,  // a op b
    kCompare,     // a ops[0] items[0] ops[1] items[1] ...
    kTuple,
    kList,  // items
    kDict,  // items: key, value, key, value ...
  };
  struct Named {
    std::string_view name;
    Expr* value;
  };

  Kind kind;
  Op op = Op::kAdd;
  uint32_t line = 0;
  NameId name = 0;
  Value constant;
  Expr *a = nullptr, *b = nullptr, *c = nullptr;
  Function function = nullptr;  // of a filter or test; null when there is none of that name
  std::vector<Expr*> items;
  std::vector<Op> ops;
  std::vector<Named> named;
  Expr *star = nullptr, *double_star = nullptr;
};

struct Stmt;
using Body = std::vector<Stmt*>;

struct Macro {
  struct Parameter {
    NameId id;
    std::string_view name;
    Expr* fallback;  // null: undefined when not given
  };
  std::string_view name;
  uint32_t line = 0;
  std::vector<Parameter> parameters;
  // Whether the body reads these; only then does a call provide or accept them.
  bool uses_caller = false, uses_kwargs = false, uses_varargs = false;
  Body body;
};

struct Stmt {
  enum class Kind : uint8_t {
    kText,        // text
    kPrint,       // expr
    kIf,          // branches; a null condition is the else
    kFor,         // target, expr, condition, recursive, body, otherwise
    kSet,         // target, expr
    kSetBlock,    // target, expr: a filter chain or null, body
    kWith,        // assignments, body
    kMacro,       // macro
    kCall,        // expr: the call; macro: its caller()
    kGeneration,  // body
    kFilter,      // expr: the filter chain, body
    kBlock,       // body, which sees only the template's own variables unless it is scoped
    kBreak,
    kContinue,
    kRefused,  // text: the tag, an error once reached
  };
  struct Branch {
    Expr* condition;
    Body body;
  };
  struct Assignment {
    Expr *target, *value;
  };

  Kind kind;
  bool recursive = false, scoped = false;
  uint32_t line = 0;
  std::string_view text;
  Expr *expr = nullptr, *target = nullptr, *condition = nullptr;
  std::vector<Branch> branches;
  std::vector<Assignment> assignments;
  Macro* macro = nullptr;
  Body body, otherwise;
};

// Names that the interpreter itself sets.
struct KnownNames {
  NameId loop, caller, kwargs, varargs;
};

struct Template {
  std::string source;               // normalised; names, texts and tags point into it
  std::string where;                // the name of the source in errors
  std::deque<std::string> strings;  // string literals with their escapes resolved
  std::deque<Expr> exprs;
  std::deque<Stmt> stmts;
  std::deque<Macro> macros;
  std::vector<std::string_view> names;
  std::unordered_map<std::string_view, NameId> name_ids;
  KnownNames known;
  Body body;
  bool has_generation = false;
};

}  // namespace attune::jinja
