"""What a run tells its user: a table on the screen and a model card beside the adapter."""

from collections.abc import Sequence
from typing import Any, Protocol

import torch

from training.device import Place
from training.metrics import Metric
from training.state import RunState

_WHAT = {"lora": "LoRA", "head": "head only", "full": "full fine-tuning"}


class Rows(Protocol):
    """What is told of the rows: how they are divided, and how many test rows stand in the training part too."""

    split: Any
    seen: int


class Reported(Protocol):
    """What is told of a task."""

    kind: str
    metrics: Sequence[Metric]
    label_names: list[str]

    def details(self, scores: dict[str, Any]) -> str: ...

    def warning(self, scores: dict[str, Any]) -> str: ...


def describe_run(config: Any, state: RunState, place: Place, parameters: tuple[int, int], rows: Rows) -> dict[str, Any]:
    """The facts of results.json beside the scores; `parameters` are (trainable, all)."""
    seconds = max(state.train_seconds, 1e-9)
    facts = {"steps": state.step, "best_step": state.best_step, "kept_step": state.kept_step}
    facts["train_seconds"] = state.train_seconds
    facts |= {"trainable_parameters": parameters[0], "total_parameters": parameters[1]}
    facts |= {"samples_per_second": state.rows / seconds, "tokens_per_second": state.tokens / seconds}
    facts |= {"device": place.device.type, "precision": place.precision, "torch": torch.__version__}
    facts["world_size"] = place.ranks.size
    facts |= {name: getattr(config, name) for name in ("task", "model", "dataset", "split", "train", "seed", "exact")}
    facts["rows"] = {part: len(getattr(rows.split, part)) for part in ("train", "val", "test")}
    return facts | {"test_rows_seen_in_train": rows.seen}


def summary(results: dict[str, Any], task: Reported) -> str:
    """Before, after and the baselines side by side on the test rows, and what to think of it."""
    parts = [
        f"{results['rows']['test']:,} test rows, {_kept(results)}",
        *_tables(results, results["train"], task),
    ]
    if other := results.get("also_test"):
        parts.append(_about(other))
        parts += _tables(other, results["train"], task)
    parts.append(
        f"{results['steps']} steps in {results['train_seconds']:.1f} s: "
        f"{results['samples_per_second']:,.0f} samples/s, {results['tokens_per_second']:,.0f} real tokens/s"
    )
    parts.append(task.warning(results["after"]))
    return "\n\n".join(["", *filter(None, parts)])


def _kept(results: dict[str, Any]) -> str:
    """Whose weights the scores are of."""
    step, best = results["kept_step"], results["best_step"]
    return f"best checkpoint: step {step}" if step == best else f"weights of step {step}, the best were step {best}'s"


def _about(other: dict[str, Any]) -> str:
    """A line about the rows of --also_test."""
    seen = f", though {other['seen']:,} of them were trained or chosen on as well" * (other["seen"] > 0)
    return f"{other['dataset']}, {other['after']['rows']:,} rows that only test{seen}"


def _tables(results: dict[str, Any], train: str, task: Reported) -> list[str]:
    rows = {"before": results["before"], f"after ({_WHAT[train]})": results["after"], **results["baselines"]}
    return [comparison_table(rows, task.metrics), task.details(results["after"])]


def comparison_table(rows: dict[str, dict[str, Any]], metrics: Sequence[Metric]) -> str:
    """One line per model, the same scores in the same columns, aligned for a terminal."""
    first = max(len(name) for name in rows) + 1
    cells = [["", *(metric.head for metric in metrics)]]
    cells += [[name, *(_cell(metric, scores) for metric in metrics)] for name, scores in rows.items()]
    widths = [max(11, 3 + max(map(len, column))) for column in list(zip(*cells))[1:]]
    return "\n".join(
        line[0].ljust(first) + "".join(cell.rjust(width) for cell, width in zip(line[1:], widths)) for line in cells
    )


def _cell(metric: Metric, scores: dict[str, Any]) -> str:
    """Not every baseline has every score: gzip gives no probabilities of tokens."""
    return metric.text(scores[metric.name]) if metric.name in scores else "-"


def confusion_table(metrics: dict[str, Any], label_names: list[str]) -> str:
    """Truth down, prediction across."""
    width = max(8, max(map(len, label_names)) + 2)
    corner = "truth \\ said"
    first = max(len(corner), width)
    lines = [corner.ljust(first) + "".join(f"{name:>{width}}" for name in label_names)]
    for name, counts in zip(label_names, metrics["confusion_matrix"]):
        lines.append(name.ljust(first) + "".join(f"{count:>{width}}" for count in counts))
    return "\n".join(lines)


def model_card(results: dict[str, Any], task: Reported) -> str:
    """The README.md of an adapter: what it is, how it did, how to use it."""
    rows = results["rows"]
    chosen = "validation part" if rows["val"] else "test part itself, so the test score is flattered"
    kind = "adapter" if results["train"] == "lora" else "model"
    peft = "`PeftModel.from_pretrained(base, DIRECTORY)` reads it.\n" if kind == "adapter" else ""
    classifies = task.kind == "classification"
    second = ""
    if other := results.get("also_test"):
        second = f"{_about(other)}:\n\n{_card_tables(other, task)}\n"
    return f"""---
base_model: "{results["model"]}"
library_name: {"peft" if kind == "adapter" else "transformers"}
tags: [gpt2, {"text-classification" if classifies else "text-generation"}]
---
# GPT-2, {_WHAT[results["train"]]}: {", ".join(task.label_names) if classifies else "a writer"}

- Base `{results["model"]}`, data `{results["dataset"]}`, split `{results["split"]}`.
- {rows["train"]:,} training, {rows["val"]:,} validation and {rows["test"]:,} test rows; of the test rows,
  {results["test_rows_seen_in_train"]:,} stand word for word in the training part.
- {results["trainable_parameters"]:,} of {results["total_parameters"]:,} parameters trained, {results["steps"]} steps.
- Seed {results["seed"]}, {results["device"]} in {results["precision"]}, torch {results["torch"]}.
- {_kept(results)[0].upper()}{_kept(results)[1:]}; which is best was seen on the {chosen}.

Scores on the test rows{f"; with two labels, `{task.label_names[-1]}` is the positive one" if classifies else ""}.

{_card_tables(results, task)}
{second}Use it: `python {"infer.py" if classifies else "generate.py"} --adapter DIRECTORY "a text"`. {peft}"""


def _card_tables(results: dict[str, Any], task: Reported) -> str:
    shown = [metric for metric in task.metrics if metric.in_card]
    lines = [f"| | {' | '.join(metric.head for metric in shown)} |", "|---" * (len(shown) + 1) + "|"]
    for name, scores in {"before": results["before"], "after": results["after"], **results["baselines"]}.items():
        lines.append(f"| {name} | {' | '.join(_cell(metric, scores) for metric in shown)} |")
    details = task.details(results["after"])
    return "\n".join(lines) + (f"\n\n```\n{details}\n```\n" if details else "\n")
