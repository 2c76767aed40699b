"""All checks, one table. tests/interop/run.sh calls this with the right Python."""
import pathlib
import tempfile

import check_real
import check_small
from common import Table, finish

with tempfile.TemporaryDirectory() as folder:
    table = Table()
    for check in (check_small, check_real):
        work = pathlib.Path(folder) / check.__name__
        work.mkdir()
        check.run(table, work)
finish(table)
