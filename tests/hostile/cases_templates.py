"""Hostile chat templates: a template is a program that came with a model; it may loop, grow, nest or ask for files."""
import commands as c
import damage as d

TEMPLATE = 'model/chat_template.jinja'

LOOPS_AND_GROWTH = [
    '{% for i in range(10000000000) %}x{% endfor %}',
    '{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}',
    "{{ 'a' * 10000000000 }}",
    "{% set x = 'a' %}{% for i in range(60) %}{% set x = x + x %}{% endfor %}{{ x }}",
    "{% set ns = namespace(x='a') %}{% for i in range(60) %}{% set ns.x = ns.x + ns.x %}{% endfor %}{{ ns.x }}",
    '{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}',
]
NUMBERS_AND_INDICES = [
    '{{ 1 / 0 }}',
    '{{ 1 % 0 }}',
    '{{ 1 // 0 }}',
    '{{ 2 ** 100000 }}',
    '{{ -9223372036854775807 - 10 }}',
    '{{ 9223372036854775807 * 9 }}',
    '{{ messages[99] }}',
    '{{ messages[-99].x }}',
    '{{ messages[9223372036854775807:] }}',
    "{{ 'abc'[::0] }}",
]
SYNTAX_AND_DEPTH = [
    '{{',
    '{%',
    '{#',
    '{% if %}',
    '{% endif %}',
    '{% for %}',
    '{{ ' + d.nest(20000, '(', ')', '1') + ' }}',
    '{% if 1 %}' * 20000,
    '{{ ' + '-' * 50000 + '1 }}',
    '{{ ' + 'not ' * 50000 + '1 }}',
    '{{ a' + '.a' * 50000 + ' }}',
    '{{ ' + '1+' * 50000 + '1 }}',
]
FUNCTIONS = [
    "{{ raise_exception('no\n' * 1000) }}",
    '{{ undefined_thing.x }}',
    '{{ messages | tojson(indent=1000000000) }}',
    "{{ 'x' | indent(1000000000) }}",
    "{{ '%s' | format }}",
    "{{ 'a'.center(10000000000) }}",
    "{{ 'a'.join(messages) }}",
    '{{ messages | join(messages) }}',
    "{{ 'x'.replace('', 'yyyyyyyy' * 1000) }}",
    '{% set x = [] %}{% set _ = x.append(x) %}{{ x }}',
    '{{ strftime_now("%Y" * 100000) }}',
    '{{ strftime_now("%") }}',
    "{{ 'a'.split('') }}",
    '\xff\xfe',
    '{{ "\\ud800" }}',
    '{{ range(0, 10, 0) }}',
    '{{ messages | sort }}',
    '{{ messages | selectattr("x") | list }}',
    '{% include "x" %}',
    '{% import "/etc/passwd" as x %}',
    '{{ self }}',
    '{{ ' + '[' * 30000 + ' }}',
    '{{ "' + 'a' * 3000000 + '" }}',
    '{% generation %}',
    'x' * 5000000,
    '{{ lipsum(n=100000000) }}',
    '{{ cycler() }}',
    '{{ dict(a=1).items() }}',
    '{{ 1e308 * 10 }}',
    '{{ (1e400) | int }}',
    "{{ '9' * 100000 | int }}",
    "{{ ('9' * 100000) | int }}",
    "{{ 'a' | batch(0) | list }}",
    '{{ messages | slice(0) | list }}',
    "{{ 'abc' | truncate(-5) }}",
    "{{ 'a b' | wordwrap(0) }}",
    "{{ [1,2] | sum(start='x') }}",
    '{{ {} < {} }}',
    '{{ [] < 1 }}',
]


def add(suite):
    suite.any_file('template', TEMPLATE, c.TEMPLATE, document=False)
    for template in LOOPS_AND_GROWTH + NUMBERS_AND_INDICES + SYNTAX_AND_DEPTH + FUNCTIONS:
        is_bytes = '\xff' in template  # no valid UTF-8
        data = template.encode('latin-1') if is_bytes else template
        suite.case('template', template[:45], d.text(TEMPLATE, data), c.TEMPLATE[:2])
