"""Damaged Parquet files and compressed rows, two of which unpack to far more than they are."""
import gzip
import random
import struct

import commands as c
import damage as d

PARQUET, GZIP, ZSTD = 'rows.parquet', 'rows.jsonl.gz', 'x.jsonl.zst'


def some_bytes(seed):
    """A few bytes changed: with an even seed anywhere, with an odd one in the second half, where the footer is."""
    def act():
        numbers = random.Random(seed)
        data = bytearray(d.read(PARQUET))
        begin, count = (len(data) // 2, len(data) // 2) if seed % 2 else (0, len(data))
        for _ in range(numbers.choice((1, 1, 3, 20))):
            value = numbers.choice((0, 255, 127, 128, numbers.randrange(256)))
            data[begin + numbers.randrange(count)] = value
        d.write(PARQUET, bytes(data))
    return act


def bomb(begin, byte, count, end=b''):
    return lambda: d.write(GZIP, gzip.compress(begin + byte * count + end))


def add(suite):
    def case(name, damage, commands):
        suite.case('parquet', name, damage, commands)
    of_parquet, of_gzip = c.of_data(PARQUET), c.of_data(GZIP)
    suite.any_file('parquet', PARQUET, of_parquet, document=False)
    for seed in range(40):
        case(f'bytes {seed}', some_bytes(seed), of_parquet[:4] + of_parquet[7:9])
    for length in (0, 1, 1 << 30, 1 << 31, (1 << 32) - 1):
        case(f'footer {length}', d.at(PARQUET, -8, struct.pack('<I', length)), of_parquet[:2])
    case('no magic', d.at(PARQUET, -4, b'XXXX'), of_parquet[:2])
    case('encrypted', d.at(PARQUET, -4, b'PARE'), of_parquet[:2])
    suite.any_file('parquet', GZIP, of_gzip[:4] + c.commands(c.train(rows=GZIP)), document=False)
    case('gzip bomb one row', bomb(b'{"text": "', b'a', 200000000, b'"}\n'), of_gzip[:2])
    case('gzip bomb blank', bomb(b'', b'\n', 100000000), of_gzip[:2])
    for offset in (3, 9, 10, 30):
        case(f'gz byte {offset}', d.at(GZIP, offset, b'\xff'), of_gzip[:3])
    case('gz crc', d.at(GZIP, -8, b'\0\0\0\0'), of_gzip[:3])
    case('gz trailing', lambda: d.write(GZIP, d.read(GZIP) + b'junk'), of_gzip[:3])
    case('zst', d.text(ZSTD, b'\x28\xb5\x2f\xfd' + b'\xff' * 100), c.of_data(ZSTD)[:3])
