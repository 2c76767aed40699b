// The parts of an expression that stand for themselves: literals, names, brackets, subscripts, calls,
// filters, tests; and assignment targets.
#include "base/error.h"
#include "text/jinja_expression_parser.h"
#include "text/jinja_methods.h"

namespace attune::jinja {

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
      if (call->star || call->double_star || !call->named.empty()) Fail("invalid syntax for function call expression");
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
                        type == TokenType::kString || type == TokenType::kInteger || type == TokenType::kFloat ||
                        AtOperator("[") || AtOperator("{");
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
