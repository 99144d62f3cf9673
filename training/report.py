"""What a run tells its user: a table on the screen and a model card beside the adapter."""

import shutil
from collections.abc import Sequence
from typing import Any, Protocol

import torch

from training.device import Place
from training.metrics import Metric, per_label_metrics
from training.state import RunState

_WHAT = {"lora": "LoRA", "head": "head only", "full": "full fine-tuning"}
MATRIX_UP_TO = 10  # labels; with more, the commonest confusions are told instead
COMMONEST = 20
NO_TERMINAL = 140  # columns of a file or a pipe, and of the model card


class Rows(Protocol):
    """What is told of the rows: how they are divided, and how many test rows stand in the training part too."""

    split: Any
    seen: int


class Reported(Protocol):
    """What is told of a task."""

    kind: str
    metrics: Sequence[Metric]
    label_names: list[str]

    def details(self, scores: dict[str, Any], width: int) -> str: ...

    def warning(self, scores: dict[str, Any]) -> str: ...


def describe_run(config: Any, state: RunState, place: Place, parameters: tuple[int, int], rows: Rows) -> dict[str, Any]:
    """The facts of results.json beside the scores; `parameters` are (trainable, all)."""
    seconds = max(state.train_seconds, 1e-9)
    facts = {"steps": state.step, "best_step": state.best_step, "kept_step": state.kept_step}
    facts["train_seconds"] = state.train_seconds
    facts |= {"trainable_parameters": parameters[0], "total_parameters": parameters[1]}
    facts |= {"samples_per_second": state.rows / seconds, "tokens_per_second": state.tokens / seconds}
    facts |= {"device": place.device.type, "precision": place.precision, "fast": place.fast, "torch": torch.__version__}
    facts["world_size"] = place.ranks.size
    facts["per_device_eval_batch_size"] = config.per_device_eval_batch_size
    facts |= {name: getattr(config, name) for name in ("task", "model", "dataset", "split", "train", "seed", "exact")}
    facts |= {name: file for name in ("validation_dataset", "test_dataset") if (file := getattr(config, name, None))}
    facts["rows"] = {part: len(getattr(rows.split, part)) for part in ("train", "val", "test")}
    return facts | {"test_rows_seen_in_train": rows.seen}


def terminal_width() -> int:
    """Columns that a table may take; COLUMNS says so where it is set."""
    return shutil.get_terminal_size((NO_TERMINAL, 24)).columns


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
    rows = {"before": results["before"], after_name(train): results["after"], **results["baselines"]}
    width = terminal_width()
    return [comparison_table(rows, task.metrics, width), task.details(results["after"], width)]


def after_name(train: str) -> str:
    """What the line of the tuned model is called; `train` is --train's value."""
    return f"after ({_WHAT[train]})" if train in _WHAT else "after"


def comparison_table(rows: dict[str, dict[str, Any]], metrics: Sequence[Metric], most: int = NO_TERMINAL) -> str:
    """One line per model, the same scores in the same columns, aligned for a terminal of `most` columns.

    What does not fit beside the names goes into a second such table below.
    """
    first = max(len(name) for name in rows) + 1
    cells = [["", *(metric.head for metric in metrics)]]
    cells += [[name, *(_cell(metric, scores) for metric in metrics)] for name, scores in rows.items()]
    widths = [first, *(max(11, 3 + max(map(len, column))) for column in list(zip(*cells))[1:])]
    widths[0] = min(first, max(8, most - max(widths[1:])))  # the widest column must fit beside the names
    cells = [[shortened(line[0], widths[0] - 1), *line[1:]] for line in cells]
    return _aligned(cells, widths, most)


def _aligned(cells: list[list[str]], widths: list[int], most: int) -> str:
    """Lines of cells, the first of each to the left, the others to the right; columns that do not fit go below."""
    blocks: list[list[int]] = [[]]
    for column in range(1, len(widths)):
        if blocks[-1] and widths[0] + sum(widths[c] for c in (*blocks[-1], column)) > most:
            blocks.append([])
        blocks[-1].append(column)
    tables = [
        "\n".join(line[0].ljust(widths[0]) + "".join(line[c].rjust(widths[c]) for c in block) for line in cells)
        for block in blocks
    ]
    return "\n\n".join(tables)


def _cell(metric: Metric, scores: dict[str, Any]) -> str:
    """Not every baseline has every score: gzip gives no probabilities of tokens."""
    return metric.text(scores[metric.name]) if metric.name in scores else "-"


def label_tables(metrics: dict[str, Any], label_names: list[str], most: int = NO_TERMINAL) -> str:
    """Where the errors are: of two labels the matrix, of more the scores of each label, and the matrix or, above ten
    labels, the commonest confusions. No line is wider than `most`."""
    parts = [per_label_table(metrics, label_names, most)] if len(label_names) > 2 else []
    matrix = confusion_table(metrics, label_names, most) if len(label_names) <= MATRIX_UP_TO else ""
    return "\n\n".join([*parts, matrix or confusions(metrics, label_names, most)])


def per_label_table(metrics: dict[str, Any], label_names: list[str], most: int = NO_TERMINAL) -> str:
    """Precision, recall, F1 and test rows of each label, their macro and their weighted mean."""
    told = per_label_metrics(metrics["confusion_matrix"])
    rows = [*zip(label_names, told["labels"]), ("macro", told["macro"]), ("weighted", told["weighted"])]
    widths = [11, 9, 9, 9]
    names = [shortened(name, max(8, most - sum(widths) - 2)) for name, _ in rows]
    cells = [["label", "precision", "recall", "F1", "rows"]]
    for name, (_, scores) in zip(names, rows):
        cells.append([name, *(f"{scores[key]:.3f}" for key in ("precision", "recall", "f1")), f"{scores['rows']:,}"])
    return _aligned(cells, [max(map(len, ["label", *names])) + 1, *widths], most)


def confusion_table(metrics: dict[str, Any], label_names: list[str], most: int = NO_TERMINAL) -> str:
    """Truth down, prediction across; names are cut where they would not fit, and it is "" where numbers would not."""
    corner = "truth \\ said"
    matrix = metrics["confusion_matrix"]
    room = (most - len(corner) - 2) // len(label_names)
    least = max(len(str(count)) for counts in matrix for count in counts) + 2
    if room < max(6, least):
        return ""
    width = min(max(8, least, max(map(len, label_names)) + 2), room)
    names = [shortened(name, width - 2) for name in label_names]
    first = max(len(corner), width)
    if first + width * len(names) > most:
        first = len(corner)
    lines = [corner.ljust(first) + "".join(f"{name:>{width}}" for name in names)]
    for name, counts in zip(label_names, matrix):
        lines.append(shortened(name, first - 1).ljust(first) + "".join(f"{count:>{width}}" for count in counts))
    return "\n".join(lines)


def confusions(metrics: dict[str, Any], label_names: list[str], most: int = NO_TERMINAL) -> str:
    """The commonest pairs of a truth and a wrong answer, and their rows."""
    found = [
        (count, truth, said)
        for truth, counts in enumerate(metrics["confusion_matrix"])
        for said, count in enumerate(counts)
        if count and truth != said
    ]
    if not found:
        return "no row was called wrongly"
    chosen = sorted(found, key=lambda pair: (-pair[0], *pair[1:]))[:COMMONEST]
    room = max(4, (most - 12) // 2)
    pairs = [(shortened(label_names[t], room), shortened(label_names[s], room), f"{n:,}") for n, t, s in chosen]
    first, second = (max(len(head), *(len(pair[i]) for pair in pairs)) for i, head in ((0, "truth"), (1, "said")))
    lines = [f"{truth:<{first}}  {said:<{second}}  {n:>6}" for truth, said, n in [("truth", "said", "rows"), *pairs]]
    head = f"the {len(chosen)} commonest of {len(found)} confusions"
    return "\n".join([shortened(head, most), *lines])


def shortened(name: str, most: int) -> str:
    return name if len(name) <= most else name[: max(0, most - 1)] + "…"


def model_card(results: dict[str, Any], task: Reported) -> str:
    """The README.md of an adapter: what it is, how it did, how to use it."""
    rows = results["rows"]
    chosen = "validation part" if rows["val"] else "test part itself, so the test score is flattered"
    kind = "adapter" if results["train"] == "lora" else "model"
    peft = "`PeftModel.from_pretrained(base, DIRECTORY)` reads it.\n" if kind == "adapter" else ""
    classifies = task.kind == "classification"
    second, tested = "", f", tested on `{results['test_dataset']}`" if "test_dataset" in results else ""
    if other := results.get("also_test"):
        second = f"{_about(other)}:\n\n{_card_tables(other, task)}\n"
    return f"""---
base_model: "{results["model"]}"
library_name: {"peft" if kind == "adapter" else "transformers"}
tags: [gpt2, {"text-classification" if classifies else "text-generation"}]
---
# GPT-2, {_WHAT[results["train"]]}: {", ".join(task.label_names) if classifies else "a writer"}

- Base `{results["model"]}`, data `{results["dataset"]}`, split `{results["split"]}`{tested}.
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
    details = task.details(results["after"], NO_TERMINAL)
    return "\n".join(lines) + (f"\n\n```\n{details}\n```\n" if details else "\n")
