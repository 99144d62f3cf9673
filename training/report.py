"""What a run tells its user: a table on the screen and a model card beside the adapter."""

from typing import Any, Protocol

import torch

from training.device import Place
from training.metrics import predicts_one_label
from training.state import RunState

_COLUMNS = ("accuracy", "precision", "recall", "f1", "mcc", "false_positive_rate", "loss")
_HEADS = ("accuracy", "precision", "recall", "F1", "MCC", "false pos.", "loss")
_WHAT = {"lora": "LoRA", "head": "head only", "full": "full fine-tuning"}


class Rows(Protocol):
    """What is told of the rows: how they are divided, and how many test rows stand in the training part too."""

    split: Any
    seen: int


def describe_run(config: Any, state: RunState, place: Place, parameters: tuple[int, int], rows: Rows) -> dict[str, Any]:
    """The facts of results.json beside the scores; `parameters` are (trainable, all)."""
    seconds = max(state.train_seconds, 1e-9)
    facts = {"steps": state.step, "best_step": state.best_step, "train_seconds": state.train_seconds}
    facts |= {"trainable_parameters": parameters[0], "total_parameters": parameters[1]}
    facts |= {"samples_per_second": state.rows / seconds, "tokens_per_second": state.tokens / seconds}
    facts |= {"device": place.device.type, "precision": place.precision, "torch": torch.__version__}
    facts["world_size"] = place.ranks.size
    facts |= {name: getattr(config, name) for name in ("model", "dataset", "split", "train", "seed", "exact")}
    facts["rows"] = {part: len(getattr(rows.split, part)) for part in ("train", "val", "test")}
    return facts | {"test_rows_seen_in_train": rows.seen}


def summary(results: dict[str, Any], label_names: list[str]) -> str:
    """Before, after and the baselines side by side on the test rows, and what to think of it."""
    parts = [
        f"{results['rows']['test']:,} test rows, best checkpoint: step {results['best_step']}",
        *_tables(results, results["train"], label_names),
    ]
    if other := results.get("also_test"):
        parts.append(_about(other))
        parts += _tables(other, results["train"], label_names)
    parts.append(
        f"{results['steps']} steps in {results['train_seconds']:.1f} s: "
        f"{results['samples_per_second']:,.0f} samples/s, {results['tokens_per_second']:,.0f} real tokens/s"
    )
    label = predicts_one_label(results["after"])
    if label is not None:
        parts.append(
            f"The model calls every test row '{label_names[label]}': it has learned the class mix and nothing else.\n"
            "Try a higher --learning_rate (LoRA wants about ten times that of full fine-tuning) or more epochs."
        )
    return "\n\n".join(["", *parts])


def _about(other: dict[str, Any]) -> str:
    """A line about the rows of --also_test."""
    seen = f", though {other['seen']:,} of them were trained or chosen on as well" * (other["seen"] > 0)
    return f"{other['dataset']}, {other['after']['rows']:,} rows that only test{seen}"


def _tables(results: dict[str, Any], train: str, label_names: list[str]) -> list[str]:
    rows = {"before": results["before"], f"after ({_WHAT[train]})": results["after"], **results["baselines"]}
    return [comparison_table(rows), confusion_table(results["after"], label_names)]


def comparison_table(rows: dict[str, dict[str, Any]]) -> str:
    """One line per classifier, the same scores in the same columns, aligned for a terminal."""
    width = max(len(name) for name in rows) + 1
    lines = [" " * width + "".join(f"{head:>11}" for head in _HEADS) + "   95 % interval of accuracy"]
    for name, scores in rows.items():
        low, high = scores["accuracy_interval"]
        cells = "".join(_cell(column, scores[column]) for column in _COLUMNS)
        lines.append(f"{name:<{width}}{cells}   {100 * low:.2f} to {100 * high:.2f} %")
    return "\n".join(lines)


def _cell(column: str, value: float) -> str:
    return f"{100 * value:>9.2f} %" if column in ("accuracy", "false_positive_rate") else f"{value:>11.3f}"


def confusion_table(metrics: dict[str, Any], label_names: list[str]) -> str:
    """Truth down, prediction across."""
    width = max(8, max(map(len, label_names)) + 2)
    corner = "truth \\ said"
    first = max(len(corner), width)
    lines = [corner.ljust(first) + "".join(f"{name:>{width}}" for name in label_names)]
    for name, counts in zip(label_names, metrics["confusion_matrix"]):
        lines.append(name.ljust(first) + "".join(f"{count:>{width}}" for count in counts))
    return "\n".join(lines)


def model_card(results: dict[str, Any], label_names: list[str]) -> str:
    """The README.md of an adapter: what it is, how it did, how to use it."""
    table, matrix, rows = _card_table(results), confusion_table(results["after"], label_names), results["rows"]
    chosen = "validation part" if rows["val"] else "test part itself, so the test score is flattered"
    kind = "adapter" if results["train"] == "lora" else "model"
    peft = "`PeftModel.from_pretrained(base, DIRECTORY)` reads it.\n" if kind == "adapter" else ""
    second = ""
    if other := results.get("also_test"):
        second = f"{_about(other)}:\n\n{_card_table(other)}\n\n"
        second += f"```\n{confusion_table(other['after'], label_names)}\n```\n\n"
    return f"""---
base_model: "{results["model"]}"
library_name: {"peft" if kind == "adapter" else "transformers"}
tags: [gpt2, text-classification]
---
# GPT-2, {_WHAT[results["train"]]}: {", ".join(label_names)}

- Base `{results["model"]}`, data `{results["dataset"]}`, split `{results["split"]}`.
- {rows["train"]:,} training, {rows["val"]:,} validation and {rows["test"]:,} test rows; of the test rows,
  {results["test_rows_seen_in_train"]:,} stand word for word in the training part.
- {results["trainable_parameters"]:,} of {results["total_parameters"]:,} parameters trained, {results["steps"]} steps.
- Seed {results["seed"]}, {results["device"]} in {results["precision"]}, torch {results["torch"]}.
- The best checkpoint, step {results["best_step"]}, was chosen on the {chosen}.

Scores on the test rows; with two labels, `{label_names[-1]}` is the positive one.

{table}

```
{matrix}
```

{second}Use it: `python infer.py --adapter DIRECTORY "a text"`. {peft}"""


def _card_table(results: dict[str, Any]) -> str:
    lines = ["| | accuracy | 95 % interval | F1 | MCC | false positive rate |", "|---|---|---|---|---|---|"]
    for name, m in {"before": results["before"], "after": results["after"], **results["baselines"]}.items():
        low, high = m["accuracy_interval"]
        lines.append(
            f"| {name} | {m['accuracy']:.2%} | {low:.2%} to {high:.2%} | {m['f1']:.3f} | {m['mcc']:.3f} "
            f"| {m['false_positive_rate']:.2%} |"
        )
    return "\n".join(lines)
