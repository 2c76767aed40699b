"""Damaged GGUF files: each length, type, count and offset of a small model's file, one at a time."""
import json
import os
import struct

import commands as c
import damage as d

MODEL = 'm.gguf'
WIDTHS = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
FLOAT, TEXT, ARRAY = 6, 8, 9
INTEGERS = (4, 5)


def u32(value):
    return struct.pack('<I', value)


def u64(value):
    return struct.pack('<Q', value)


class Layout:
    """Where a file keeps what: offsets of its keys and tensors."""

    def __init__(self, data):
        self.data, self.offset = data, 4
        _, tensors, keys = self.take('<IQQ')
        self.keys = {}  # name: offsets of the entry, its type and its value, and the type
        for _ in range(keys):
            entry, name = self.offset, self.take_text()
            type_at, kind = self.offset, self.take('<I')[0]
            self.keys[name] = (entry, type_at, self.offset, kind)
            self.skip(kind)
        self.tensors = {}  # name: offsets of its count of dimensions, its type and its place
        for _ in range(tensors):
            name = self.take_text()
            dimensions_at, dimensions = self.offset, self.take('<I')[0]
            self.offset += 8 * dimensions
            self.tensors[name] = (dimensions_at, self.offset, self.offset + 4)
            self.offset += 12
        self.end = self.offset

    def take(self, form):
        values = struct.unpack_from(form, self.data, self.offset)
        self.offset += struct.calcsize(form)
        return values

    def take_text(self):
        length = self.take('<Q')[0]
        self.offset += length
        return self.data[self.offset - length:self.offset].decode()

    def skip(self, kind):
        if kind == TEXT:
            self.take_text()
        elif kind == ARRAY:
            inner, count = self.take('<IQ')
            for _ in range(count):
                self.skip(inner)
        else:
            self.offset += WIDTHS[kind]


def write_rows():
    """The file has no tokenizer to speak of: rows are ids."""
    d.write('ids.jsonl', ''.join(json.dumps({'input_ids': [1, 2, 3, 4, i]}) + '\n' for i in range(6)))


def add(suite):
    layout = Layout(d.read(os.path.join(suite.base, MODEL)))

    def case(name, damage, commands=c.GGUF_USUAL):
        suite.case('gguf', name, d.both(write_rows, damage), commands)
    add_whole(case, layout)
    for name, place in layout.keys.items():
        add_key(case, name, *place)
    for name in list(layout.tensors)[:6]:
        add_tensor(case, name, *layout.tensors[name])
    add_contents(case, layout)


def add_whole(case, layout):
    size, end = len(layout.data), layout.end
    for length in (0, 3, 4, 8, 23, 24, 25, 100, 500, end - 1, end, end + 31, size // 2, size - 1):
        case(f'cut {length}', d.cut(MODEL, length), c.GGUF)
    case('folder', d.folder(MODEL))
    case('empty', d.text(MODEL, b''))
    case('link', d.link(MODEL, MODEL))
    case('gone', d.gone(MODEL), c.GGUF)
    for version in (0, 1, 4, 0x03000000, (1 << 32) - 1):
        case(f'version {version}', d.at(MODEL, 4, u32(version)))
    for count in (0, 1, 1 << 20, 1 << 40, 1 << 63, (1 << 64) - 1):
        case(f'tensors {count}', d.at(MODEL, 8, u64(count)))
        case(f'keys {count}', d.at(MODEL, 16, u64(count)))


def add_key(case, name, entry_at, type_at, value_at, kind):
    few = c.GGUF_USUAL
    case(f'{name} key length', d.at(MODEL, entry_at, u64((1 << 64) - 8)), few[:1])
    for other in (8, 9, 13, 99, 12, 0):
        case(f'{name} type {other}', d.at(MODEL, type_at, u32(other)), few[:1])
    if kind in INTEGERS:
        for value in (0, 1, (1 << 32) - 1, 1 << 31, 7):
            case(f'{name} = {value}', d.at(MODEL, value_at, u32(value)))
    if kind == FLOAT:
        for value in (0.0, -1.0, float('nan'), float('inf'), 1e38, 1e-38):
            case(f'{name} = {value}', d.at(MODEL, value_at, struct.pack('<f', value)))
    if kind == TEXT:
        for length in ((1 << 64) - 1, 1 << 40, 0):
            case(f'{name} length {length}', d.at(MODEL, value_at, u64(length)), few[:2])
    if kind == ARRAY:
        for count in ((1 << 64) - 1, 1 << 40, 0, 1 << 61):
            case(f'{name} array {count}', d.at(MODEL, value_at + 4, u64(count)), few[:2])
        case(f'{name} array of arrays', d.at(MODEL, value_at, u32(ARRAY)), few[:2])


def add_tensor(case, name, dimensions_at, type_at, place_at):
    for count in (0, 5, (1 << 32) - 1, 1):
        case(f'{name} dims {count}', d.at(MODEL, dimensions_at, u32(count)))
    for size in (0, 1, 1 << 62, (1 << 64) - 1, 1 << 32, 33):
        case(f'{name} dim0 {size}', d.at(MODEL, dimensions_at + 4, u64(size)))
    for kind in (4, 5, 16, 31, 99, (1 << 32) - 1, 0):
        case(f'{name} type {kind}', d.at(MODEL, type_at, u32(kind)))
    for place in (1, 32, 1 << 62, (1 << 64) - 32, 1 << 40):
        case(f'{name} offset {place}', d.at(MODEL, place_at, u64(place)))


def add_contents(case, layout):
    data, begin = layout.data, layout.end + 32
    case('same name', d.text(MODEL, data.replace(b'blk.0.attn_q.weight', b'blk.0.attn_k.weight')))
    case('nan blocks', d.text(MODEL, data[:-40000] + b'\xff' * 40000), c.GGUF)
    case('all ff', d.text(MODEL, data[:begin] + b'\xff' * (len(data) - begin)), c.GGUF)
    case('name bytes', d.text(MODEL, data.replace(b'blk.0.attn_q', b'\xff\n\x1b[2J\x00attn')))
