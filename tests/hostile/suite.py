"""The list of cases, and what is done to every file of a kind, so that each cases_*.py names only what is its own.

A case is a group, a name, a damage (damage.py) and the commands that are run after it (commands.py).
"""
import os

import damage as d

# In place of a whole JSON or YAML file.
DOCUMENTS = ['null', '[]', '{}', '3', '"x"', 'true', d.nest(100000), d.nest(20000, '{"a":', '}'), '1e999',
             '{"a":1,"a":2}', '[' + '1,' * 300000 + '1]']

# In place of one value.
VALUES = [None, -1, 0, 1 << 62, -(1 << 63), (1 << 64) - 1, 1e308, 'x', [], {}, True, 0.5, [1, 2, 3],
          '\xff\u0000\n' * 50]


class Suite:
    """`base` is the folder that copies are made of: some cases follow from what its files hold."""

    def __init__(self, base):
        self.base = base
        self.cases = []

    def case(self, group, name, damage, commands):
        self.cases.append((group, name, damage, commands))

    def any_file(self, group, path, commands, document=True):
        """What any file may suffer; more where it is a document in JSON or YAML."""
        def case(name, damage, count):
            self.case(group, f'{path}:{name}', damage, commands[:count])
        case('empty', d.text(path, b''), None)
        case('cut-1', d.cut(path, -1), 2)
        case('cut-half', d.cut_half(path), None)
        case('folder', d.folder(path), None)
        case('link-to-itself', d.link(path, os.path.basename(path)), 3)
        case('link-to-nothing', d.link(path, 'nowhere'), 3)
        case('fifo', d.fifo(path), 2)
        case('gone', d.gone(path), 3)
        case('not-readable-bytes', d.text(path, bytes(range(256)) * 40), 3)
        if not document:
            return
        case('bom', lambda: d.write(path, b'\xef\xbb\xbf' + d.read(path)), 3)
        case('utf16', lambda: d.write(path, d.read(path).decode().encode('utf-16')), 2)
        case('crlf', lambda: d.write(path, d.read(path).replace(b'\n', b'\r\n')), 2)
        for content in DOCUMENTS:
            case(content[:14], d.text(path, content), 3)

    def values(self, group, path, keys, commands, values=None):
        """Each key, or path of keys, with each value."""
        for key in keys:
            key = key if isinstance(key, tuple) else (key,)
            for value in values or VALUES:
                name = f'{path}:{".".join(map(str, key))}={str(value)[:20]!r}'
                self.case(group, name, d.set_key(path, key, value), commands)
