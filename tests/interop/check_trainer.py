"""The same rows and settings through transformers' Trainer and through attune: every line of the log must agree."""
import json

import torch
from peft import PeftModel
from peft.optimizers import create_loraplus_optimizer
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments

from common import DATA, attune, load_base, random_sequences

LOSS, NORM, RATE, EPOCH = 2e-5, 2e-4, 1e-12, 1e-12  # the first two relative

# name: model, settings under the names of both. What only one of them has, or has by another name, is set below.
RUNS = {
    "short last group, cosine, decay": ("llama", dict(warmup_steps=0.1, weight_decay=0.05, lr_scheduler_type="cosine")),
    "max_steps": ("llama", dict(max_steps=5, warmup_steps=2)),
    "max_steps over epochs": ("llama", dict(max_steps=11)),
    "one and a half epochs": ("llama", dict(num_train_epochs=1.5)),
    "a third of an epoch": ("llama", dict(num_train_epochs=0.3)),
    "drop_last": ("llama", dict(dataloader_drop_last=True)),
    "accumulation longer than the epoch": ("llama", dict(gradient_accumulation_steps=32)),
    "every third step": ("llama", dict(logging_steps=3, logging_first_step=True)),
    "a share of the steps": ("llama", dict(logging_steps=0.3)),
    "tied, biases, decay": ("llama_tied_bias", dict(weight_decay=0.1, max_grad_norm=0.2)),
    "no clipping, betas": ("qwen2", dict(max_grad_norm=0, adam_beta1=0.8, adam_beta2=0.95, adam_epsilon=1e-4)),
    "seeds": ("mistral", dict(seed=3, data_seed=11)),
    "sgd": ("qwen3", dict(optim="sgd", learning_rate=0.01, weight_decay=0.01)),
    "adafactor": ("smollm3", dict(optim="adafactor", weight_decay=0.01)),
    "polynomial": ("llama", dict(lr_scheduler_type="polynomial", lr_scheduler_kwargs={"lr_end": 1e-5, "power": 2.0}, warmup_steps=1)),
    "restarts": ("llama", dict(lr_scheduler_type="cosine_with_restarts", lr_scheduler_kwargs={"num_cycles": 2})),
    "inverse_sqrt": ("llama", dict(lr_scheduler_type="inverse_sqrt", warmup_steps=2)),
    "cosine_with_min_lr": ("llama", dict(lr_scheduler_type="cosine_with_min_lr", lr_scheduler_kwargs={"min_lr_rate": 0.1}, warmup_steps=0.2)),
    "warmup_stable_decay": ("llama", dict(lr_scheduler_type="warmup_stable_decay", lr_scheduler_kwargs={"num_decay_steps": 2}, warmup_steps=2)),
    "constant_with_warmup": ("llama", dict(lr_scheduler_type="constant_with_warmup", warmup_steps=3)),
    "plateau": ("llama", dict(lr_scheduler_type="reduce_lr_on_plateau", eval_strategy="steps", eval_steps=1, learning_rate=2e-3,
                              lr_scheduler_kwargs={"patience": 1, "factor": 0.5})),
    "an adapter": ("llama", dict(adapter="llama_all7_r16", weight_decay=0.05)),
    "an adapter with biases of B": ("llama_tied_bias", dict(adapter="llama_lora_bias", weight_decay=0.05)),
    "LoRA+": ("llama", dict(adapter="llama_all7_r16", loraplus_lr_ratio=8.0)),
    "LoRA+ with biases of B": ("llama_tied_bias", dict(adapter="llama_lora_bias", loraplus_lr_ratio=8.0, weight_decay=0.05)),
}
COMMON = dict(learning_rate=3e-4, num_train_epochs=3, per_device_train_batch_size=2, gradient_accumulation_steps=3, logging_steps=1,
              optim="adamw_torch", save_strategy="no")


class _Log(TrainerCallback):
    def __init__(self):
        self.lines = []

    def on_log(self, args, state, control, logs=None, **kwargs):
        if "loss" in logs or "eval_loss" in logs:
            self.lines.append({**logs, "step": state.global_step})


def rows_of(seed, lengths):
    """The first i % 4 tokens of row i carry no loss."""
    return [{"input_ids": ids, "labels": [-100] * (i % 4) + ids[i % 4:]}
            for i, ids in enumerate(random_sequences(256, lengths, seed=seed))]


def collate(rows):
    longest = max(len(row["input_ids"]) for row in rows)
    pad = lambda values, with_what: torch.tensor(values + [with_what] * (longest - len(values)))
    return {"input_ids": torch.stack([pad(r["input_ids"], 0) for r in rows]),
            "labels": torch.stack([pad(r["labels"], -100) for r in rows]),
            "attention_mask": torch.stack([pad([1] * len(r["input_ids"]), 0) for r in rows])}


def theirs(work, model, settings, train, held_out):
    settings = {**COMMON, **settings}
    adapter, ratio = settings.pop("adapter", None), settings.pop("loraplus_lr_ratio", None)
    torch.manual_seed(0)
    net = load_base(DATA / "models" / model).train()
    net.get_input_embeddings().padding_idx = None  # torch leaves its row out of the gradient, also where a row has that token
    if adapter:
        net = PeftModel.from_pretrained(net, str(DATA / "lora" / adapter), is_trainable=True)
    arguments = TrainingArguments(output_dir=str(work / "theirs"), report_to=[], disable_tqdm=True, use_cpu=True, **settings)
    log = _Log()
    optimizers = (None, None)
    if ratio:
        optimizers = (create_loraplus_optimizer(net, torch.optim.AdamW, lr=arguments.learning_rate, loraplus_lr_ratio=ratio,
                                                loraplus_weight_decay=arguments.weight_decay), None)
    trainer = Trainer(model=net, args=arguments, train_dataset=train, eval_dataset=held_out, data_collator=collate, callbacks=[log],
                      optimizers=optimizers)
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    return log.lines


def ours(work, model, settings, train, held_out):
    settings = {**COMMON, **settings}
    adapter = settings.pop("adapter", None)
    arguments = ["--model", DATA / "models" / model, "--output_dir", work / "ours", "--bf16", "false"]
    arguments += ["--adapter", DATA / "lora" / adapter] if adapter else ["--method", "full"]
    for name, rows in (("data", train), ("eval_data", held_out)):
        path = work / f"{name}.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        if name == "data" or "eval_strategy" in settings:
            arguments += ["--" + name, path]
    for key, value in settings.items():
        arguments += ["--" + key, json.dumps(value) if isinstance(value, (bool, dict)) else value]
    attune("train", *arguments)
    return [json.loads(line) for line in (work / "ours" / "metrics.jsonl").read_text().splitlines()]


def check(table, work, name, model, settings):
    train, held_out = rows_of(5, [5 + 3 * (i % 7) for i in range(19)]), rows_of(6, [9, 20, 4])
    a, b = theirs(work, model, settings, train, held_out), ours(work, model, settings, train, held_out)
    a_steps, b_steps = [line for line in a if "loss" in line], [line for line in b if "loss" in line]
    table.same(f"{name}: steps of the log", [x["step"] for x in a_steps] == [x["step"] for x in b_steps],
               f"{[x['step'] for x in a_steps]} {[x['step'] for x in b_steps]}")
    for key, tolerance in (("loss", LOSS), ("grad_norm", NORM), ("learning_rate", RATE), ("epoch", EPOCH)):
        scale = (lambda x: abs(x)) if key in ("loss", "grad_norm") else (lambda x: 1)
        worst = max(abs(x[key] - y[key]) / scale(x[key]) for x, y in zip(a_steps, b_steps))
        table.same(f"{name}: {key}", worst <= tolerance, f"{worst:g}")


def run(table, work):
    table.title("transformers' Trainer beside attune train")
    for i, (name, (model, settings)) in enumerate(RUNS.items()):
        table.within(work / str(i), name, lambda folder: check(table, folder, name, model, settings))
