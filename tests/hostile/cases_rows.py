"""Hostile rows: JSON lines, JSON, CSV, TSV and text that are damaged, badly encoded, endless or of the wrong kind."""
import json
import os
import shutil

import commands as c
import damage as d


def line(row):
    return json.dumps(row) + '\n'


def conversation(user, assistant='{"role":"assistant","content":"x"}'):
    return '{"messages": [{"role":"user","content":' + user + '},' + assistant + ']}\n'


GOOD = line({'messages': [{'role': 'user', 'content': 'a'}, {'role': 'assistant', 'content': 'b'}]})

ENCODINGS = {
    'bom': '\ufeff' + GOOD * 3,
    'crlf': GOOD.replace('\n', '\r\n') * 3,
    'invalid utf8': GOOD.encode() + b'{"text": "\xff\xfe"}\n',
}
LINES = {
    'nul': GOOD.encode() + b'{"text": "a\0b"}\n',
    'nan': GOOD + '{"text": NaN}\n',
    'nest': GOOD + d.nest(50000) + '\n',
    'nest in text': GOOD + '{"text":' + d.nest(50000) + '}\n',
    'nest objects': d.nest(20000, '{"a":', '}', '1') + '\n',
    'no newline': GOOD[:-1],
    'blank lines': '\n\n\n',
    'spaces': '  \n \t\n',
    'array': '[1,2]\n',
    'number': '3\n',
    'string': '"x"\n',
    'null': 'null\n',
    'duplicate': '{"text": "a", "text": "b"}\n',
}
IDS = {
    'ids negative': '{"input_ids": [-1, 2]}\n',
    'ids float': '{"input_ids": [1.5, 2]}\n',
    'ids huge': '{"input_ids": [9223372036854775808, 1]}\n',
    'ids 1e308': '{"input_ids": [1e308, 1]}\n',
    'ids empty': '{"input_ids": []}\n',
    'ids one': '{"input_ids": [3]}\n',
    'ids vocab': '{"input_ids": [1, 320]}\n',
    'ids nested': '{"input_ids": [[1,2]]}\n',
    'ids text': '{"input_ids": "12"}\n',
    'labels short': '{"input_ids": [1,2,3], "labels": [1]}\n',
    'labels -5': '{"input_ids": [1,2,3], "labels": [-5,2,3]}\n',
    'labels all masked': '{"input_ids": [1,2,3], "labels": [-100,-100,-100]}\n',
    'labels huge': '{"input_ids": [1,2,3], "labels": [1,2,99999999999999999999]}\n',
    'mask': '{"input_ids": [1,2,3], "attention_mask": [1,"x"]}\n',
}
MESSAGES = {
    'messages empty': '{"messages": []}\n',
    'messages null': '{"messages": null}\n',
    'messages of numbers': '{"messages": [1,2]}\n',
    'role missing': '{"messages": [{"content": "x"}]}\n',
    'role number': '{"messages": [{"role": 3, "content": "x"}]}\n',
    'content null': conversation('null', '{"role":"assistant","content":null}'),
    'content list': conversation('[{"type":"text","text":3}]', '{"role":"assistant","content":[]}'),
    'content deep': conversation(d.nest(5000)),
    'tools bad': conversation('"a"', '{"role":"assistant","content":"b"}')[:-2] + ', "tools": 3}\n',
    'tool_calls': conversation('"a"', '{"role":"assistant","tool_calls":[{"function":3}]}'),
    'only system': '{"messages": [{"role":"system","content":"a"}]}\n',
    'conversations': '{"conversations": [{"from":"human"},{"from":"gpt","value":3}]}\n',
    'prompt only': '{"prompt": "x"}\n',
    'prompt list': '{"prompt": [], "completion": []}\n',
    'prompt numbers': '{"prompt": 1, "completion": 2}\n',
    'alpaca': '{"instruction": null, "output": 3}\n',
    'unknown': '{"foo": "bar"}\n',
    'empty object': '{}\n',
}
TEXTS = {
    'long key': '{"' + 'k' * 1000000 + '": 1}\n',
    'long line': line({'text': 'word ' * 400000}),
    'many keys': '{' + ','.join(f'"k{i}":{i}' for i in range(50000)) + '}\n',
    'lone surrogate': '{"text": "\\ud800"}\n',
    'bad escape': '{"text": "\\x"}\n',
    'control': '{"text": "a\x01b"}\n',
    'two on a line': GOOD[:-1] + GOOD,
    'trailing': GOOD[:-1] + ' x\n',
    'comma': '[' + GOOD[:-1] + ',' + GOOD[:-1] + ']',
    'empty text': '{"text": ""}\n' * 3,
    'same rows': GOOD * 50,
    'combining': line({'text': 'a' + '\u0301' * 20000}),
    'rtl': line({'text': '\u202e' * 5000}),
    'keys escape': '{"\\u0000\\n\\u001b[2J": 1}\n',
    'gzip bytes': b'\x1f\x8b\x08' + GOOD.encode(),
    'utf16': GOOD.encode('utf-16'),
}
ARRAYS = {
    'array of arrays': '[[1]]',
    'object': '{"data": [{"text":"a"}]}',
    'rows then junk': '[{"text":"a"}] x',
    'unclosed': '[{"text":"a"},',
    'numbers': '[1,2,3]',
    'nested': '{"a":{"b":{"c":[]}}}',
    'comma': '[{"text":"a"},]',
    'deep in row': '[{"text":' + d.nest(50000) + '}]',
    'nan': '[{"text": NaN}]',
}
PLAIN = {
    'nul': b'\0' * 100000,
    'ff': b'\xff' * 10000,
    'one line': 'word ' * 300000,
    'no space': 'a' * 500000,
    'newlines': '\n' * 200000,
    'bom': '\ufeffsome text',
    'utf16': 'some text'.encode('utf-16'),
}


def table(separator):
    """Hostile CSV, or TSV."""
    head = f'prompt{separator}completion\n'
    row = f'a{separator}b\n'
    return {
        'header only': head,
        'unclosed': head + f'"a{separator}b\n' * 5,
        'quote in middle': head + f'a"b{separator}c"d\n',
        'more fields': head + separator.join('abcdefg') + '\n',
        'fewer': head + 'a\n',
        'same names': f'prompt{separator}prompt\n' + row,
        'empty names': f'{separator}{separator}\n' + row,
        'no names': '\n\n\n',
        'bom': '\ufeff' + head + row,
        'crlf': (head + row).replace('\n', '\r\n'),
        'cr': (head + row).replace('\n', '\r'),
        'nul': head + f'a\0{separator}b\n',
        'latin1': (head + f'\xe9{separator}b\n').encode('latin-1'),
        'utf16': (head + row).encode('utf-16'),
        '100000 columns': separator.join(f'c{i}' for i in range(100000)) + '\n' + separator * 99999 + '\n',
        'long field': head + 'x' * 3000000 + separator + 'b\n',
        'quotes': head + '"' * 100001 + '\n',
        'unknown columns': f'foo{separator}bar\n1{separator}2\n',
    }


def add(suite):
    def case(path, name, data, commands):
        suite.case('rows', f'{path}:{name}', d.text(path, data), commands)

    def any_file(path, commands, document=False):
        suite.any_file('rows', path, commands, document)
    any_file('rows.jsonl', c.of_rows('rows.jsonl'))
    for name, data in {**ENCODINGS, **LINES, **IDS, **MESSAGES, **TEXTS}.items():
        case('rows.jsonl', name, data, c.of_rows('rows.jsonl'))
        if name in ENCODINGS:
            case('rows.json', name, data, c.of_data('rows.json'))
    any_file('rows.csv', c.of_data('rows.csv'))
    for path, separator in (('rows.csv', ','), ('rows.tsv', '\t')):
        for name, data in table(separator).items():
            case(path, name, data, c.of_data(path))
    any_file('rows.tsv', c.of_data('rows.tsv')[:2])
    any_file('rows.json', c.of_data('rows.json')[:4], document=True)
    for name, data in ARRAYS.items():
        case('rows.json', name, data, c.of_data('rows.json'))
    any_file('rows.txt', c.of_rows('rows.txt'))
    for name, data in PLAIN.items():
        case('rows.txt', name, data, c.of_rows('rows.txt'))
    add_folders(suite)


def folder_with(make):
    def act():
        os.mkdir('d')
        make()
    return act


def add_folders(suite):
    def case(name, damage, path='d'):
        suite.case('rows', name, damage, c.of_rows(path))

    def copy_to(path):
        return lambda: shutil.copy('rows.jsonl', path)
    case('folder empty', d.folder('rows.jsonl'), 'rows.jsonl')
    case('folder of itself', folder_with(d.both(d.link('d/d', '.'), copy_to('d/a.jsonl'))))
    case('folder with folder.jsonl', folder_with(d.both(lambda: os.mkdir('d/a.jsonl'), copy_to('d/b.jsonl'))))
    case('folder with broken link', folder_with(d.both(d.link('d/a.jsonl', 'x'), copy_to('d/b.jsonl'))))
    case('folder with model', d.nothing, 'model')
