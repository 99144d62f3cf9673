"""What evaluation says: tables for a terminal, of scores, of the surest mistakes, of random test records."""

import random
import sys
from typing import Any

import lora
from tasks.classification import Classification
from tasks.classifier import Classifier
from tasks.evaluate import recorded_rows
from training.report import comparison_table, shortened


def told(found: dict[str, Any], task: Classification, after: str, width: int) -> str:
    """What `evaluated` has found, as text of at most `width` columns; `after` names the line of the tuned model."""
    rows = {"before": found["before"]} if "before" in found else {}
    rows |= {after: found["after"]}
    rows |= {f"from {found['threshold']:g} on": found["after_threshold"]} if "threshold" in found else {}
    scores = found.get("after_threshold", found["after"])
    parts = [comparison_table(rows | found["baselines"], task.metrics, width), task.details(scores, width)]
    return "\n\n".join(
        [*parts, "\n".join(_remarks(found, task)), *_mistakes(found, width), task.warning(found["after"])]
    ).strip("\n")


def _remarks(found: dict[str, Any], task: Classification) -> list[str]:
    lines = [f"calibration error (ECE, 15 bins): {found['after']['calibration_error']:.4f}"]
    if test := found.get("mcnemar"):
        how = "exact" if test["exact"] else "with continuity correction"
        lines.append(f"against the base: {test['gained']:,} rows gained, {test['lost']:,} lost; McNemar, {how}:"
                     f" p = {test['p']:.3g}")  # fmt: skip
    if best := found.get("best_threshold"):
        lines.append(f"best F1 on validation, {best['f1']:.3f}: --threshold {best['threshold']!r}")
    if (recall := found.get("recall_at_1_percent_false_positives")) is not None:
        lines.append(f"recall of {task.label_names[1]} at 1 % false positives: {recall:.3f}")
    return lines


def _mistakes(found: dict[str, Any], width: int) -> list[str]:
    if "errors" not in found:
        return []
    cells = [[one_line(e["truth"], 20), one_line(e["answer"], 20), f"{e['probability']:.2%}"] for e in found["errors"]]
    lines = [["truth", "answer", "sure", "text"]]
    lines += [[*cell, one_line(e["text"], 90)] for cell, e in zip(cells, found["errors"])]
    widths = [max(len(line[i]) for line in lines) for i in range(3)]
    return ["\n".join("  ".join([*(c.ljust(w) for c, w in zip(line, widths)), line[3]])[:width] for line in lines)]


def sampled(classifier: Classifier, number: int, seed: int, batch_size: int, width: int) -> list[str]:
    """Lines of a table: random test records, the truth, what the untrained model says, what the tuned one says."""
    dataset, split = recorded_rows(classifier.record, classifier.rule, advise=True)
    chosen = random.Random(seed).sample(split.test, min(number, len(split.test)))
    texts = [dataset.texts[row] for row in chosen]
    answers = {"tuned": classifier.probabilities(texts, batch_size)}
    try:
        with classifier.untrained() as untrained:
            answers = {"base": untrained.probabilities(texts, batch_size)} | answers
    except lora.AdapterError as error:
        print(f"no base column: {error}", file=sys.stderr)
    # Names may take what a text of ten characters leaves.
    most = (width - 12 - 10 * len(answers)) // (1 + len(answers))
    first = max(5, min(most, max(map(len, classifier.label_names))))
    lines = [f"{len(chosen)} of {len(split.test):,} test records, --seed {seed}"]
    lines.append("  ".join([f"{'truth':<{first}}", *(f"{name:<{first + 8}}" for name in answers), "text"]))
    room = max(10, min(90, width - (first + 2) - len(answers) * (first + 10)))
    for row, *said in zip(chosen, *answers.values()):
        truth = shortened(dataset.label_names[dataset.labels[row]], first)
        cells = [f"{shortened(label, first):<{first}} {sure:7.2%}" for label, sure in map(classifier.said, said)]
        lines.append("  ".join([f"{truth:<{first}}", *cells, one_line(dataset.texts[row], room)]))
    return [line[:width] for line in lines]


def one_line(text: str, most: int = 90) -> str:
    """A text as it can stand in a table: no line breaks, no control characters."""
    line = "".join(c if c.isprintable() else " " for c in " ".join(text.split()))
    return line if len(line) <= most else line[: most - 3] + "..."
