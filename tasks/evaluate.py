"""What was saved, evaluated: the table that train.py ends with, from the files it has left, for `infer.py`."""

import contextlib
import dataclasses
import json
import os
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import data
import lora
from gpt2.files import read_json
from tasks.classification import Classification
from tasks.classifier import Classifier
from tasks.product import product_directory
from tasks.record import TaskRecord
from tasks.settings import locate
from training.device import PRECISIONS
from training.errors import NonFiniteError, UsageError
from training.fingerprint import same_fingerprint
from training.metrics import (
    best_threshold,
    classification_metrics,
    mcnemar,
    per_label_metrics,
    predicted_labels,
    recall_at_false_positives,
)

SCORED = "scored.json"  # in a merged model


def as_trained(adapter: str | Path) -> dict[str, Any]:
    """How the run scored itself: the `precision`, `batch_size`, `fast` and `train` in its results.json, or in the file
    that a merged model has of it.

    With them the scores are the run's to the last digit. What is not there, or cannot be read, is left out.
    """
    directory, found = product_directory(Path(adapter)), {}
    with contextlib.suppress(OSError, ValueError):
        if (directory / SCORED).is_file():
            found = read_json(directory / SCORED)
        elif directory.name in ("adapter", "model"):
            found = read_json(directory.parent / "results.json")
    size, fast = found.get("per_device_eval_batch_size"), found.get("fast")
    how = {"precision": found["precision"]} if found.get("precision") in PRECISIONS else {}
    how |= {"batch_size": size} if type(size) is int and size > 0 else {}
    how |= {"fast": fast} if type(fast) is bool else {}
    return how | ({"train": found["train"]} if isinstance(found.get("train"), str) else {})


def save_as_trained(adapter: Path, directory: Path) -> None:
    """What `as_trained` finds beside an adapter goes with a model that was merged from it."""
    if how := as_trained(adapter):
        how["per_device_eval_batch_size"] = how.pop("batch_size", None)
        (directory / SCORED).write_text(json.dumps(how, indent=2) + "\n", encoding="utf-8")


def recorded_rows(
    record: TaskRecord | None, rule: data.TextRule, advise: bool = False
) -> tuple[data.TextDataset, data.Split]:
    """The rows that were trained on, and how they were divided.

    They are read from a file of this machine alone, and only if their fingerprint agrees. Raises DataError, StateError,
    and UsageError without a task.json; `advise` names what infer.py takes instead.
    """
    if record is None:
        advice = "; give texts instead" * advise
        raise UsageError(f"this adapter has no task.json, so its test records are not known{advice}")
    source = record.source()
    names = {name: getattr(source, name) for name in ("name", "validation_dataset", "test_dataset")}
    names = {name: locate(value) for name, value in names.items() if value is not None}
    for value in names.values():  # a name in a file opens a file and nothing else: no hub, no library
        if not os.path.isfile(value):
            advice = "; save them as one and give it with --input" * advise
            raise data.DataError(f"task.json: its rows, {value[:200]!r}, are no file here{advice}")
    source = dataclasses.replace(source, **names)
    dataset = data.load_texts(source, rule)
    if not same_fingerprint(record.dataset["fingerprint"], dataset.fingerprint()):
        raise data.DataError(f"{source.name}: its rows have changed since training, and so has the test part")
    return dataset, data.split_rows(dataset, **record.split)


def recorded_task(classifier: Classifier, advise: bool = False) -> Classification:
    """The task as train.py had it. Raises what `recorded_rows` raises."""
    dataset, split = recorded_rows(classifier.record, classifier.rule, advise)
    return _task(classifier, dataset, split)


def labelled_task(classifier: Classifier, source: data.Source) -> tuple[Classification, Classification | None]:
    """A task whose test rows are those of a labelled file; and the one of the training, where its rows are found."""
    dataset = data.load_texts(source, classifier.rule, classifier.label_names)
    notes = [*dataset.notes, *[f"{dataset.left_out()}, the first {w}" for w, _ in dataset.rejected[:1]]]
    try:
        known = recorded_task(classifier)
        task = dataclasses.replace(known, rows=known.rows.beside(dataset, classifier.tokenizer))
        notes.append(f"{task.rows.seen:,} of the rows stand word for word among those that trained or chose")
    except ValueError as error:
        notes.append(f"no baselines: {error}")
        task, known = _task(classifier, dataset, data.Split([], [], list(range(len(dataset.texts))))), None
    print(*notes, *task.rows.doubts(), sep="\n", file=sys.stderr)
    return task, known


def _task(classifier: Classifier, dataset: data.TextDataset, split: data.Split) -> Classification:
    tokenizer, length = classifier.tokenizer, classifier.max_length
    rows = data.prepare_task(dataset, split, tokenizer, tokenizer.eos_token_id, length)
    return Classification(rows, rule=classifier.rule)


def evaluated(
    classifier: Classifier, task: Classification, known: Classification | None, batch_size: int, errors: int = 0,
    kept: dict[str, Tensor] | None = None,
) -> dict[str, Any]:  # fmt: skip
    """The scores on the test rows of `task`, before and after training, and the baselines of `known`'s training rows.

    The keys are those of results.json, and: `mcnemar` of before and after, `best_threshold` on the validation part,
    `recall_at_1_percent_false_positives`, `per_label` of more than two labels, `threshold` and `after_threshold` where
    the classifier has one, `rejected` where rows were left out, `seen`, test rows that stand word for word among those
    that trained, where these are known, and `errors`, the surest mistakes. Into `kept` go the tuned model's logits, as
    "test".
    """

    def logits(asked: Classifier, part: str, of: Classification = task) -> Tensor:
        answers = of.logits(part, asked.model, batch_size, classifier.place)
        if not answers.isfinite().all():
            raise NonFiniteError("the model's answer is no number; are its weights whole? see --precision")
        return answers

    truth = torch.tensor(task.rows.labels(task.rows.split.test))
    tuned, found = logits(classifier, "test"), {}
    if kept is not None:
        kept["test"] = tuned
    try:
        with classifier.untrained() as untrained:
            base = logits(untrained, "test")
        found["before"] = classification_metrics(base, truth)
    except lora.AdapterError as error:
        base = None
        print(f"no line for the base: {error}", file=sys.stderr)
    found["after"] = classification_metrics(tuned, truth)
    found["baselines"] = known.baselines(task) if known else {}
    found |= {"seen": task.rows.seen} if known else {}
    found |= {"rejected": Counter(reason for _, reason in task.rejected)} if task.rejected else {}
    limit = classifier.threshold
    if limit is not None:
        found |= {"threshold": limit, "after_threshold": classification_metrics(tuned, truth, limit)}
    chosen = found.get("after_threshold", found["after"])
    answers = predicted_labels(tuned, limit)
    if base is not None:
        found["mcnemar"] = mcnemar(predicted_labels(base), answers, truth)
    if len(classifier.label_names) > 2:
        found["per_label"] = per_label_metrics(chosen["confusion_matrix"])
    else:
        found["recall_at_1_percent_false_positives"] = recall_at_false_positives(tuned, truth)
        if known and known.rows.split.val:
            labels = torch.tensor(known.rows.labels(known.rows.split.val))
            best = best_threshold(logits(classifier, "val", known), labels)
            found["best_threshold"] = best and {"threshold": best[0], "f1": best[1]}
    if errors:
        found["errors"] = surest_mistakes(classifier, task, tuned, answers, truth)[:errors]
    return found


def surest_mistakes(
    classifier: Classifier, task: Classification, logits: Tensor, answers: Tensor, truth: Tensor
) -> list[dict[str, Any]]:
    """Wrong answers, the surest first: text, truth, answer and the answer's probability."""
    sure = logits.double().softmax(dim=-1).gather(1, answers[:, None])[:, 0].tolist()
    wrong = sorted((answers != truth).nonzero()[:, 0].tolist(), key=lambda row: -sure[row])
    texts, names = task.rows.test_texts, classifier.label_names
    return [
        {"text": texts[i], "truth": names[truth[i]], "answer": names[answers[i]], "probability": sure[i]} for i in wrong
    ]
