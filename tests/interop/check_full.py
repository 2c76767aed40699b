"""Models that attune trains whole, or from nothing: results and checkpoints loaded with transformers."""
import json

from common import DATA, attune, attune_logits, largest_difference, load_base, random_sequences, strictly, torch_logits

# name: model, settings
TRAINED = {
    "llama": ("llama", []),
    "a tied head, biases": ("llama_tied_bias", ["--gradient_checkpointing", "true"]),
    "frozen embeddings": ("qwen2", ["--freeze", "[embed_tokens]"]),
    "one layer": ("mistral", ["--set", "full.train=[layers.1]"]),
    "llama3's rope": ("llama3", ["--optim", "adafactor"]),
    "qwen3": ("qwen3", ["--optim", "sgd"]),
    "smollm3": ("smollm3", ["--optim", "lion_32bit", "--learning_rate", "1e-3"]),
}
SEQUENCES = random_sequences(256, [1, 7, 48, 25])


def train(work, *settings):
    rows = work / "rows.jsonl"
    rows.write_text("".join(json.dumps({"input_ids": ids}) + "\n"
                            for ids in random_sequences(256, [5, 17, 30, 9, 24, 12, 40, 8], seed=2)))
    attune("train", "--data", rows, "--output_dir", work / "out", "--method", "full", "--max_steps", 4, "--save_steps", 2,
           "--learning_rate", 1e-2, "--lr_scheduler_type", "constant", "--per_device_train_batch_size", 2, "--bf16", "false", *settings)


def compare(table, work, name, untrained=None):
    previous = untrained
    for folder in ("checkpoint-2", "checkpoint-4", "."):
        ours = attune_logits(work / "out" / folder, SEQUENCES, work)
        moved = largest_difference(ours, previous) if previous else 1
        assert folder == "." or moved > 0.01, f"training moved the logits by {moved:g} only: the comparison would prove nothing"
        theirs = torch_logits(strictly(load_base, work / "out" / folder), SEQUENCES)
        table.row(f"{name}: {'the result' if folder == '.' else folder} in transformers", largest_difference(ours, theirs))
        previous = ours


def check_trained(table, work, name, model, settings):
    train(work, "--model", DATA / "models" / model, *settings)
    compare(table, work, name, torch_logits(load_base(DATA / "models" / model), SEQUENCES))


def check_from_scratch(table, work):
    train(work, "--init_from_config", DATA / "models" / "llama" / "config.json")
    compare(table, work, "from scratch")


def run(table, work):
    table.title("trained whole by attune")
    for i, (name, (model, settings)) in enumerate(TRAINED.items()):
        table.within(work / str(i), name, lambda folder: check_trained(table, folder, name, model, settings))
    table.within(work / "scratch", "from scratch", lambda folder: check_from_scratch(table, folder))
