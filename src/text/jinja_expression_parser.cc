#include "text/jinja_expression_parser.h"

#include "base/error.h"
#include "text/jinja_methods.h"

namespace attune::jinja {
namespace {

std::string Describe(const Token& token) {
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

}  // namespace

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
  static constexpr std::pair<std::string_view, Op> kOperators[] = {
      {"==", Op::kEq}, {"!=", Op::kNe}, {"<", Op::kLt}, {"<=", Op::kLe}, {">", Op::kGt}, {">=", Op::kGe}};
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
    const Op op = symbol == "*"    ? Op::kMul
                  : symbol == "/"  ? Op::kDiv
                  : symbol == "//" ? Op::kFloorDiv
                                   : Op::kMod;
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

Expr* ExpressionParser::ParsePrimary() {
  const Token& token = Current();
  switch (token.type) {
    case TokenType::kName: {
      Next();
      Expr* expr = New(Expr::Kind::kConst, token.line);
      if (token.text == "true" || token.text == "True") {
        expr->constant = Value::Bool(true);
      } else if (token.text == "false" || token.text == "False") {
        expr->constant = Value::Bool(false);
      } else if (token.text == "none" || token.text == "None") {
        expr->constant = Value::None();
      } else {
        expr->kind = Expr::Kind::kName;
        expr->name = Intern(token.text);
      }
      return expr;
    }
    case TokenType::kString:
      return ParseString();
    case TokenType::kInteger:
    case TokenType::kFloat:
      return ParseNumber();
    default:
      break;
  }
  if (AtOperator("(")) return ParseParentheses();
  if (AtOperator("[")) return ParseList();
  if (AtOperator("{")) return ParseDict();
  Fail("unexpected " + Describe(token));
}

Expr* ExpressionParser::ParseParentheses() {
  const uint32_t line = Next().line;
  Expr* value = AtOperator(")") ? New(Expr::Kind::kTuple, line) : ParseTuple(true);
  ExpectOperator(")");
  return value;
}

Expr* ExpressionParser::ParseString() {
  Expr* expr = New(Expr::Kind::kConst, Current().line);
  std::string& text = template_.strings.emplace_back();
  while (Current().type == TokenType::kString) text += Unescape(Next(), template_.where);
  expr->constant = Value::Borrow(text);
  return expr;
}

Expr* ExpressionParser::ParseNumber() {
  const Token& token = Next();
  Expr* expr = New(Expr::Kind::kConst, token.line);
  std::string digits(token.text);
  std::erase(digits, '_');
  int64_t integer = 0;
  double real = 0;
  if (token.type == TokenType::kFloat && ParseFloat(digits, &real)) {
    expr->constant = Value::Float(real);
  } else if (ParseInt(digits, 0, &integer)) {
    expr->constant = Value::Int(integer);
  } else {
    BadInput("{}:{}: the number {} does not fit in 64 bits", template_.where, token.line, token.text);
  }
  return expr;
}

Expr* ExpressionParser::ParseList() {
  Expr* list = New(Expr::Kind::kList, Next().line);
  while (!AtOperator("]")) {
    if (!list->items.empty()) ExpectOperator(",");
    if (AtOperator("]")) break;
    list->items.push_back(ParseExpression());
  }
  ExpectOperator("]");
  return list;
}

Expr* ExpressionParser::ParseDict() {
  Expr* dict = New(Expr::Kind::kDict, Next().line);
  while (!AtOperator("}")) {
    if (!dict->items.empty()) ExpectOperator(",");
    if (AtOperator("}")) break;
    dict->items.push_back(ParseExpression());
    ExpectOperator(":");
    dict->items.push_back(ParseExpression());
  }
  ExpectOperator("}");
  return dict;
}

bool ExpressionParser::AtTupleEnd(std::string_view end) const {
  return Current().type == TokenType::kExprEnd || Current().type == TokenType::kBlockEnd || AtOperator(")") ||
         (!end.empty() && AtName(end));
}

Expr* ExpressionParser::ParseTuple(bool with_condition, std::string_view end) {
  const uint32_t line = Current().line;
  std::vector<Expr*> items;
  bool is_tuple = false;
  while (true) {
    if (!items.empty()) ExpectOperator(",");
    if (AtTupleEnd(end)) break;
    if (with_condition) {
      items.push_back(ParseExpression());
    } else {
      const Nesting nesting(this);
      items.push_back(ParseOr());
    }
    if (!AtOperator(",")) break;
    is_tuple = true;
  }
  if (!is_tuple && items.empty()) Fail("Expected an expression, got " + Describe(Current()));
  if (!is_tuple) return items[0];
  Expr* tuple = New(Expr::Kind::kTuple, line);
  tuple->items = std::move(items);
  return tuple;
}

Expr* ExpressionParser::ParseSubscript(Expr* value) {
  const Token& token = Next();
  if (token.text == "[") return ParseSubscribed(value);
  const Token& name = Next();
  Expr* expr = New(Expr::Kind::kAttribute, token.line);
  expr->a = value;
  if (name.type == TokenType::kName) {
    expr->constant = Value::Borrow(name.text);
    return expr;
  }
  if (name.type != TokenType::kInteger) Fail("expected name or number");
  --at_;
  expr->kind = Expr::Kind::kItem;
  expr->b = ParseNumber();
  return expr;
}

Expr* ExpressionParser::ParseSubscribed(Expr* value) {
  Expr* item = New(Expr::Kind::kItem, Current().line);
  item->a = value;
  const auto ends = [this] { return AtOperator("]") || AtOperator(","); };
  if (SkipOperator("]")) {  // Jinja takes nothing for an empty tuple
    item->b = New(Expr::Kind::kTuple, item->line);
    return item;
  }
  Expr* first = AtOperator(":") ? nullptr : ParseExpression();
  if (SkipOperator(":")) {
    item->kind = Expr::Kind::kSlice;
    item->items = {first, nullptr, nullptr};
    if (!AtOperator(":") && !ends()) item->items[1] = ParseExpression();
    if (SkipOperator(":") && !ends()) item->items[2] = ParseExpression();
    if (AtOperator(",")) Fail("a slice may not be part of a tuple");
  } else if (AtOperator(",")) {
    item->b = New(Expr::Kind::kTuple, item->line);
    item->b->items.push_back(first);
    while (SkipOperator(",")) item->b->items.push_back(ParseExpression());
  } else {
    item->b = first;
  }
  ExpectOperator("]");
  return item;
}

void ExpressionParser::ParseArguments(Expr* call) {
  const Nesting nesting(this);
  ExpectOperator("(");
  bool comma = false;
  while (!AtOperator(")")) {
    if (comma) ExpectOperator(",");
    if (comma && AtOperator(")")) break;
    comma = true;
    if (SkipOperator("**")) {
      if (call->double_star) Fail("invalid syntax for function call expression");
      call->double_star = ParseExpression();
    } else if (SkipOperator("*")) {
      if (call->star || call->double_star) Fail("invalid syntax for function call expression");
      call->star = ParseExpression();
    } else if (Current().type == TokenType::kName && Look().IsOperator("=")) {
      if (call->double_star) Fail("invalid syntax for function call expression");
      const std::string_view name = Next().text;
      for (const Expr::Named& named : call->named)
        if (named.name == name) Fail("the argument '" + std::string(name) + "' is given twice");
      Next();
      call->named.push_back({name, ParseExpression()});
    } else {
      if (call->star || call->double_star || !call->named.empty())
        Fail("invalid syntax for function call expression");
      call->items.push_back(ParseExpression());
    }
  }
  ExpectOperator(")");
}

Expr* ExpressionParser::ParseFilterChain(Expr* value, bool at_name) {
  while (at_name || SkipOperator("|")) {
    at_name = false;
    Expr* filter = New(Expr::Kind::kFilter, Current().line);
    const std::string_view name = ExpectAnyName();
    if (AtOperator(".")) Fail("there is no filter of a dotted name");
    filter->a = value;
    filter->constant = Value::Borrow(name);
    filter->function = FindFilter(name);
    if (AtOperator("(")) ParseArguments(filter);
    value = filter;
  }
  return value;
}

Expr* ExpressionParser::ParseTest(Expr* value) {
  const uint32_t line = Next().line;
  const bool negated = SkipName("not");
  Expr* test = New(Expr::Kind::kTest, line);
  const std::string_view name = ExpectAnyName();
  if (AtOperator(".")) Fail("there is no test of a dotted name");
  test->a = value;
  test->constant = Value::Borrow(name);
  test->function = FindTest(name);
  const TokenType type = Current().type;
  const bool argument = (type == TokenType::kName && !AtName("else") && !AtName("or") && !AtName("and")) ||
                        type == TokenType::kString || type == TokenType::kInteger ||
                        type == TokenType::kFloat || AtOperator("[") || AtOperator("{");
  if (AtOperator("(")) {
    ParseArguments(test);
  } else if (argument) {
    if (AtName("is")) Fail("You cannot chain multiple tests with is");
    const Nesting nesting(this);
    test->items.push_back(ParsePostfix(ParsePrimary()));
  }
  if (!negated) return test;
  Expr* negation = New(Expr::Kind::kNot, line);
  negation->a = test;
  return negation;
}

Expr* ExpressionParser::ParseNameTarget() {
  const uint32_t line = Current().line;
  const std::string_view name = ExpectAnyName();
  for (const std::string_view reserved : {"true", "false", "none", "True", "False", "None"})
    if (name == reserved) Fail("can't assign to '" + std::string(name) + "'");
  Expr* target = New(Expr::Kind::kName, line);
  target->name = Intern(name);
  return target;
}

Expr* ExpressionParser::ParseTargetItem(bool with_namespace) {
  const Nesting nesting(this);
  if (SkipOperator("(")) {
    Expr* target = ParseTarget(false);
    ExpectOperator(")");
    return target;
  }
  Expr* target = ParseNameTarget();
  if (with_namespace && SkipOperator(".")) {
    target->kind = Expr::Kind::kNsRef;
    target->constant = Value::Borrow(ExpectAnyName());
  }
  return target;
}

Expr* ExpressionParser::ParseTarget(bool with_namespace, std::string_view end) {
  const uint32_t line = Current().line;
  Expr* first = ParseTargetItem(with_namespace);
  if (!AtOperator(",")) return first;
  Expr* tuple = New(Expr::Kind::kTuple, line);
  tuple->items.push_back(first);
  while (SkipOperator(",")) {
    if (AtTupleEnd(end) || AtOperator("=")) break;
    tuple->items.push_back(ParseTargetItem(with_namespace));
  }
  return tuple;
}

}  // namespace attune::jinja
