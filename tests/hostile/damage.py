"""Damage to files: each function gives an action that run.py calls in a fresh copy of the base folder.

Cases name their damage before there is a copy, so nothing here touches a file until the action is called. Paths are
relative to the copy; the store of runs, the cache and the hub's folder lie beside it (STORE, CACHE, HUB).
"""
import ctypes
import functools
import json
import os
import shutil
import struct
import sys

STORE, CACHE, HUB = '../runs.sqlite', '../cache', '../hf'

sys.setrecursionlimit(100000)  # some cases write values nested that deep


def read(path):
    with open(path, 'rb') as file:
        return file.read()


def read_text(path):
    with open(path, encoding='utf-8') as file:
        return file.read()


def write(path, data):
    if isinstance(data, str):
        data = data.encode('utf-8', 'surrogateescape')
    with open(path, 'wb') as file:
        file.write(data)


def nest(count, begin='[', end=']', middle=''):
    return begin * count + middle + end * count


def nothing():
    pass


def both(*actions):
    def act():
        for action in actions:
            action()
    return act


# Whole files.

def text(path, data):
    return lambda: write(path, data)


def cut(path, length):
    """The first `length` bytes; a negative length is counted from the end."""
    return lambda: write(path, read(path)[:length])


def cut_half(path):
    def act():
        data = read(path)
        write(path, data[:len(data) // 2])
    return act


def at(path, offset, data):
    """Other bytes at an offset; a negative one is counted from the end."""
    def act():
        changed = bytearray(read(path))
        begin = offset if offset >= 0 else len(changed) + offset
        changed[begin:begin + len(data)] = data
        write(path, bytes(changed))
    return act


def replace(path, old, new):
    def act():
        data = read(path)
        assert old in data, (path, old)
        write(path, data.replace(old, new, 1))
    return act


def remove(path):
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    else:
        os.remove(path)


def gone(path):
    return lambda: remove(path)


def move(path, to):
    return lambda: shutil.move(path, to)


def rename(path, to):
    return lambda: os.rename(path, to)


def copy_folder(path, to):
    return lambda: shutil.copytree(path, to, symlinks=True)


def folder(path):
    def act():
        os.remove(path)
        os.mkdir(path)
    return act


def fifo(path):
    def act():
        os.remove(path)
        os.mkfifo(path)
    return act


def link(path, to):
    def act():
        if os.path.lexists(path):
            os.remove(path)
        os.symlink(to, path)
    return act


# JSON files; a change edits the value in place, or returns another.

def change_json(path, change):
    def act():
        value = json.loads(read(path))
        other = change(value)
        write(path, json.dumps(value if other is None else other))
    return act


def set_key(path, keys, value):
    def change(root):
        for key in keys[:-1]:
            root = root[key]
        root[keys[-1]] = value
    return change_json(path, change)


def delete_key(path, keys):
    def change(root):
        for key in keys[:-1]:
            root = root[key]
        del root[keys[-1]]
    return change_json(path, change)


def leaves(value, path=()):
    """The paths of all that an object holds, its inner objects among them."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from leaves(inner, path + (key,))
    yield path


# safetensors files: a header and the bytes after it.

def read_tensors(path):
    raw = read(path)
    length = struct.unpack('<Q', raw[:8])[0]
    return json.loads(raw[8:8 + length]), raw[8 + length:]


def write_tensors(path, header, data):
    head = header if isinstance(header, str) else json.dumps(header)
    head = head.encode()
    write(path, struct.pack('<Q', len(head)) + head + data)


def change_tensors(path, change):
    """`change(header, data)` edits the header in place, or returns both anew."""
    def act():
        header, data = read_tensors(path)
        header, data = change(header, data) or (header, data)
        write_tensors(path, header, data)
    return act


def fill_tensors(path, four_bytes):
    return change_tensors(path, lambda header, data: (header, four_bytes * (len(data) // 4)))


def set_header(path, header):
    return lambda: write_tensors(path, header, read_tensors(path)[1])


# The manifest of a checkpoint, made right again after a file of it was damaged, so that the damage is read.

class Hash128(ctypes.Structure):
    _fields_ = [('low', ctypes.c_uint64), ('high', ctypes.c_uint64)]


@functools.lru_cache(None)
def hash_function():
    """Of the library that the program itself is linked with."""
    function = ctypes.CDLL('libxxhash.so.0').XXH3_128bits
    function.restype = Hash128
    function.argtypes = [ctypes.c_char_p, ctypes.c_size_t]
    return function


def hash128(data):
    found = hash_function()(data, len(data))
    return f'{found.high:016x}{found.low:016x}'


def reseal(checkpoint):
    def act():
        manifest = json.loads(read(checkpoint + '/manifest.json'))
        for entry in manifest['files']:
            path = checkpoint + '/' + entry['path']
            if os.path.isfile(path):
                data = read(path)
                entry['bytes'] = len(data)
                entry['xxh3_128'] = hash128(data)
        write(checkpoint + '/manifest.json', json.dumps(manifest))
    return act
