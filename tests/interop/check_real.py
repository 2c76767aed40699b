"""SmolLM2 from its GGUF file: the exported folder in transformers, an adapter in PEFT, merged, and the same tokens."""
import os
import pathlib

from common import (ROOT, attune, attune_logits, largest_difference, load_adapter, load_base, strictly, torch_logits)
from transformers import AutoModelForCausalLM, AutoTokenizer

TEXTS = [
    'Define "absurdity".',
    "A statement or belief manifestly inconsistent with one's own opinion.",
    "  two spaces,\ttabs\n\n\nand lines  ",
    "Zürich, façade, naïve — 東京 🙂 \u200b e\u0301",
    "def f(x):\n    return x ** 2  # 1234567890\n",
    "<|im_start|>user\nHi<|im_end|>\n",
    "don't DON'T we'll 3.14 1,000 $5 a_b",
]


def find_model():
    if os.environ.get("MODEL"):
        return pathlib.Path(os.environ["MODEL"])
    name = "SmolLM2-135M-Instruct.Q4_1.gguf"
    cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME", pathlib.Path.home() / ".cache")) / "attune"
    for path in (cache / name, ROOT / "cache" / name):
        if path.exists():
            return path
    return None


def find_adapter(model, work):
    """The quickstart's, or one trained for a few steps."""
    adapter = pathlib.Path(os.environ.get("ADAPTER", ROOT / "results" / "quickstart"))
    if (adapter / "adapter_model.safetensors").exists():
        return adapter
    recipe = ROOT / "examples" / "devils-dictionary"
    attune("train", recipe / "quickstart.yaml", "--set", f"model.name_or_path={model}", "--set", f"training.output_dir={work}/a",
           "--set", f"data.train={recipe}/train.jsonl", "--set", f"data.eval={recipe}/eval.jsonl", "--set", "training.max_steps=3",
           "--set", "training.warmup_ratio=0", "--set", "training.learning_rate=1e-3")
    return work / "a"


def check_tokens(table, model, tokenizer):
    different = [text for text in TEXTS if attune("tokenize", "--model", model, "--text", text)["ids"] != tokenizer(text)["input_ids"]]
    table.same("tokenizer: ids of plain texts", not different, different[:1])
    different = []
    for text in TEXTS:
        theirs = tokenizer.apply_chat_template([{"role": "user", "content": text}], add_generation_prompt=True, return_dict=False)
        if attune("tokenize", "--model", model, "--text", text, "--chat")["ids"] != list(theirs):
            different.append(text)
    table.same("tokenizer: ids of conversations", not different, different[:1])
    different = [text for text in TEXTS if tokenizer.decode(tokenizer(text)["input_ids"]) != text]
    table.same("tokenizer: decoded again", not different, different[:1])


def run(table, work):
    table.title("SmolLM2-135M-Instruct from GGUF")
    model = find_model()
    if model is None:
        table.note("real model", "skipped: run scripts/quickstart first, or set MODEL=FILE.gguf")
        return
    state = {}

    def exported():
        attune("export", "--model", model, "--format", "safetensors", "--output", work / "hf", "--dtype", "float32")
        state["tokenizer"] = strictly(AutoTokenizer.from_pretrained, work / "hf")
        state["ids"] = [state["tokenizer"](text)["input_ids"] for text in TEXTS]
        state["ids"].append([i * 37 % 49000 for i in range(1, 300)])
        base = strictly(lambda: load_base(work / "hf"))
        theirs = torch_logits(base, state["ids"])
        table.row("exported base in transformers", largest_difference(attune_logits(model, state["ids"], work), theirs))
        table.row("exported base in attune", largest_difference(attune_logits(work / "hf", state["ids"], work), theirs))

    def adapted():
        adapter = find_adapter(model, work)
        ours = attune_logits(model, state["ids"], work, adapter)
        peft = load_adapter(load_base(work / "hf"), adapter)
        table.row("adapter in PEFT", largest_difference(ours, torch_logits(peft, state["ids"])))
        attune("merge", "--model", model, "--adapter", adapter, "--output", work / "merged", "--dtype", "float32")
        merged = strictly(lambda: AutoModelForCausalLM.from_pretrained(work / "merged", attn_implementation="eager")).eval()
        table.row("merged in transformers", largest_difference(ours, torch_logits(merged, state["ids"])))

    table.guard("exported base", exported)
    if "ids" not in state:
        return
    table.guard("tokenizer", lambda: check_tokens(table, model, state["tokenizer"]))
    table.guard("adapter", adapted)
