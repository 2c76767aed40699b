// The expression half of the parser, and the token stream both halves read.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "text/jinja_ast.h"
#include "text/jinja_lexer.h"

namespace attune::jinja {

class ExpressionParser {
 public:
  explicit ExpressionParser(Template* t);

 protected:
  [[noreturn]] void Fail(const std::string& message) const;  // at the current token
  const Token& Current() const { return tokens_[at_]; }
  const Token& Next() { return tokens_[at_ + 1 < tokens_.size() ? at_++ : at_]; }
  const Token& Look() const { return tokens_[at_ + 1 < tokens_.size() ? at_ + 1 : at_]; }
  bool AtName(std::string_view name) const { return Current().IsName(name); }
  bool AtOperator(std::string_view op) const { return Current().IsOperator(op); }
  bool SkipName(std::string_view name);
  bool SkipOperator(std::string_view op);
  void ExpectName(std::string_view name);
  void ExpectOperator(std::string_view op);
  std::string_view ExpectAnyName();
  NameId Intern(std::string_view name);

  Expr* ParseExpression();  // with inline if
  Expr* ParseOr();          // without
  // Expressions separated by commas, up to the end of the tag or the name `end`.
  Expr* ParseTuple(bool with_condition, std::string_view end = {});
  Expr* ParseFilterChain(Expr* value, bool at_name);
  // What can be assigned to: a name, ns.attribute (if allowed), or a tuple of these.
  Expr* ParseTarget(bool with_namespace, std::string_view end = {});
  Expr* ParseNameTarget();

  // Counts open recursion; throws when a template nests too deeply.
  class Nesting {
   public:
    explicit Nesting(ExpressionParser* parser) : parser_(*parser) {
      if (++parser_.nesting_ > 150) parser_.Fail("the template is nested too deeply");
    }
    ~Nesting() { --parser_.nesting_; }

   private:
    ExpressionParser& parser_;
  };

  Template& template_;

 private:
  static std::string Describe(const Token& token);  // as errors name it
  Expr* New(Expr::Kind kind, uint32_t line);
  Expr* Binary(Expr::Kind kind, Op op, Expr* a, Expr* b);
  bool AtTupleEnd(std::string_view end) const;
  Expr* ParseAnd();
  Expr* ParseNot();
  Expr* ParseCompare();
  Expr* ParseSum();
  Expr* ParseConcat();
  Expr* ParseProduct();
  Expr* ParsePower();
  Expr* ParseUnary(bool with_filters);
  Expr* ParsePostfix(Expr* value);
  Expr* ParseFilters(Expr* value);
  Expr* ParsePrimary();
  Expr* ParseParentheses();
  Expr* ParseString();
  Expr* ParseNumber();
  Expr* ParseList();
  Expr* ParseDict();
  Expr* ParseSubscript(Expr* value);
  Expr* ParseSubscribed(Expr* value);
  Expr* ParseTest(Expr* value);
  void ParseArguments(Expr* call);
  Expr* ParseTargetItem(bool with_namespace);

  std::vector<Token> tokens_;
  size_t at_ = 0;
  int nesting_ = 0;
};

}  // namespace attune::jinja
