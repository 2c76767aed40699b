"""A run's records read by the tools they are made for: TensorBoard, Python's csv and sqlite3 modules."""
import csv
import json
import sqlite3

from common import DATA, attune
from transformers import TrainerState


def run(table, work):
    table.title("the records of a run")
    table.guard("records", lambda: _check(table, work))


def _check(table, work):
    try:
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    except ImportError:
        table.note("records", "skipped: this Python has no tensorboard")
        return
    rows = work / "rows.jsonl"
    rows.write_text("".join(json.dumps({"input_ids": [(7 * r + 3 * t) % 250 for t in range(5 + r % 4)]}) + "\n" for r in range(12)))
    out = work / "out"
    attune("train", "--model", DATA / "models" / "llama", "--data", rows, "--eval_data", rows, "--output_dir", out,
           "--max_steps", 4, "--logging_steps", 1, "--eval_strategy", "steps", "--eval_steps", 2, "--target_modules", "q_proj,v_proj",
           "--save_steps", 2, "--load_best_model_at_end", "true")
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    state = TrainerState.load_from_json(str(out / "checkpoint-4" / "trainer_state.json"))
    history = [{k: v for k, v in line.items() if k != "time"} for line in lines]
    table.same("trainer_state.json in TrainerState", (state.global_step, state.max_steps, state.log_history) == (4, 4, history))
    best = min((line["eval_loss"], line["step"]) for line in lines if line.get("eval_loss") and line["step"] > 0)
    table.same("its best metric, step and checkpoint", (state.best_metric, state.best_global_step, state.best_model_checkpoint)
               == (*best, str(out / f"checkpoint-{best[1]}")), state.best_model_checkpoint)
    attune("runs", "export", out, "--format", "tensorboard", "--output", work / "exported")
    for name, folder in (("written while training", out / "tensorboard"), ("exported", work / "exported")):
        events = EventAccumulator(str(folder))
        events.Reload()
        for tag, key in (("train/loss", "loss"), ("train/learning_rate", "learning_rate"), ("eval/loss", "eval_loss")):
            theirs = [(e.step, e.wall_time, e.value) for e in events.Scalars(tag)]
            ours = [(line["step"], line["time"], line[key]) for line in lines if key in line]
            table.same(f"{tag}, {name}: steps and times", [t[:2] for t in theirs] == [o[:2] for o in ours])
            table.row(f"{tag}, {name}", max(abs(t[2] - o[2]) for t, o in zip(theirs, ours, strict=True)), 1e-6)
    with open(out / "metrics.csv", newline="") as file:
        cells = [{k: float(v) for k, v in row.items() if v != ""} for row in csv.DictReader(file)]
    table.same("metrics.csv", cells == [{k: float(v) for k, v in line.items()} for line in lines])
    store = sqlite3.connect(attune("runs", "list")["store"])
    found = store.execute("SELECT m.step, m.value FROM metrics m JOIN runs r ON r.id = m.run "
                          "WHERE r.output_dir = ? AND m.name = 'loss' ORDER BY m.line", (str(out),)).fetchall()
    table.same("the store", found == [(line["step"], line["loss"]) for line in lines if "loss" in line])
