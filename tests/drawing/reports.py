"""Reports as `anatomy.report` gives them, with numbers made up for the tests."""

import copy
import math
from typing import Any

LAYERS = [(b, m) for b in range(2) for m in ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj")]


def _update(block: int, module: str, part: str | None, size: float, values: int) -> dict[str, Any]:
    row = {"layer": f"h.{block}.{module}", "block": block, "module": module, "part": part}
    spectrum = [size / (1 + i) for i in range(values)]
    return row | {"norm": size, "relative": size / 10, "singular_values": spectrum, "stable_rank": 1.4}


def _scores(matrix: list[list[int]]) -> dict[str, Any]:
    rows = sum(map(sum, matrix))
    right = sum(matrix[i][i] for i in range(len(matrix)))
    return {"accuracy": right / rows, "precision": 0.8, "recall": 0.7, "f1": 0.75, "loss": 0.4, "rows": rows,
            "calibration_error": 0.03, "confusion_matrix": matrix}  # fmt: skip


def _run(task: str) -> dict[str, Any]:
    lora = {"r": 4, "alpha": 8.0, "targets": ["attn.c_attn", "mlp.c_fc"]}
    results = {"rows": {"train": 640, "val": 80, "test": 100}, "best_step": 60, "steps": 60}
    return {"name": "runs/tiny", "task": task, "model": "assets/gpt2-tiny", "dataset": "messages.tsv", "train": "lora",
            "steps": 60, "kept_step": 60, "lora": lora, "results": results}  # fmt: skip


def _curves() -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for step in range(1, 61):
        rows.append({"step": step, "loss": 0.2 + math.exp(-step / 20), "learning_rate": 1e-3 * (1 - step / 60),
                     "grad_norm": 2.0})  # fmt: skip
        if step % 15 == 0:
            rows.append({"step": step, "part": "validation"} | _scores([[60, 10], [30 - step // 3, step // 3]]))
    return rows


def classifier() -> dict[str, Any]:
    """A run with two labels, everything known: full fine-tuning beside it, and a text."""
    updates = [_update(b, m, None, 1.0 + b, 4) for b, m in LAYERS]
    updates += [_update(b, "attn.c_attn", p, 0.5 + b, 4) for b in range(2) for p in "qkv"]
    full = [_update(b, m, None, 2.0, 8) | {"energy_in_r": 0.8} for b, m in LAYERS]
    overlap = [{"layer": u["layer"], "value": 0.3, "chance": 0.03} for u in full]
    lengths = [(1, 8), (9, 16), (17, 40)]
    evaluation = {
        "label_names": ["ham", "spam"], "before": _scores([[50, 20], [15, 15]]), "after": _scores([[65, 5], [6, 24]]),
        "baselines": {"majority": _scores([[70, 0], [30, 0]])}, "best_threshold": {"threshold": 0.4, "f1": 0.82},
        "by_length": [{"from": a, "to": b, "rows": 33, "right": 0.9, "said": b / 80, "true": 0.3} for a, b in lengths],
        "threshold_curve": [{"threshold": t / 20, "precision": t / 20, "recall": 1 - t / 20, "f1": 0.5}
                            for t in range(1, 20)],
        "reliability": [{"confidence": c, "accuracy": c - 0.05, "rows": 25} for c in (0.55, 0.7, 0.85, 0.97)],
        "errors": [{"text": "<b>free</b> tonight? & then", "truth": "ham", "answer": "spam", "probability": 0.98}],
    }  # fmt: skip
    tokens = [{"id": i, "text": t, "bytes": list(t.encode())} for i, t in enumerate(["Free", " prize", "!", "\n<i>"])]
    contributions = [{"layer": u["layer"], "value": 0.4 - 0.1 * i} for i, u in enumerate(full)]
    text = {
        "text": "Free prize!\n<i>", "cut": False, "bytes": 15, "tokens": tokens, "pooled": 3,
        "label_names": ["ham", "spam"], "label": "spam", "base": [0.6, 0.4], "tuned": [0.1, 0.9],
        "prefix": {"base": [-0.2, -0.3, -0.4, -0.4], "tuned": [0.5, 2.5, 2.3, 2.2]},
        "leave_one_out": [-0.9, -1.5, 0.2, 0.0], "contributions": contributions,
    }  # fmt: skip
    part = {"weights": 21_000_000, "gradients": 5_000, "optimizer": 10_000, "activations": 3_000_000}
    memory = [{"name": "head"} | part, {"name": "lora"} | part | {"gradients": 1_000_000, "optimizer": 2_000_000}]
    memory.append({"name": "full", "weights": 21_000_000, "gradients": 21_000_000, "optimizer": 42_000_000})
    gradients = [{"step": s, "lora_A": s / 100, "lora_B": 1.0, "head": 0.5} for s in (0, 20, 40, 60)]
    return {"run": _run("classification"), "curves": _curves(), "gradients": gradients, "updates": updates,
            "full": {"updates": full, "overlap": overlap}, "evaluation": evaluation, "memory": memory, "text": text,
            "batch_rows": 32, "writer": None, "notes": ["no snapshots <here>"]}  # fmt: skip


def writer() -> dict[str, Any]:
    """A run that learned to write."""
    kinds = [
        {"kind": k, "tokens": 100, "base": 4.0 + i, "tuned": 3.0 + i} for i, k in enumerate(("word start", "number"))
    ]
    tokens = [{"id": 5, "text": " see", "bytes": [32]}, {"id": 6, "text": "\ufffd", "bytes": [240, 159]}]
    curves = [{k: v for k, v in row.items() if k in ("step", "loss", "part", "learning_rate")} for row in _curves()]
    samples = [{"step": s, "text": f"line {s} <s>"} for s in (0, 30, 60)]
    return {"run": _run("language"), "curves": curves, "gradients": classifier()["gradients"],
            "updates": classifier()["updates"], "full": None, "evaluation": {}, "memory": classifier()["memory"],
            "text": {"text": " see you", "cut": False, "bytes": 8, "tokens": tokens, "base": [5.0, 2.0],
                     "tuned": [4.0, 2.5]},
            "writer": {"kinds": kinds, "samples": samples, "nats": {"base": 4.4, "tuned": 3.4}}}  # fmt: skip


def many_labels(labels: int) -> dict[str, Any]:
    """The classifier with `labels` labels."""
    report, names = copy.deepcopy(classifier()), [f"label {i}" for i in range(labels)]
    matrix = [[5 if i == j else 1 for j in range(labels)] for i in range(labels)]
    evaluation = report["evaluation"] | {"label_names": names, "before": _scores(matrix), "after": _scores(matrix)}
    for row in evaluation["by_length"]:
        row["said"] = row["true"] = [1 / labels] * labels
    for key in ("threshold_curve", "best_threshold"):
        del evaluation[key]
    shares = [1 / labels] * labels
    report["text"] |= {"label_names": names, "label": names[0], "base": shares, "tuned": shares}
    return report | {"evaluation": evaluation}
