"""Adapters and merged models of the small fixtures: attune's files in PEFT and transformers, PEFT's files in attune."""
import json

from common import (DATA, Refused, attune, attune_logits, largest_difference, load_adapter, load_base, random_sequences,
                    strictly, torch_logits)
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

ALL_SEVEN = "q_proj,k_proj,v_proj,o_proj,gate_proj,up_proj,down_proj"

# name: base model, settings. The learning rate is high so that few steps move the logits by much.
TRAINED = {
    "all seven projections": ("llama", ["--r", "8", "--lora_alpha", "16", "--target_modules", ALL_SEVEN]),
    "all-linear, dropout": ("qwen2", ["--r", "4", "--target_modules", "all-linear", "--lora_dropout", "0.1"]),
    "rslora, patterns": ("llama", ["--r", "8", "--use_rslora", "true", "--target_modules", "q_proj,up_proj",
                                   "--rank_pattern", "{q_proj: 3}", "--alpha_pattern", "{up_proj: 20}"]),
    "regular expression": ("llama", ["--r", "4", "--target_modules", r".*layers\.1\.(self_attn\.q|mlp\.up)_proj"]),
    "layers_to_transform": ("llama", ["--r", "4", "--target_modules", "k_proj,down_proj", "--layers_to_transform", "[1]"]),
    "bias lora_only": ("llama_tied_bias", ["--r", "4", "--target_modules", "q_proj,v_proj", "--bias", "lora_only"]),
    "bias all": ("llama_tied_bias", ["--r", "4", "--target_modules", "[q_proj]", "--bias", "all"]),
    "modules_to_save lm_head": ("llama", ["--r", "4", "--target_modules", "[v_proj]", "--modules_to_save", "[lm_head]"]),
    "dora, dropout": ("llama", ["--r", "4", "--target_modules", ALL_SEVEN, "--use_dora", "true", "--lora_dropout", "0.1"]),
    "trained tokens": ("llama", ["--r", "4", "--target_modules", "[q_proj]", "--trainable_token_indices", "[3, 14, 200]"]),
    "trained tokens of a tied head": ("llama_tied_bias", ["--r", "4", "--target_modules", "[q_proj]",
                                                          "--trainable_token_indices", "[3, 14, 200]"]),
    "pissa": ("llama", ["--r", "4", "--target_modules", ALL_SEVEN, "--init_lora_weights", "pissa"]),
    "olora, rslora": ("llama", ["--r", "4", "--target_modules", "q_proj,up_proj", "--init_lora_weights", "olora",
                                "--use_rslora", "true"]),
    "eva": ("qwen2", ["--r", "4", "--target_modules", "all-linear", "--init_lora_weights", "eva"]),
    "pissa_niter_16": ("llama", ["--r", "4", "--target_modules", ALL_SEVEN, "--init_lora_weights", "pissa_niter_16"]),
    "gaussian, exclude_modules": ("mistral", ["--r", "4", "--target_modules", "all-linear", "--exclude_modules", "[down_proj]",
                                              "--init_lora_weights", "gaussian"]),
    "init false": ("qwen3", ["--r", "4", "--target_modules", ALL_SEVEN, "--init_lora_weights", "false"]),
    "embed_tokens": ("llama", ["--r", "4", "--target_modules", "q_proj,embed_tokens"]),
    "embed_tokens beside a tied head": ("llama_tied_bias", ["--r", "4", "--target_modules", "q_proj,embed_tokens"]),
    "modules_to_save embed_tokens and norm": ("llama3", ["--r", "4", "--target_modules", "[v_proj]",
                                                         "--modules_to_save", "[embed_tokens, norm]"]),
    "dora, patterns, bias all": ("llama_tied_bias", ["--r", "4", "--target_modules", ALL_SEVEN, "--use_dora", "true",
                                                     "--rank_pattern", "{q_proj: 3}", "--bias", "all"]),
    "orthogonal": ("llama", ["--r", "4", "--target_modules", "q_proj,up_proj", "--init_lora_weights", "orthogonal"]),
    "bf16 training": ("smollm3", ["--r", "5", "--target_modules", ALL_SEVEN, "--bf16", "true"]),
}

# What attune refuses so far, and the name that its line must give.
REFUSED = {"gemma3_text_all7": "gemma3_text", "phi3_fused": "phi3", "gpt2_conv1d": "gpt2"}
# What PEFT says of its own adapter on a base some of whose layers have no bias.
EXPECTED = {"llama_lora_bias": ".*lora_bias=True.*has no bias.*"}


def write_rows(path):
    """Ready tokens; every other row with its first tokens masked."""
    with open(path, "w", encoding="utf-8") as file:
        for i, ids in enumerate(random_sequences(256, [5, 17, 30, 9, 24, 12, 40, 8, 21, 33], seed=2)):
            labels = [-100] * 4 + ids[4:] if i % 2 else ids
            file.write(json.dumps({"input_ids": ids, "labels": labels}) + "\n")


def check_trained(table, work, name, base_name, settings):
    base = DATA / "models" / base_name
    adapter, merged = work / "adapter", work / "merged"
    rows = work / "rows.jsonl"
    write_rows(rows)
    if "--bf16" not in settings:
        settings = [*settings, "--bf16", "false"]
    attune("train", "--model", base, "--data", rows, "--output_dir", adapter, "--max_steps", 4, "--learning_rate", 1e-2,
           "--lr_scheduler_type", "constant", "--per_device_train_batch_size", 2, "--gradient_accumulation_steps", 2,
           "--save_strategy", "no", *settings)
    sequences = random_sequences(256, [1, 7, 48, 25])
    ours = attune_logits(base, sequences, work, adapter)
    plain = torch_logits(load_base(base), sequences)
    moved = largest_difference(ours, plain)
    assert moved > 0.05, f"training moved the logits by {moved:g} only: the comparison would prove nothing"
    model = load_adapter(load_base(base), adapter)
    theirs = torch_logits(model, sequences)
    table.row(f"{name}: adapter in PEFT", largest_difference(ours, theirs))

    # PEFT's own copy of the adapter has the same tensors, bit for bit.
    model.save_pretrained(work / "again", save_embedding_layers=False)  # attune saves no copy of what is in the base
    ours_file, again = (load_file(folder / "adapter_model.safetensors") for folder in (adapter, work / "again"))
    same = ours_file.keys() == again.keys() and all((ours_file[key] == again[key]).all() for key in again)
    table.same(f"{name}: tensors saved again by PEFT", same, sorted(ours_file.keys() ^ again.keys())[:2])

    attune("merge", "--model", base, "--adapter", adapter, "--output", merged, "--dtype", "float32")
    loaded = strictly(lambda: AutoModelForCausalLM.from_pretrained(merged, attn_implementation="eager")).eval()
    merged_theirs = torch_logits(loaded, sequences)
    table.row(f"{name}: merged in transformers", largest_difference(ours, merged_theirs))
    table.row(f"{name}: merged in attune", largest_difference(attune_logits(merged, sequences, work), merged_theirs))


def check_fixture(table, work, case):
    """An adapter that PEFT wrote."""
    folder = DATA / "lora" / case
    config = json.loads((folder / "adapter_config.json").read_text())
    base = DATA / config["base_model_name_or_path"]
    sequences = random_sequences(256, [3, 24, 40], seed=3)
    try:
        ours = attune_logits(base, sequences, work, folder)
    except Refused as refusal:
        name = REFUSED.get(case)
        said = str(refusal).replace(str(folder), "").replace(str(base), "")
        assert name is not None and name in said, str(refusal)
        table.note(f"{case}: PEFT's adapter in attune", f"refused: {name}")
        return
    theirs = torch_logits(load_adapter(load_base(base), folder, EXPECTED.get(case)), sequences)
    table.row(f"{case}: PEFT's adapter in attune", largest_difference(ours, theirs))


def check_decomposed(table, work, init):
    """An adapter that PEFT took out of the base, trained a little and saved for the base it left."""
    base = DATA / "models" / "llama"
    torch.manual_seed(5)
    model = get_peft_model(load_base(base), LoraConfig(r=4, lora_alpha=6, target_modules=["q_proj", "up_proj", "down_proj"],
                                                       init_lora_weights=init, task_type="CAUSAL_LM"))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter += 0.05 * torch.randn_like(parameter)
    folder = work / "adapter"
    model.save_pretrained(folder)
    sequences = random_sequences(256, [3, 24, 40], seed=3)
    theirs = torch_logits(model.eval(), sequences)
    table.row(f"{init}: saved by PEFT without conversion", largest_difference(attune_logits(base, sequences, work, folder), theirs))


def run(table, work):
    table.title("trained by attune")
    for i, (name, (base, settings)) in enumerate(TRAINED.items()):
        table.within(work / f"trained-{i}", name, lambda folder: check_trained(table, folder, name, base, settings))
    table.title("written by PEFT")
    for case in sorted(path.name for path in (DATA / "lora").iterdir()):
        table.within(work / case, case, lambda folder: check_fixture(table, folder, case))
    for init in ("pissa", "olora"):
        table.within(work / init, init, lambda folder: check_decomposed(table, folder, init))
