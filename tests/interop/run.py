"""All checks, one table. tests/interop/run.sh calls this with the right Python."""
import os
import pathlib
import tempfile

import check_full
import check_quantized
import check_real
import check_records
import check_small
import check_tokenizer
import check_trainer
from common import Table, finish

with tempfile.TemporaryDirectory() as folder:
    os.environ["ATTUNE_RUNS"] = f"{folder}/runs.sqlite"  # these trainings are no runs that anybody wants listed
    table = Table()
    for check in (check_small, check_full, check_quantized, check_tokenizer, check_trainer, check_records, check_real):
        work = pathlib.Path(folder) / check.__name__
        work.mkdir()
        check.run(table, work)
finish(table)
