"""Makes tests/data/parquet with pyarrow, once; the tests read what is kept there. python3 tests/data/make_parquet.py"""

import decimal
import os

import pyarrow as pa
import pyarrow.parquet as pq

folder = os.path.join(os.path.dirname(os.path.abspath(__file__)), "parquet")
os.makedirs(folder, exist_ok=True)


def write(name, table, **options):
    pq.write_table(table, os.path.join(folder, name), **options)


message = pa.struct([("role", pa.string()), ("content", pa.string())])
chats = [
    [{"role": "user", "content": f"Say the number {i}."}, {"role": "assistant", "content": f"It is {i}, \"as you say\".\n"}]
    for i in range(6)
]
write("chats_snappy.parquet", pa.table({"messages": pa.array(chats, pa.list_(message))}), compression="snappy", row_group_size=4)
write(
    "types_zstd.parquet",
    pa.table({
        "prompt": pa.array(["Where?", None, "Why é?"]),
        "completion": pa.array(["Here.", "There.", "So."], pa.large_string()),
        "small": pa.array([1, -128, None], pa.int8()),
        "whole": pa.array([9007199254740993, None, -1], pa.int64()),
        "unsigned": pa.array([18446744073709551615, 0, None], pa.uint64()),
        "half": pa.array([0.5, 3.0, float("nan")], pa.float32()),
        "number": pa.array([1e300, None, -0.1], pa.float64()),
        "yes": pa.array([True, False, None]),
        "ids": pa.array([[1, 2], [], None], pa.list_(pa.int32())),
        "meta": pa.array([{"a": {"b": [None, "x"]}}, None, {"a": None}],
                         pa.struct([("a", pa.struct([("b", pa.list_(pa.string()))]))])),
        "kind": pa.array(["one", "two", "one"]).dictionary_encode(),
        "price": pa.array([decimal.Decimal("1.50"), None, decimal.Decimal("-2.00")], pa.decimal128(9, 2)),
        "day": pa.array([0, 1, None], pa.date32()),
        "tags": pa.array([[("k", 1)], [], None], pa.map_(pa.string(), pa.int32())),
    }),
    compression="zstd",
)
write("empty.parquet", pa.table({"text": pa.array([], pa.string())}))
with open(os.path.join(folder, "chats_snappy.parquet"), "rb") as whole:
    with open(os.path.join(folder, "cut_short.parquet"), "wb") as cut:
        cut.write(whole.read()[:-700])
