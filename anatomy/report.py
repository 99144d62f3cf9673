"""All that can be seen of a run, in one dictionary of plain numbers: what explain.py draws and prints."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from anatomy import scores, texts, updates, writer
from anatomy.gradients import gradient_norms
from anatomy.memory import memory
from anatomy.opened import ADAPTER, Opened, is_count, open_run, require_same_labels
from tasks.evaluate import recorded_task
from training.errors import UsageError

ROWS = 32  # of the batch whose gradients and activations are looked at
CURVES = ("loss", "learning_rate", "grad_norm", "accuracy", "precision", "recall", "f1")
COUNTS = ("steps", "best_step", "kept_step")
USUAL_R = 8  # how many directions are told of, where there is no adapter to compare with


def report(
    run: str | Path,
    full: str | Path | None = None,
    text: str | None = None,
    tell: Callable[[str], None] | None = None,
    model: str | Path | None = None,
    device: str = "auto",
) -> dict[str, Any]:
    """What is known of a run, of an adapter alone or of a trained model; what is not there is told as a line of
    "notes", and to `tell`.

    `full`: a run of the same base that trained whole weights, to be set beside it; `text`: one text to look at;
    `model`: the base, for an adapter that peft made. Raises ValueErrors for what cannot be loaded at all.
    """
    opened, notes = open_run(run, model, device), []
    scored = open_run(run, model, device, as_it_was=True)
    task = _attempt(notes, "the rows", lambda: recorded_task(opened.classifier)) if opened.classifier else None
    rows = task and task.rows
    if not opened.classifier:
        rows = _attempt(notes, "the texts", lambda: writer.recorded_windows(opened))
    batch = rows.micro_batches(rows.split.train[:ROWS], ROWS)[0] if rows is not None and rows.split.train else None
    found: dict[str, Any] = {"run": about(opened, model), "curves": curves(opened, notes)}
    found["gradients"] = _gradients(opened, batch, notes)
    found["updates"] = own_updates(opened, notes)
    found["full"] = _attempt(notes, f"--full {full}", lambda: beside(opened, full, device)) if full else None
    found |= {"evaluation": {}, "writer": None}
    if task is not None:
        found["evaluation"] = scores.evaluation(scored.classifier, task, scored.batch_size)
    elif opened.classifier is None:
        found["writer"] = (
            {"kinds": [], "nats": {}, "tokens": 0} if rows is None else writer.by_kind(scored, rows, notes)
        )
        found["writer"]["samples"] = writer.samples(opened)
    found |= {"memory": memory(opened, batch), "batch_rows": batch and len(batch.input_ids)}
    look = writer.text_costs if opened.classifier is None else texts.classified
    found["text"] = look(opened, text, notes) if text is not None else None
    for note in notes:
        (tell or (lambda line: None))(note)
    return finite(found | {"notes": notes})


def about(opened: Opened, model: str | Path | None = None) -> dict[str, Any]:
    """What the run was, as far as its files say; `model` is the base that was named for it."""
    results, record = opened.results, opened.record
    config = opened.model.peft_config[ADAPTER] if opened.base else None
    names = {"name": (opened.run or opened.path).resolve().name, "task": opened.task, "train": opened.train}
    names |= {
        "model": record.base["name"] if record else model and str(model),
        "dataset": record.dataset.get("name") if record else None,
    }
    results = {key: value for key, value in results.items() if key not in COUNTS or is_count(value)}
    rows = results.get("rows")
    if not isinstance(rows, dict) or not all(map(is_count, rows.values())) or "train" not in rows:
        results.pop("rows", None)
    low_rank = config and {"r": config.r, "alpha": config.lora_alpha, "targets": sorted(config.target_modules)}
    step = {"steps": results.get("steps"), "kept_step": opened.kept_step, "snapshots": opened.steps}
    return names | step | {"lora": low_rank, "results": results}


def curves(opened: Opened, notes: list[str]) -> list[dict[str, Any]]:
    """The entries of metrics.jsonl; a line that cannot be read is left out."""
    path, rows, broken = opened.run and opened.run / "metrics.jsonl", [], 0
    if path is None or not path.is_file():
        notes.append("no metrics.jsonl beside it, so no curves")
        return []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError):
            entry = None
        if isinstance(entry, dict) and is_count(entry.get("step")) and all(map(is_number, map(entry.get, CURVES))):
            rows.append(entry)
        else:
            broken += 1
    if broken:
        notes.append(f"{path}: {broken} damaged line{'s' * (broken > 1)} left out")
    return rows


def is_number(value: Any) -> bool:
    """Whether it is one that fits a float, or null, which stands for one that is not known."""
    return value is None or type(value) is float or is_count(value)


def own_updates(opened: Opened, notes: list[str]) -> list[dict[str, Any]]:
    """A row for each layer that the run has changed."""
    if opened.base:
        return updates.low_rank_updates(opened)
    if opened.train == "head":
        notes.append("the head alone was trained: no layer has an update")
        return []
    return _attempt(notes, "the updates", lambda: updates.dense_rows(updates.dense_updates(opened), USUAL_R)) or []


def beside(opened: Opened, full: str | Path, device: str) -> dict[str, Any]:
    """The updates of a run that trained whole weights, and how much of them lies in this run's directions."""
    other = open_run(full, None, device)
    if other.base is not None or other.train == "head":
        raise UsageError(f"{full}: did not train whole weights; give a run of --train full")
    if opened.record and other.record and opened.record.base["fingerprint"] != other.record.base["fingerprint"]:
        raise UsageError(f"{full}: was trained on another base; give one of the same")
    require_same_labels(opened, other)
    dense = updates.dense_updates(other)
    r = opened.model.peft_config[ADAPTER].r if opened.base else USUAL_R
    rows = updates.dense_rows(dense, r)
    return {"name": Path(full).resolve().name, "r": r, "updates": rows, "overlap": updates.overlaps(opened, dense)}


def finite(value: Any) -> Any:
    """The same with null for what is no finite number: JSON has no other."""
    if isinstance(value, dict):
        return {key: finite(held) for key, held in value.items()}
    if isinstance(value, list | tuple):
        return [finite(held) for held in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _gradients(opened: Opened, batch: Any, notes: list[str]) -> list[dict[str, Any]]:
    if opened.train == "full":
        notes.append("no snapshots of whole weights are kept, so no gradients over the run")
        return []
    if not opened.steps:
        notes.append("no snapshots in it (train.py --snapshots 16 keeps them), so no gradients over the run")
        return []
    return [] if batch is None else _attempt(notes, "the gradients", lambda: gradient_norms(opened, batch)) or []


def _attempt(notes: list[str], what: str, look: Callable[[], Any]) -> Any:
    """What `look` finds; where a file is gone or does not fit, None, and a line of why."""
    try:
        return look()
    except (ValueError, OSError) as error:
        notes.append(f"{what}: {error}")
        return None
