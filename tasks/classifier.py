"""Base, adapter, tokenizer and labels put together, to be asked for labels: what `infer.py` and evaluation share."""

import contextlib
import dataclasses
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

import data
import gpt2
import lora
from tasks.model import put_on
from tasks.product import load_base, load_product, product_directory
from tasks.record import TaskRecord
from training.device import Place, choose_place
from training.errors import NonFiniteError
from training.evaluation import predict


@dataclass(frozen=True)
class Classifier:
    """A tuned model and all it needs to answer: `classifier.probabilities(["free prize!"])`."""

    model: torch.nn.Module
    tokenizer: gpt2.Tokenizer
    label_names: list[str]
    max_length: int
    rule: data.TextRule
    place: Place
    # Within it, the model is the untrained one; None where whole weights were trained, which hold no other.
    base: Callable[[], contextlib.AbstractContextManager[Any]] | None
    record: TaskRecord | None
    directory: Path  # of the files of the adapter or of the model
    hold: bool = True  # see load_classifier
    home_of_base: str | Path | None = None  # of whole weights: where it is, if that was said
    threshold: float | None = None  # of two labels the second is the answer from this probability on
    counts: Counter[str] = field(default_factory=Counter)  # "cut": texts longer than max_length so far

    def probabilities(self, texts: Sequence[str], batch_size: int = 64) -> list[list[float]]:
        """Per text one probability per label, in the order of `label_names`.

        Raises DataError for an empty text, NonFiniteError where the model's answer is no number.
        """
        rows = [data.Row(text, None, f"text {i}") for i, text in enumerate(texts, 1)]
        return self.row_probabilities(rows, batch_size)

    def row_probabilities(self, rows: Sequence[data.Row], batch_size: int = 64) -> list[list[float]]:
        """The same for rows that know where they come from: an error names the file and line."""
        ids, cut = data.encode(self.tokenizer, [self.rule.apply(row) for row in rows], self.max_length)
        self.counts["cut"] += cut
        pad = self.tokenizer.eos_token_id
        batches = ((at, data.collate([ids[i] for i in at], pad)) for at in data.by_length(ids, batch_size))
        logits = predict(self.model, batches, len(ids), self.place)
        wrong = (~logits.isfinite().all(dim=-1)).nonzero()
        if len(wrong):
            raise NonFiniteError(
                f"{rows[int(wrong[0])].where}: the model's answer is no number; are its weights whole? "
                "fp16 (--precision) holds no number above 65,504"
            )
        return logits.softmax(dim=-1).tolist()

    @contextlib.contextmanager
    def untrained(self) -> Iterator["Classifier"]:
        """Within it, the classifier as it was before training.

        Where whole weights were trained that is the recorded base with the head it had; raises AdapterError where no
        base of the recorded fingerprint is on this machine, or the one that `home_of_base` names is another.
        """
        if self.base is not None:
            with self.base():
                yield self
        elif self.record is None:
            raise lora.AdapterError("there is no task.json, which names the base")
        else:
            network, _ = load_base(self.directory, self.record, self.home_of_base, "classification", adapter=False)
            put_on(network.requires_grad_(False), self.place, self.hold)
            yield dataclasses.replace(self, model=network)

    def label(self, probabilities: Sequence[float]) -> str:
        if self.threshold is not None:
            return self.label_names[probabilities[1] >= self.threshold]
        return self.label_names[max(range(len(probabilities)), key=probabilities.__getitem__)]

    def said(self, probabilities: Sequence[float]) -> tuple[str, float]:
        """The answer and its own probability, which below a threshold is not the larger one."""
        label = self.label(probabilities)
        return label, probabilities[self.label_names.index(label)]

    def answer(self, text: str, probabilities: Sequence[float]) -> dict[str, Any]:
        shares = {name: round(p, 6) for name, p in zip(self.label_names, probabilities)}
        return {"text": text, "label": self.label(probabilities), "probabilities": shares}


def load_classifier(
    adapter: str | Path,
    model: str | Path | None = None,
    device: str = "auto",
    precision: str = "fp32",
    fast: bool | None = None,
    hold: bool = True,
) -> Classifier:
    """A Classifier from an adapter (ours or peft's), a trained or merged model, or the run that holds one of them.

    `hold` as `tasks.model.put_on` takes it: a run that trained whole weights scored them without.
    Where the base is found, and what is refused: `tasks.product.load_product`. Raises ValueErrors.
    """
    product = load_product(adapter, model, "classification")
    network, record = product.model, product.record
    place = choose_place(device, precision, network.config.n_embd, fast)
    put_on(network.requires_grad_(False), place, hold)
    names = record.label_names if record else network.config.label_names()
    if len(names) != network.config.num_labels:
        raise lora.AdapterError(
            f"{adapter}: task.json names {len(names)} labels, the head has {network.config.num_labels}"
        )
    if fault := data.fault_of_labels(names):
        raise lora.AdapterError(f"{adapter}: {fault}; give it another name in task.json or config.json")
    length = min(record.max_length, network.config.n_positions) if record else network.config.n_positions
    rule = data.TextRule(**record.text_rule) if record else data.TextRule()
    tokenizer = gpt2.Tokenizer.from_pretrained(product.home)
    directory = product_directory(Path(adapter))
    return Classifier(network, tokenizer, names, length, rule, place, product.base, record, directory, hold, model)
