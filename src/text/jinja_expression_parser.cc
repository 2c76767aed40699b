#include "text/jinja_expression_parser.h"

#include "base/error.h"

namespace attune::jinja {
std::string ExpressionParser::Describe(const Token& token) {
  switch (token.type) {
    case TokenType::kEnd:
      return "end of template";
    case TokenType::kExprEnd:
      return "end of print statement";
    case TokenType::kBlockEnd:
      return "end of statement block";
    case TokenType::kText:
      return "template text";
    case TokenType::kString:
      return "a string";
    default:
      return "'" + std::string(token.text) + "'";
  }
}

ExpressionParser::ExpressionParser(Template* t) : template_(*t), tokens_(Tokenize(t->source, t->where)) {}

void ExpressionParser::Fail(const std::string& message) const {
  BadInput("{}:{}: {}", template_.where, Current().line, message);
}

bool ExpressionParser::SkipName(std::string_view name) {
  if (!AtName(name)) return false;
  ++at_;
  return true;
}

bool ExpressionParser::SkipOperator(std::string_view op) {
  if (!AtOperator(op)) return false;
  ++at_;
  return true;
}

void ExpressionParser::ExpectName(std::string_view name) {
  if (!SkipName(name)) Fail("expected '" + std::string(name) + "', got " + Describe(Current()));
}

void ExpressionParser::ExpectOperator(std::string_view op) {
  if (!SkipOperator(op)) Fail("expected '" + std::string(op) + "', got " + Describe(Current()));
}

std::string_view ExpressionParser::ExpectAnyName() {
  if (Current().type != TokenType::kName) Fail("expected a name, got " + Describe(Current()));
  return Next().text;
}

NameId ExpressionParser::Intern(std::string_view name) {
  const auto [found, is_new] = template_.name_ids.emplace(name, static_cast<NameId>(template_.names.size()));
  if (is_new) template_.names.push_back(name);
  return found->second;
}

Expr* ExpressionParser::New(Expr::Kind kind, uint32_t line) {
  Expr& expr = template_.exprs.emplace_back();
  expr.kind = kind;
  expr.line = line;
  return &expr;
}

Expr* ExpressionParser::Binary(Expr::Kind kind, Op op, Expr* a, Expr* b) {
  Expr* expr = New(kind, a->line);
  expr->op = op;
  expr->a = a;
  expr->b = b;
  return expr;
}

Expr* ExpressionParser::ParseExpression() {
  const Nesting nesting(this);
  Expr* value = ParseOr();
  while (AtName("if")) {
    Expr* condition = New(Expr::Kind::kCondition, Next().line);
    condition->b = value;
    condition->a = ParseOr();
    if (SkipName("else")) condition->c = ParseExpression();
    value = condition;
  }
  return value;
}

Expr* ExpressionParser::ParseOr() {
  Expr* left = ParseAnd();
  while (SkipName("or")) left = Binary(Expr::Kind::kOr, Op::kAdd, left, ParseAnd());
  return left;
}

Expr* ExpressionParser::ParseAnd() {
  Expr* left = ParseNot();
  while (SkipName("and")) left = Binary(Expr::Kind::kAnd, Op::kAdd, left, ParseNot());
  return left;
}

Expr* ExpressionParser::ParseNot() {
  if (!AtName("not")) return ParseCompare();
  const Nesting nesting(this);
  Expr* expr = New(Expr::Kind::kNot, Next().line);
  expr->a = ParseNot();
  return expr;
}

Expr* ExpressionParser::ParseCompare() {
  static constexpr std::pair<std::string_view, Op> kOperators[] = {{"==", Op::kEq}, {"!=", Op::kNe}, {"<", Op::kLt},
                                                                   {"<=", Op::kLe}, {">", Op::kGt},  {">=", Op::kGe}};
  Expr* first = ParseSum();
  Expr* compare = nullptr;
  const auto add = [&](Op op) {
    if (!compare) {
      compare = New(Expr::Kind::kCompare, first->line);
      compare->a = first;
    }
    compare->ops.push_back(op);
    compare->items.push_back(ParseSum());
  };
  while (true) {
    bool found = false;
    for (const auto& [symbol, op] : kOperators) {
      if (found || !SkipOperator(symbol)) continue;
      add(op);
      found = true;
    }
    if (!found && SkipName("in")) {
      add(Op::kIn);
    } else if (!found && AtName("not") && Look().IsName("in")) {
      at_ += 2;
      add(Op::kNotIn);
    } else if (!found) {
      return compare ? compare : first;
    }
  }
}

Expr* ExpressionParser::ParseSum() {
  Expr* left = ParseConcat();
  while (AtOperator("+") || AtOperator("-")) {
    const Op op = Next().text == "+" ? Op::kAdd : Op::kSub;
    left = Binary(Expr::Kind::kArithmetic, op, left, ParseConcat());
  }
  return left;
}

Expr* ExpressionParser::ParseConcat() {
  Expr* first = ParseProduct();
  if (!AtOperator("~")) return first;
  Expr* concat = New(Expr::Kind::kConcat, first->line);
  concat->items.push_back(first);
  while (SkipOperator("~")) concat->items.push_back(ParseProduct());
  return concat;
}

Expr* ExpressionParser::ParseProduct() {
  Expr* left = ParsePower();
  while (AtOperator("*") || AtOperator("/") || AtOperator("//") || AtOperator("%")) {
    const std::string_view symbol = Next().text;
    const Op op = symbol == "*" ? Op::kMul : symbol == "/" ? Op::kDiv : symbol == "//" ? Op::kFloorDiv : Op::kMod;
    left = Binary(Expr::Kind::kArithmetic, op, left, ParsePower());
  }
  return left;
}

Expr* ExpressionParser::ParsePower() {
  Expr* left = ParseUnary(true);
  while (SkipOperator("**")) left = Binary(Expr::Kind::kArithmetic, Op::kPow, left, ParseUnary(true));
  return left;
}

Expr* ExpressionParser::ParseUnary(bool with_filters) {
  Expr* value;
  if (AtOperator("-") || AtOperator("+")) {
    const Nesting nesting(this);
    value = New(AtOperator("-") ? Expr::Kind::kNegate : Expr::Kind::kPlus, Current().line);
    Next();
    value->a = ParseUnary(false);
  } else {
    value = ParsePrimary();
  }
  value = ParsePostfix(value);
  return with_filters ? ParseFilters(value) : value;
}

Expr* ExpressionParser::ParsePostfix(Expr* value) {
  while (true) {
    if (AtOperator(".") || AtOperator("[")) {
      value = ParseSubscript(value);
    } else if (AtOperator("(")) {
      Expr* call = New(Expr::Kind::kCall, Current().line);
      call->a = value;
      ParseArguments(call);
      value = call;
    } else {
      return value;
    }
  }
}

Expr* ExpressionParser::ParseFilters(Expr* value) {
  while (true) {
    if (AtOperator("|")) {
      value = ParseFilterChain(value, false);
    } else if (AtName("is")) {
      value = ParseTest(value);
    } else if (AtOperator("(")) {  // the result of a filter or test may be called
      Expr* call = New(Expr::Kind::kCall, Current().line);
      call->a = value;
      ParseArguments(call);
      value = call;
    } else {
      return value;
    }
  }
}

}  // namespace attune::jinja
