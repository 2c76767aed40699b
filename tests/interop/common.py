"""What the checks share: running attune, logits on both sides, and one table of the largest differences."""
import json
import logging
import os
import pathlib
import subprocess
import sys
import warnings

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM
from transformers.utils import logging as transformers_logging

transformers_logging.disable_progress_bar()
warnings.simplefilter("ignore", FutureWarning)  # what the libraries say to each other about their next versions

ROOT = pathlib.Path(__file__).resolve().parents[2]
DATA = ROOT / "tests" / "data"
ATTUNE = os.environ.get("ATTUNE", str(ROOT / "build" / "attune"))
TOLERANCE = 1e-3  # absolute, of a logit in float32


class Refused(Exception):
    """attune exited with status 2: bad input, or something it does not support."""


def attune(*arguments):
    """Runs a command with --json and returns its document."""
    command = [ATTUNE, *map(str, arguments), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if done.returncode == 2:
        raise Refused(done.stderr.strip())
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}\nexit status {done.returncode}\n{done.stderr}")
    return json.loads(done.stdout)


def attune_logits(model, sequences, work, adapter=None):
    (work / "ids.json").write_text(json.dumps(sequences))
    extra = ["--adapter", adapter] if adapter else []
    attune("logits", "--model", model, *extra, "--input_ids", work / "ids.json", "--output", work / "logits.safetensors")
    loaded = load_file(work / "logits.safetensors")
    return [loaded[f"logits.{i}"] for i in range(len(sequences))]


def load_base(folder):
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()


class _Raise(logging.Handler):
    def emit(self, record):
        raise AssertionError(f"{record.name} warned: {record.getMessage()}")


def strictly(function, *arguments, expected=None):
    """Calls the function with every warning about what it reads, of Python or of a logger, an error; but for those that match
    `expected`, a regular expression."""
    handler = _Raise(level=logging.WARNING)
    loggers = [logging.getLogger(name) for name in ("", "peft", "transformers")]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # What the libraries say to each other about their next versions is not about our files.
        warnings.simplefilter("ignore", FutureWarning)
        warnings.simplefilter("ignore", DeprecationWarning)
        # PEFT says of every adapter on one of two tied layers, its own too, that there is another way.
        warnings.filterwarnings("ignore", ".*ensure_weight_tying.*")
        if expected is not None:
            warnings.filterwarnings("ignore", expected)
        for logger in loggers:
            logger.addHandler(handler)
        try:
            return function(*arguments)
        finally:
            for logger in loggers:
                logger.removeHandler(handler)


def load_adapter(base, folder, expected=None):
    return strictly(PeftModel.from_pretrained, base, str(folder), expected=expected).eval()


@torch.no_grad()
def torch_logits(model, sequences):
    return [model(input_ids=torch.tensor([ids])).logits[0].float() for ids in sequences]


def largest_difference(ours, theirs):
    for a, b in zip(ours, theirs, strict=True):
        assert a.shape == b.shape, f"shapes differ: {tuple(a.shape)} and {tuple(b.shape)}"
        assert torch.isfinite(a).all(), "attune's logits are not finite"
    return max((a - b).abs().max().item() for a, b in zip(ours, theirs))


def random_sequences(vocabulary, lengths, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(vocabulary, (n,), generator=generator).tolist() for n in lengths]


class Table:
    """Rows of (check, largest difference); prints each as it comes."""

    def __init__(self):
        self.failed = 0
        self.rows = 0

    def title(self, text):
        print(f"\n{text}", flush=True)

    def row(self, name, difference, limit=TOLERANCE):
        bad = not difference <= limit
        self._print(name, f"{difference:.2e}", "TOO LARGE" if bad else "ok", bad)

    def same(self, name, is_same, detail=""):
        self._print(name, "", "ok" if is_same else f"DIFFERS {detail}", not is_same)

    def note(self, name, text):
        self._print(name, "", text, False)

    def guard(self, name, check):
        """Runs a check that adds rows itself; an exception becomes a failed row."""
        try:
            check()
        except Exception as error:  # noqa: BLE001: every failure belongs in the table
            message = (str(error).strip() or repr(error)).splitlines()
            self._print(name, "", f"{type(error).__name__}: {message[-1] if message else ''}"[:160], True)

    def within(self, folder, name, check):
        """The same in a new folder, which the check is given."""
        folder.mkdir()
        self.guard(name, lambda: check(folder))

    def _print(self, name, difference, verdict, bad):
        self.rows += 1
        self.failed += bad
        print(f"  {name:<52} {difference:>9}  {verdict}", flush=True)


def finish(table):
    print(f"\n{table.rows - table.failed} passed, {table.failed} failed (logits in f32, tolerance {TOLERANCE:g})")
    sys.exit(1 if table.failed else 0)
