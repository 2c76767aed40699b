// The template language itself, against what Jinja 3.1.6 with transformers' environment gives for the same
// text.
#include <gtest/gtest.h>

#include <string>
#include <utility>

#include "base/error.h"
#include "text/chat_template.h"

namespace attune::jinja_test {

using Json = nlohmann::ordered_json;

const Json kContext = Json::parse(R"({
  "s": "Hello, W\u00f6rld", "e": "", "n": null, "i": 7, "f": 2.5, "t": true, "l": [3, 1, 2, 1],
  "words": ["b", "A", "c"], "d": {"b": 1, "a": [1, {"x": "y"}], "items": "shadow"},
  "people": [{"role": "user", "n": 2}, {"role": "sys", "n": 1}, {"role": "User", "n": 3, "x": null}],
  "lines": "one\n  two\n\nfour\n", "quoted": "it's \"q\"\t\n", "big": 18446744073709551615})");

std::string Render(const std::string& text) { return ChatTemplate::Parse(text, "t").Render(kContext).text; }

std::string ErrorOf(const std::string& text) {
  try {
    return "rendered: " + Render(text);
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kBadInput);
    return error.what();
  }
}

using Cases = std::vector<std::pair<std::string, std::string>>;

void ExpectRenders(const Cases& cases) {
  for (const auto& [text, want] : cases) {
    try {
      EXPECT_EQ(Render(text), want) << text;
    } catch (const Error& error) {
      ADD_FAILURE() << text << ": " << error.what();
    }
  }
}

void ExpectFails(const Cases& cases) {
  for (const auto& [text, want] : cases) EXPECT_EQ(ErrorOf(text), want) << text.substr(0, 200);
}

TEST(Jinja, PrintsValuesAsPythonDoes) {
  ExpectRenders({
      {"{{ n }} {{ t }} {{ i }} {{ f }} {{ big }}", "None True 7 2.5 18446744073709551615"},
      {"{{ [1e16, 1e15, 0.1, 1e-5, 1.0, -0.0] }}", "[1e+16, 1000000000000000.0, 0.1, 1e-05, 1.0, -0.0]"},
      {"{{ l }} {{ d }} {{ (1,) }} {{ () }}", "[3, 1, 2, 1] {'b': 1, 'a': [1, {'x': 'y'}], 'items': 'shadow'} (1,) ()"},
      {"{{ [quoted, 'a\\'b', 'é\\u200b', none] }}", "['it\\'s \"q\"\\t\\n', \"a'b\", 'é\\u200b', None]"},
      {"{{ range(3) }} {{ d.items() }} {{ [nothing] }}|{{ nothing }}|",
       "range(0, 3) dict_items([('b', 1), ('a', [1, {'x': 'y'}]), ('items', 'shadow')]) [Undefined]||"},
  });
}

TEST(Jinja, FollowsPrecedenceAndArithmetic) {
  ExpectRenders({
      {"{{ 1 + 2 * 3 - 4 }} {{ -7 // 2 }} {{ -7 % 3 }} {{ 7 / 2 }} {{ 2 ** 3 ** 2 }} {{ -2 ** 2 }}", "3 -4 2 3.5 64 4"},
      {"{{ 1 ~ 2 + 3 if false else 'a' ~ 'b' * 2 }} {{ 'ab' * 3 }} {{ [1] * 2 }} {{ t + 1 }}", "abb ababab [1, 1] 2"},
      {"{{ 1 < 2 < 3 }} {{ 1 < 3 < 2 }} {{ 1 == 1.0 }} {{ (1, 2) == [1, 2] }} {{ nothing == nil }}",
       "True False True False True"},
      {"{{ 'a' in 'abc' }} {{ 3 not in l }} {{ 'b' in d }} {{ not t }} {{ e or 'x' }} {{ n or 0 or [] }}",
       "True False True False x []"},
      {"{{ -3|abs }} {{ l|length - 1 }} {{ 2 * 3|string }} {{ 5 is odd and 4 is even }}", "3 3 33 True"},
      {"{{ 'x' if not t else 'y' if n else 'z' }}{{ 'q' if n }}{{ 'a' 'b' }}", "zab"},
  });
}

TEST(Jinja, SlicesAndIndexesCodePoints) {
  ExpectRenders({
      {"{{ s[8] }} {{ s[-1] }} {{ s[::-1] }} {{ s[7:9] }} {{ l[::-1] }} {{ l[5:1:-2] }} {{ l[1:] }}",
       "ö d dlröW ,olleH Wö [1, 2, 1, 3] [1] [1, 2, 1]"},
      {"{{ s|length }} {{ l[99] }}|{{ range(10)[2:8:3] }} {{ d.a[1].x }} {{ d['items'] }} {{ l.0 }}",
       "12 |range(2, 8, 3) y shadow 3"},
      {"{{ s.find('W') }} {{ s.find('o', 5) }} {{ s.index('r') }} {{ s.count('l') }}", "7 -1 9 3"},
  });
}

TEST(Jinja, CallsPythonsStringMethods) {
  ExpectRenders({
      {"{{ ' a  b '.split() }} {{ 'a,b,c'.split(',', 1) }} {{ 'a,b,c'.rsplit(',', 1) }} {{ ''.split(',') }}",
       "['a', 'b'] ['a', 'b,c'] ['a,b', 'c'] ['']"},
      {"{{ 'xxaxx'.strip('x') }} {{ '\\x1c a \\xa0'.strip() }} {{ lines.splitlines() }}",
       "a a ['one', '  two', '', 'four']"},
      {"{{ s.startswith(('x', 'He')) }} {{ 'abc'.replace('', '-', 2) }} {{ '-'.join(words) }}", "True -a-bc b-A-c"},
      {"{{ 'straße ﬁ'.upper() }} {{ 'ΑΣ'.lower() }} {{ \"it's o'neil\".title() }} {{ \"it's\"|title }}",
       "STRASSE FI ας It'S O'Neil It's"},
      {"{{ '%s|%5.2f|%-4d|%x|%%' % ('a', 3.14159, 5, 255) }} {{ '{:>4}{0!r}'.format(1) if false else "
       "'{:>4}|{:,}|{x}'.format('a', 1234567, x=2) }}",
       "a| 3.14|5   |ff|%    a|1,234,567|2"},
      {"{{ '²'.isdigit() }} {{ 'a-b'.partition('-') }} {{ 'ab'.center(5, '*') }} {{ '-1'.zfill(4) }}",
       "True ('a', '-', 'b') **ab* -001"},
  });
}

TEST(Jinja, Filters) {
  ExpectRenders({
      {"{{ words|sort }} {{ words|join('-') }} {{ people|map(attribute='role')|map('lower')|unique|join(',') "
       "}}",
       "['A', 'b', 'c'] b-A-c user,sys"},
      {"{{ people|selectattr('n', 'gt', 1)|map(attribute='role')|list }} {{ l|select('odd')|list }}",
       "['user', 'User'] [3, 1, 1]"},
      {"{{ people|sort(attribute='n')|map(attribute='role')|join }} {{ l|sum }} {{ l|max }} {{ []|min }}|",
       "sysuserUser 7 3 |"},
      {"{{ d|dictsort|first }} {{ d|items|list|length }} {{ l|batch(3)|list }} {{ l|reverse|list }}",
       "('a', [1, {'x': 'y'}]) 3 [[3, 1, 2], [1]] [1, 2, 1, 3]"},
      {"{{ nothing|default('d') }} {{ n|default('d') }} {{ e|d('x', true) }} {{ nothing|length }}", "d None x 0"},
      {"{{ '42'|int }} {{ '4.7'|int }} {{ 'x'|int(5) }} {{ '0x1A'|int(base=16) }} {{ 'x'|float }}", "42 4 5 26 0.0"},
      {"{{ 2.5|round }} {{ 2.675|round(2) }} {{ 42.55|round(1, 'ceil') }} {{ 42|round }}", "2.0 2.67 42.6 42"},
      {"{{ lines|indent }}|{{ lines|indent(2, true) }}|", "one\n      two\n\n    four\n|  one\n    two\n\n  four\n|"},
      {"{{ '<a>'|e }} {{ ('<a>'|safe) + '<' }} {{ ('<a>'|safe) ~ '<' }}", "&lt;a&gt; <a>&lt; <a><"},
      {"{{ 'foo bar baz qux'|truncate(9) }} {{ s|wordcount }} {{ 'a b/é'|urlencode }}", "foo... 2 a%20b/%C3%A9"},
  });
}

TEST(Jinja, JsonIsThatOfTransformers) {
  ExpectRenders({
      {"{{ d|tojson }}", R"({"b": 1, "a": [1, {"x": "y"}], "items": "shadow"})"},
      {"{{ d|tojson(indent=2) }}",
       "{\n  \"b\": 1,\n  \"a\": [\n    1,\n    {\n      \"x\": \"y\"\n    }\n  ],\n  \"items\": "
       "\"shadow\"\n}"},
      {"{{ {'b': [], 'a': {}}|tojson(sort_keys=true, separators=(',', ':')) }}", R"({"a":{},"b":[]})"},
      {"{{ 'é<&\\x01\\x7f'|tojson }} {{ 'é😀'|tojson(ensure_ascii=true) }}",
       "\"é<&\\u0001\x7f\" \"\\u00e9\\ud83d\\ude00\""},
      {"{{ [1e20, 1e-7, 1.0, none, true, big]|tojson }} {{ {1: 2, none: 3}|tojson }}",
       R"([1e+20, 1e-07, 1.0, null, true, 18446744073709551615] {"1": 2, "null": 3})"},
  });
}

TEST(Jinja, ScopesAreThoseOfJinja) {
  ExpectRenders({
      {"{% set x = 1 %}{% for i in [1, 2] %}{% set x = x + i %}{{ x }}{% endfor %}{{ x }}", "231"},
      {"{% if t %}{% set v = 1 %}{% endif %}{{ v }}{% if n %}{% set i = 100 %}{% endif %}{{ i }}", "17"},
      {"{% set ns = namespace(x=1) %}{% for i in l %}{% set ns.x = ns.x + i %}{% endfor %}{{ ns.x }}", "8"},
      {"{% macro m() %}{{ x }}{% endmacro %}{% set x = 5 %}{{ m() }}{% for x in [1] %}{{ m() }}{% endfor %}", "55"},
      {"{% with a = 1, b = i %}{{ a }}{{ b }}{% set a = 9 %}{{ a }}{% endwith %}{{ a }}", "179"},
      {"{% set x %} {{ i }}{% set y = 1 %} {% endset %}[{{ x }}{{ y }}]", "[ 7 ]"},
      {"{% set a, b = 1, 2 %}{% set a, b = b, a %}{{ a }}{{ b }}{% for k, (v, w) in [(1, (2, 3))] %}{{ w "
       "}}{% endfor %}",
       "213"},
  });
}

TEST(Jinja, Loops) {
  ExpectRenders({
      {"{% for i in l %}{{ loop.index }}{{ loop.revindex0 }}{{ loop.last }}{{ loop.previtem }}{{ "
       "loop.nextitem }};{% "
       "endfor %}",
       "13False1;22False32;31False11;40True2;"},
      {"{% for i in l if i > 1 %}{{ i }}{{ loop.index }}/{{ loop.length }} {% endfor %}", "31/2 22/2 "},
      {"{% for i in [] %}{% else %}E{% endfor %}{% for i in [1] %}{% break %}{% else %}F{% endfor %}", "EF"},
      {"{% for i in [1, 2, 3] %}{% if i == 2 %}{% continue %}{% endif %}{{ i }}{% endfor %}", "13"},
      {"{% for x in [[1, [2]], [3]] recursive %}{{ loop.depth }}{% if x is iterable %}({{ loop(x) }}){% else "
       "%}{{ x }}{% endif %}{% endfor %}",
       "1(212(32))1(23)"},
      {"{% set g = l|select('odd') %}{{ g|list }}{{ g|list }}{% for c in 'é😀' %}[{{ c }}]{% endfor %}",
       "[3, 1, 1][][é][😀]"},
      {"{% set ns = namespace(stop=false) %}{% for i in l if not ns.stop %}{{ i }}{% set ns.stop = true %}{% "
       "endfor "
       "%}",
       "3"},
  });
}

TEST(Jinja, Macros) {
  ExpectRenders({
      {"{% macro m(a, b=a) %}[{{ a }},{{ b }}]{% endmacro %}{{ m(1) }}{{ m(b=2) }}{{ m(*[3, 4]) }}{{ "
       "m(**{'a': 5}) }}",
       "[1,1][,2][3,4][5,5]"},
      {"{% macro m(a) %}{{ varargs }}{{ kwargs }}{% endmacro %}{{ m(1, 2, x=3) }}", "(2,){'x': 3}"},
      {"{% macro m(a) %}{{ caller(a) }}{{ caller(a + 1) }}{% endmacro %}{% call(x) m(1) %}<{{ x }}>{% "
       "endcall %}",
       "<1><2>"},
      {"{% macro f(n) %}{{ n }}{% if n > 0 %}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(5) }}", "543210"},
  });
}

TEST(Jinja, WhiteSpaceIsThatOfTrimAndLstripBlocks) {
  ExpectRenders({
      {"  {% if t %}\n  a\n  {% endif %}\nb\n", "  a\nb"},
      {"  {{ i }}\n{# c #}\n x {# d #}\n", "  7\n x "},
      {"  {%+ if t %} z {% endif +%}\n w", "   z \n w"},
      {"a \n {%- if t -%} \n b {%- endif %}\n\n c", "ab\n c"},
      {"x{% raw %}\n {{ a }} {% endraw %}\ny", "x\n {{ a }} y"},
      {"{{ {'a': {}}}}{{ '}}' }}{{-1}}{{ -1 }}a\r\nb\rc\r\n", "{'a': {}}}}1-1a\nb\nc"},
  });
}

TEST(Jinja, SandboxRefuses) {
  ExpectFails({
      {"{{ l.append(1) }}", "t:1: access to attribute 'append' of 'list' object is unsafe."},
      {"{{ d.update({}) }}", "t:1: access to attribute 'update' of 'dict' object is unsafe."},
      {"{{ s.__class__.x }}", "t:1: access to attribute '__class__' of 'str' object is unsafe."},
      {"{% include 'x' %}", "t:1: 'include' is not allowed in a chat template"},
      {"{{ range(1000000) }}", "t:1: Range too big. The sandbox blocks ranges larger than MAX_RANGE (100000)."},
  });
}

TEST(Jinja, RuntimeErrorsNameLineAndCause) {
  ExpectFails({
      {"a\n{{ nothing.x }}", "t:2: 'nothing' is undefined"},
      {"{{ d.nope.x }}", "t:1: 'dict object' has no attribute 'nope'"},
      {"{{ l[9].x }}", "t:1: list object has no element 9"},
      {"{{ n.x.y }}", "t:1: 'None' has no attribute 'x'"},
      {"{{ 's' + n }}", "t:1: can only concatenate str (not \"NoneType\") to str"},
      {"{{ n + 's' }}", "t:1: unsupported operand type(s) for +: 'NoneType' and 'str'"},
      {"{{ 1 < 's' }}", "t:1: '<' not supported between instances of 'int' and 'str'"},
      {"{{ nothing|tojson }}", "t:1: Object of type Undefined is not JSON serializable"},
      {"{{ people|selectattr('x')|length }}", "t:1: object of type 'generator' has no len()"},
      {"{% for a, b in [(1, 2, 3)] %}{% endfor %}", "t:1: too many values to unpack (expected 2)"},
      {"{{ 1|nosuch }}", "t:1: No filter named 'nosuch'."},
      {"{{ 1 / 0 }}", "t:1: division by zero"},
      {"{{ 9223372036854775807 + 1 }}", "t:1: integer result does not fit in 64 bits"},
      {"{{ raise_exception('say ' ~ i) }}", "say 7"},
  });
}

TEST(Jinja, SyntaxErrorsNameLineAndCause) {
  ExpectFails({
      {"{% if t %}\nx", "t:2: Unexpected end of template: a block is not closed, 'endif' is missing"},
      {"\n{% nosuch %}", "t:2: Encountered unknown tag 'nosuch'."},
      {"{{ 'a }}", "t:1: string literal without an end"},
      {"{{ (1] }}", "t:1: unexpected ']', expected ')'"},
      {"{% break %}", "t:1: 'break' outside a loop"},
      {"{{ a b }}", "t:1: expected the end of the print statement, '}}'"},
      {"\xff", "t: the chat template is not valid UTF-8"},
  });
}

TEST(Jinja, HostileTemplatesEndInOneError) {
  const std::string deep = "t:1: nested too deeply (macros that call themselves, or values within values)";
  const std::string memory = "t:1: the template needs more memory than a rendering may take";
  const auto repeat = [](const std::string& text, int n) {
    std::string out;
    for (int i = 0; i < n; ++i) out += text;
    return out;
  };
  ExpectFails({
      {"{{ " + repeat("(", 100000) + " }}", "t:1: unexpected '}', expected ')'"},
      {"{{ " + repeat("(", 5000) + "1" + repeat(")", 5000) + " }}", "t:1: the template is nested too deeply"},
      {"{{ " + repeat("not ", 5000) + "1 }}", "t:1: the template is nested too deeply"},
      {repeat("{% if 1 %}", 5000), "t:1: the template is nested too deeply"},
      {"{{ 1" + repeat(" + 1", 5000) + " }}", deep},
      {"{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", deep},
      {"{% set ns = namespace(x=[]) %}{% for i in range(9999) %}{% set ns.x = [ns.x] %}{% endfor %}{{ ns.x "
       "}}",
       deep},
      {"{% set ns = namespace() %}{% set ns.x = [ns] %}{{ ns }}", deep},
      {"{{ 'a' * 1000000000 }}", memory},
      {"{{ ('a' * 1000000)|replace('a', 'b' * 1000000) }}", memory},
      {"{% for a in range(99999) %}{{ 'a' * 9999 }}{% endfor %}", memory},
      {"{{ 'a'.center(10000000000) }}", memory},
      {"{{ '%9999999999d' % 1 }}", "t:1: the width or precision of a format is too large"},
  });
  const std::string loops =
      "{% for a in range(99999) %}{% for b in range(99999) %}{% for c in range(99999) %}{% endfor %}{% "
      "endfor %}{% "
      "endfor %}";
  EXPECT_NE(ErrorOf(loops).find("t:1: the template"), std::string::npos) << ErrorOf(loops);
}

}  // namespace attune::jinja_test
