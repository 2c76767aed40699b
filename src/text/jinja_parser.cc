#include "text/jinja_parser.h"

#include <initializer_list>

#include "base/error.h"
#include "text/jinja_expression_parser.h"
#include "text/unicode.h"

namespace attune::jinja {
namespace {

class StatementParser : ExpressionParser {
 public:
  explicit StatementParser(Template* t) : ExpressionParser(t) {
    template_.known = {Intern("loop"), Intern("caller"), Intern("kwargs"), Intern("varargs")};
  }

  void Run() { template_.body = ParseBody({}); }

 private:
  using Names = std::initializer_list<std::string_view>;

  Stmt* New(Stmt::Kind kind, uint32_t line) {
    Stmt& stmt = template_.stmts.emplace_back();
    stmt.kind = kind;
    stmt.line = line;
    return &stmt;
  }

  bool AtAny(Names names) const {
    for (const std::string_view name : names)
      if (AtName(name)) return true;
    return false;
  }

  void ExpectBlockEnd() {
    if (Current().type != TokenType::kBlockEnd) Fail("expected the end of the statement, '%}'");
    Next();
  }

  // Statements up to a tag named in `ends`, whose name is left as the current token.
  Body ParseBody(Names ends) {
    const Nesting nesting(this);
    Body body;
    while (Current().type != TokenType::kEnd) {
      const Token& token = Next();
      if (token.type == TokenType::kText) {
        Stmt* text = New(Stmt::Kind::kText, token.line);
        text->text = token.text;
        body.push_back(text);
      } else if (token.type == TokenType::kExprBegin) {
        Stmt* print = New(Stmt::Kind::kPrint, token.line);
        print->expr = ParseTuple(true);
        if (Current().type != TokenType::kExprEnd) Fail("expected the end of the print statement, '}}'");
        Next();
        body.push_back(print);
      } else {
        if (AtAny(ends)) return body;
        ParseStatement(token.line, &body);
        ExpectBlockEnd();
      }
    }
    if (ends.size() > 0)
      Fail("Unexpected end of template: a block is not closed, '" + std::string(*(ends.end() - 1)) + "' is missing");
    return body;
  }

  // The body of a tag whose head has been read, and its end tag's name.
  Body ParseBlock(Names ends) {
    SkipOperator(":");
    ExpectBlockEnd();
    return ParseBody(ends);
  }

  Body ParseBlockTo(std::string_view end) {
    Body body = ParseBlock({end});
    ExpectName(end);
    return body;
  }

  void ParseStatement(uint32_t line, Body* out) {
    if (Current().type != TokenType::kName) Fail("tag name expected");
    const std::string_view tag = Current().text;
    if (tag == "print") return ParsePrint(line, out);
    out->push_back(ParseTag(tag, line));
  }

  Stmt* ParseTag(std::string_view tag, uint32_t line) {
    if (tag == "if") return ParseIf(line);
    if (tag == "for") return ParseFor(line);
    if (tag == "set") return ParseSet(line);
    if (tag == "macro") return ParseMacro(line);
    if (tag == "generation") return ParseGeneration(line);
    if (tag == "call") return ParseCall(line);
    if (tag == "filter") return ParseFilterBlock(line);
    if (tag == "with") return ParseWith(line);
    if (tag == "block") return ParseNamedBlock(line);
    if (tag == "break" || tag == "continue") {
      if (loops_ == 0) Fail("'" + std::string(tag) + "' outside a loop");
      Next();
      return New(tag == "break" ? Stmt::Kind::kBreak : Stmt::Kind::kContinue, line);
    }
    for (const std::string_view refused : {"include", "import", "from", "extends", "autoescape"})
      if (tag == refused) return ParseRefused(line);
    Fail("Encountered unknown tag '" + std::string(tag) + "'.");
  }

  void ParsePrint(uint32_t line, Body* out) {
    Next();
    while (Current().type != TokenType::kBlockEnd) {
      Stmt* print = New(Stmt::Kind::kPrint, line);
      print->expr = ParseExpression();
      out->push_back(print);
      if (Current().type != TokenType::kBlockEnd) ExpectOperator(",");
    }
  }

  Stmt* ParseIf(uint32_t line) {
    Stmt* stmt = New(Stmt::Kind::kIf, line);
    Next();
    while (true) {
      Expr* condition = ParseTuple(false);
      stmt->branches.push_back({condition, ParseBlock({"elif", "else", "endif"})});
      if (SkipName("elif")) continue;
      if (SkipName("else")) stmt->branches.push_back({nullptr, ParseBlock({"endif"})});
      ExpectName("endif");
      return stmt;
    }
  }

  Stmt* ParseFor(uint32_t line) {
    Stmt* stmt = New(Stmt::Kind::kFor, line);
    Next();
    stmt->target = ParseTarget(false, "in");
    RefuseLoopTarget(*stmt->target);
    ExpectName("in");
    stmt->expr = ParseTuple(false, "recursive");
    if (SkipName("if")) stmt->condition = ParseExpression();
    stmt->recursive = SkipName("recursive");
    ++loops_;
    stmt->body = ParseBlock({"else", "endfor"});
    --loops_;
    if (SkipName("else")) stmt->otherwise = ParseBlock({"endfor"});
    ExpectName("endfor");
    return stmt;
  }

  void RefuseLoopTarget(const Expr& target) {
    if (target.kind == Expr::Kind::kName && target.name == template_.known.loop)
      Fail("Can't assign to special loop variable in for-loop target");
    for (const Expr* item : target.items) RefuseLoopTarget(*item);
  }

  Stmt* ParseSet(uint32_t line) {
    Stmt* stmt = New(Stmt::Kind::kSet, line);
    Next();
    stmt->target = ParseTarget(true);
    if (SkipOperator("=")) {
      stmt->expr = ParseTuple(true);
      return stmt;
    }
    stmt->kind = Stmt::Kind::kSetBlock;
    stmt->expr = ParseFilterChain(nullptr, false);
    stmt->body = ParseBlockTo("endset");
    return stmt;
  }

  Stmt* ParseWith(uint32_t line) {
    Stmt* stmt = New(Stmt::Kind::kWith, line);
    Next();
    while (Current().type != TokenType::kBlockEnd) {
      if (!stmt->assignments.empty()) ExpectOperator(",");
      Expr* target = ParseTarget(false);
      ExpectOperator("=");
      stmt->assignments.push_back({target, ParseExpression()});
    }
    stmt->body = ParseBlockTo("endwith");
    return stmt;
  }

  void ParseSignature(Macro* macro) {
    ExpectOperator("(");
    while (!AtOperator(")")) {
      if (!macro->parameters.empty()) ExpectOperator(",");
      const Expr* name = ParseNameTarget();
      Expr* fallback = nullptr;
      if (SkipOperator("=")) {
        fallback = ParseExpression();
      } else if (!macro->parameters.empty() && macro->parameters.back().fallback) {
        Fail("non-default argument follows default argument");
      }
      for (const Macro::Parameter& other : macro->parameters)
        if (other.id == name->name) Fail("two arguments have the same name");
      macro->parameters.push_back({name->name, template_.names[name->name], fallback});
    }
    ExpectOperator(")");
  }

  // A macro's body is a function: it cannot break out of a loop around it.
  void ParseMacroBody(Macro* macro, std::string_view end) {
    const int loops = loops_;
    loops_ = 0;
    const size_t first = template_.exprs.size();
    macro->body = ParseBlockTo(end);
    loops_ = loops;
    for (size_t i = first; i < template_.exprs.size(); ++i) {
      const Expr& expr = template_.exprs[i];
      if (expr.kind != Expr::Kind::kName) continue;
      macro->uses_caller |= expr.name == template_.known.caller;
      macro->uses_kwargs |= expr.name == template_.known.kwargs;
      macro->uses_varargs |= expr.name == template_.known.varargs;
    }
    for (const Macro::Parameter& parameter : macro->parameters) {
      if (parameter.id == template_.known.caller) macro->uses_caller = false;
      if (parameter.id == template_.known.kwargs) macro->uses_kwargs = false;
      if (parameter.id == template_.known.varargs) macro->uses_varargs = false;
    }
  }

  Stmt* NewMacro(Stmt::Kind kind, uint32_t line) {
    Stmt* stmt = New(kind, line);
    stmt->macro = &template_.macros.emplace_back();
    stmt->macro->line = line;
    return stmt;
  }

  Stmt* ParseMacro(uint32_t line) {
    Stmt* stmt = NewMacro(Stmt::Kind::kMacro, line);
    Next();
    stmt->target = ParseNameTarget();
    stmt->macro->name = template_.names[stmt->target->name];
    ParseSignature(stmt->macro);
    ParseMacroBody(stmt->macro, "endmacro");
    return stmt;
  }

  Stmt* ParseCall(uint32_t line) {
    Stmt* stmt = NewMacro(Stmt::Kind::kCall, line);
    Next();
    stmt->macro->name = "caller";
    if (AtOperator("(")) ParseSignature(stmt->macro);
    stmt->expr = ParseExpression();
    if (stmt->expr->kind != Expr::Kind::kCall) Fail("expected call");
    ParseMacroBody(stmt->macro, "endcall");
    return stmt;
  }

  Stmt* ParseGeneration(uint32_t line) {
    Stmt* stmt = NewMacro(Stmt::Kind::kGeneration, line);
    Next();
    ParseMacroBody(stmt->macro, "endgeneration");
    template_.has_generation = true;
    return stmt;
  }

  Stmt* ParseFilterBlock(uint32_t line) {
    Stmt* stmt = New(Stmt::Kind::kFilter, line);
    Next();
    stmt->expr = ParseFilterChain(nullptr, true);
    stmt->body = ParseBlockTo("endfilter");
    return stmt;
  }

  Stmt* ParseNamedBlock(uint32_t line) {
    Stmt* stmt = New(Stmt::Kind::kBlock, line);
    Next();
    const std::string_view name = ExpectAnyName();
    stmt->scoped = SkipName("scoped");
    SkipName("required");
    const int loops = loops_;
    loops_ = 0;
    stmt->body = ParseBlockTo("endblock");
    loops_ = loops;
    SkipName(name);
    return stmt;
  }

  Stmt* ParseRefused(uint32_t line) {
    Stmt* stmt = New(Stmt::Kind::kRefused, line);
    stmt->text = Next().text;
    while (Current().type != TokenType::kBlockEnd && Current().type != TokenType::kEnd) Next();
    return stmt;
  }

  int loops_ = 0;  // loops open within the innermost function
};

}  // namespace

std::unique_ptr<Template> ParseTemplate(std::string_view source, std::string where) {
  if (!IsValidUtf8(source)) BadInput("{}: the chat template is not valid UTF-8", where);
  if (source.size() > (size_t{16} << 20)) BadInput("{}: the chat template is larger than 16 MiB", where);
  auto parsed = std::make_unique<Template>();
  parsed->source = NormalizeTemplate(source);
  parsed->where = std::move(where);
  StatementParser(parsed.get()).Run();
  return parsed;
}

}  // namespace attune::jinja
