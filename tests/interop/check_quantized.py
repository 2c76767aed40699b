"""Bases in 4 and 8 bits: attune's checkpoints in transformers and bitsandbytes, theirs in attune, and adapters on either."""
import json

import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, BitsAndBytesConfig

from common import attune, attune_logits, largest_difference, load_adapter, load_base, random_sequences, strictly, torch_logits

# The settings of a format: attune's, and what transformers calls them.
FORMATS = {
    "nf4": (["--bnb_4bit_quant_type", "nf4"], {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}),
    "nf4, double": (["--bnb_4bit_quant_type", "nf4", "--bnb_4bit_use_double_quant", "true"],
                    {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_use_double_quant": True}),
    "fp4": (["--bnb_4bit_quant_type", "fp4"], {"load_in_4bit": True, "bnb_4bit_quant_type": "fp4"}),
    "int8": (["--load_in_8bit", "true"], {"load_in_8bit": True}),
}

# Adapters that attune trains on a quantised base.
TRAINED = {
    "all-linear, dropout": ["--target_modules", "all-linear", "--lora_dropout", "0.1"],
    "dora": ["--target_modules", "all-linear", "--use_dora", "true"],
    "rslora, patterns": ["--target_modules", "q_proj,up_proj", "--use_rslora", "true", "--rank_pattern", "{q_proj: 3}",
                         "--alpha_pattern", "{up_proj: 20}"],
    "eva": ["--target_modules", "all-linear", "--init_lora_weights", "eva"],
    "modules_to_save lm_head": ["--target_modules", "[v_proj]", "--modules_to_save", "[lm_head]"],
    "trained tokens": ["--target_modules", "[q_proj]", "--trainable_token_indices", "[3, 14, 200]"],
    "embed_tokens": ["--target_modules", "q_proj,embed_tokens"],
}


def make_base(work):
    """A model whose rows are whole blocks: bitsandbytes 0.50's CPU kernels get others wrong. Its matrices are larger than drawn,
    so that logits are far above the tolerance."""
    folder = work / "base"
    attune("synth", "--shape", "tiny", "--torch_dtype", "float32", "--seed", 3, "--output", folder)
    tensors = load_file(folder / "model.safetensors")
    save_file({name: t * 5 if t.dim() == 2 else t for name, t in tensors.items()}, folder / "model.safetensors", {"format": "pt"})
    return folder


@torch.no_grad()
def without_int8_products(model):
    """The same weights as plain layers: bitsandbytes' own 8-bit products round activations too, which attune's do not."""
    for name, module in list(model.named_modules()):
        if type(module).__name__ != "Linear8bitLt":
            continue
        weight = module.weight.data.float() * module.weight.SCB[:, None].float() / 127
        plain = torch.nn.Linear(module.in_features, module.out_features, bias=module.bias is not None)
        plain.weight.data = weight
        if module.bias is not None:
            plain.bias.data = module.bias.data.float()
        parent = model.get_submodule(name.rpartition(".")[0])
        setattr(parent, name.rpartition(".")[2], plain)
    return model


def check_format(table, work, base, name):
    ours_settings, theirs_settings = FORMATS[name]
    sequences = random_sequences(256, [1, 7, 48, 25])
    full = torch_logits(load_base(base), sequences)
    packed = work / "attune"
    attune("quantize", "--model", base, "--output", packed, *ours_settings)
    ours = attune_logits(packed, sequences, work)
    moved = largest_difference(ours, full)
    assert moved > 0.02, f"quantising moved the logits by {moved:g} only: the comparison would prove nothing"
    loaded = without_int8_products(strictly(load_base, packed))
    table.row(f"{name}: by attune, in transformers", largest_difference(ours, torch_logits(loaded, sequences)))
    quantized = AutoModelForCausalLM.from_pretrained(base, quantization_config=BitsAndBytesConfig(**theirs_settings),
                                                     dtype=torch.float32, attn_implementation="eager").eval()
    quantized.save_pretrained(work / "theirs")
    theirs = torch_logits(without_int8_products(quantized), sequences)
    table.row(f"{name}: by transformers, in attune", largest_difference(attune_logits(work / "theirs", sequences, work), theirs))
    check_their_adapter(table, work, name, sequences)


def check_their_adapter(table, work, name, sequences):
    """An adapter that PEFT made on the base that transformers quantised."""
    torch.manual_seed(5)
    model = get_peft_model(without_int8_products(load_base(work / "theirs")),
                           LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", init_lora_weights=False, task_type="CAUSAL_LM"))
    model.save_pretrained(work / "adapter")
    table.row(f"{name}: PEFT's adapter on it, in attune",
              largest_difference(attune_logits(work / "theirs", sequences, work, work / "adapter"), torch_logits(model.eval(), sequences)))


def train(work, base, adapter, settings):
    rows = work / "rows.jsonl"
    rows.write_text("".join(json.dumps({"input_ids": ids}) + "\n"
                            for ids in random_sequences(256, [5, 17, 30, 9, 24, 12, 40, 8], seed=2)))
    attune("train", "--model", base, "--data", rows, "--output_dir", adapter, "--max_steps", 4, "--learning_rate", 1e-2, "--r", 4,
           "--lr_scheduler_type", "constant", "--per_device_train_batch_size", 2, "--method", "qlora", "--bf16", "false",
           "--save_strategy", "no", *settings)


def check_trained(table, work, base, format_name, name, settings):
    packed = work / "packed"
    attune("quantize", "--model", base, "--output", packed, *FORMATS[format_name][0])
    train(work, packed, work / "adapter", settings)
    compare(table, work, packed, f"{format_name}, {name}")


def compare(table, work, packed, name):
    sequences = random_sequences(256, [1, 7, 48, 25])
    ours = attune_logits(packed, sequences, work, work / "adapter")
    base = without_int8_products(load_base(packed))
    moved = largest_difference(ours, torch_logits(base, sequences))
    assert moved > 0.05, f"training moved the logits by {moved:g} only: the comparison would prove nothing"
    model = load_adapter(base, work / "adapter")
    table.row(f"{name}: adapter in PEFT", largest_difference(ours, torch_logits(model, sequences)))
    attune("merge", "--model", packed, "--adapter", work / "adapter", "--output", work / "merged", "--dtype", "float32")
    merged = strictly(load_base, work / "merged")
    table.row(f"{name}: merged in transformers", largest_difference(ours, torch_logits(merged, sequences)))


def check_loftq(table, work, base):
    """Trained on the base as it is quantised while it is read; the adapter belongs to the quantised one."""
    settings = ["--load_in_4bit", "true", "--bnb_4bit_quant_type", "nf4", "--bnb_4bit_use_double_quant", "true"]
    train(work, base, work / "adapter", ["--target_modules", "all-linear", "--init_lora_weights", "loftq", *settings])
    attune("quantize", "--model", base, "--output", work / "packed", *FORMATS["nf4, double"][0])
    sequences = random_sequences(256, [1, 7, 48, 25])
    ours = attune_logits(work / "packed", sequences, work, work / "adapter")
    model = load_adapter(load_base(work / "packed"), work / "adapter")
    table.row("loftq: adapter in PEFT", largest_difference(ours, torch_logits(model, sequences)))


def run(table, work):
    table.title("bases in 4 and 8 bits")
    try:
        import bitsandbytes  # noqa: F401
    except ImportError:
        table.note("quantised bases", "skipped: this Python has no bitsandbytes")
        return
    base = make_base(work)
    for i, name in enumerate(FORMATS):
        table.within(work / f"format-{i}", name, lambda folder: check_format(table, folder, base, name))
    for i, (name, settings) in enumerate(TRAINED.items()):
        for format_name in ("nf4, double", "int8"):
            table.within(work / f"trained-{i}-{format_name[:3]}", f"{format_name}, {name}",
                         lambda folder: check_trained(table, folder, base, format_name, name, settings))
    table.within(work / "loftq", "loftq", lambda folder: check_loftq(table, folder, base))
