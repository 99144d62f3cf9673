"""Rows with labels: what a classifier learns from, how good it is, and how good one gets without a language model."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import data
import gpt2
from tasks.record import TaskRecord
from training.device import Place
from training.evaluation import predict, score_baselines
from training.metrics import Metric, classification_metrics, interval, percent, predicts_one_label
from training.report import NO_TERMINAL, label_tables

METRICS = (
    Metric("accuracy", "accuracy", percent, higher_is_better=True, in_progress=True),
    Metric("precision", "precision", "{:.3f}".format, in_card=False),
    Metric("recall", "recall", "{:.3f}".format, in_card=False),
    Metric("f1", "F1", "{:.3f}".format, higher_is_better=True, in_progress=True),
    Metric("mcc", "MCC", "{:.3f}".format, higher_is_better=True),
    Metric("false_positive_rate", "false pos.", percent),
    Metric("loss", "loss", "{:.4f}".format, higher_is_better=False, in_progress=True, in_card=False),
    Metric("accuracy_interval", "95 % interval of accuracy", interval),
)


@dataclass(frozen=True)
class Classification:
    """The task behind `--task classification`: a label for each text, from a linear head on its last token."""

    rows: data.Task
    source: data.Source | None = None  # where the rows came from, and how they were divided: for task.json
    rule: data.TextRule = data.TextRule()
    division: dict[str, Any] = dataclasses.field(default_factory=dict)

    kind, task_type, metrics = "classification", "SEQ_CLS", METRICS

    @classmethod
    def prepare(cls, config: Any, source: data.Source, tokenizer: gpt2.Tokenizer, max_length: int) -> "Classification":
        """All rows read, divided and tokenised; `config` is a TrainConfig. Raises DataError."""
        rule = data.TextRule(config.strip)
        dataset = data.load_texts(source, rule)
        how = {"kind": config.split, "test_size": config.test_size, "val_size": config.val_size}
        how |= {"seed": config.split_seed, "max_train_rows": config.max_train_rows}
        split = data.split_rows(dataset, **how)
        return cls(data.prepare_task(dataset, split, tokenizer, tokenizer.eos_token_id, max_length), source, rule, how)

    def beside(self, name: str, tokenizer: gpt2.Tokenizer) -> "Classification":
        """The rows of another file, which only test. Its labels are this task's."""
        source = dataclasses.replace(self.source, name=name)
        texts = data.load_texts(source, self.rule, self.label_names)
        return dataclasses.replace(self, rows=self.rows.beside(texts, tokenizer), source=source)

    @property
    def label_names(self) -> list[str]:
        return self.rows.dataset.label_names

    @property
    def rejected(self) -> tuple[tuple[str, str], ...]:
        """(`file:line`, reason) of the rows that were left out."""
        return self.rows.dataset.rejected

    @property
    def fingerprint(self) -> str:
        """Of the rows."""
        return self.rows.dataset.fingerprint()

    def describe(self) -> str:
        return self.rows.describe()

    def whereabouts(self, rows: Sequence[int]) -> list[str]:
        """`file:line` of rows, found by reading the source again."""
        found = data.usable_rows(data.open_rows(self.source)[0], self.source, self.rule) if self.source else []
        places = {number: row.where for number, row in enumerate(found) if number in set(rows)}
        return [places[row] for row in rows if row in places]

    def load_model(self, directory: Path) -> nn.Module:
        """The base with a fresh head, which torch's global generator draws."""
        return gpt2.GPT2ForSequenceClassification.from_pretrained(
            directory, id2label=self.rows.dataset.id2label, pad_token_id=self.rows.pad_token_id
        )

    def scores(self, part: str, model: nn.Module, batch_size: int, place: Place) -> dict[str, Any]:
        """The METRICS on a part of the rows, "val" or "test"."""
        labels = self.rows.labels(getattr(self.rows.split, part))
        return classification_metrics(self.logits(part, model, batch_size, place), torch.tensor(labels))

    def logits(self, part: str, model: nn.Module, batch_size: int, place: Place) -> Tensor:
        """(rows of the part, labels), float32 on the CPU."""
        rows = getattr(self.rows.split, part)
        return predict(model, self.rows.eval_batches(rows, batch_size), len(rows), place)

    def baselines(self, part: "Classification") -> dict[str, dict[str, Any]]:
        """How good one gets on `part`'s test rows by counting in the training rows."""
        return score_baselines(self.rows.baselines(part.rows.test_texts), part.rows.labels(part.rows.split.test))

    def samples(self, model: nn.Module, place: Place) -> list[str]:
        """Nothing to read at an evaluation."""
        return []

    def details(self, scores: dict[str, Any], width: int = NO_TERMINAL) -> str:
        """What stands below a table of scores, in lines of at most `width` characters."""
        return label_tables(scores, self.label_names, width)

    def warning(self, scores: dict[str, Any]) -> str:
        """What is wrong with a result, and what to do, or nothing."""
        label = predicts_one_label(scores)
        if label is None:
            most = max(map(sum, scores["confusion_matrix"])) / scores["rows"]
            if scores["accuracy"] >= most:
                return ""
            return (
                f"The accuracy, {percent(scores['accuracy'])}, is below that of always saying the commonest label, "
                f"{percent(most)}.\nTry more epochs or a higher --learning_rate, and look at the rows."
            )
        return (
            f"The model calls every test row '{self.label_names[label]}': it has learned the class mix and nothing "
            "else.\nTry a higher --learning_rate (LoRA wants about ten times that of full fine-tuning) or more epochs."
        )

    def record(self, config: Any, fingerprint: str) -> TaskRecord:
        """task.json's content; `fingerprint` is that of the base."""
        return TaskRecord(
            task=self.kind, label_names=self.label_names, max_length=self.rows.max_length, seed=config.seed,
            text_rule=dataclasses.asdict(self.rule), split=self.division,
            base={"name": config.model, "fingerprint": fingerprint},
            dataset=dataclasses.asdict(self.source)
            | {"name": config.dataset, "fingerprint": self.fingerprint}
            | {name: getattr(config, name) for name in ("validation_dataset", "test_dataset")},
        )  # fmt: skip
