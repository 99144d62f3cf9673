"""A run, or an adapter alone, opened to be looked at: the model, its base, and the copies that were kept of it."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import data
import gpt2
import lora
from gpt2.files import read_json
from lora.checkpoint import read_config
from lora.layer import LoraLayer
from lora.modules_to_save import ModulesToSaveWrapper
from tasks.classifier import Classifier, load_classifier
from tasks.evaluate import as_trained
from tasks.model import put_on
from tasks.product import load_base, load_product, product_directory
from tasks.record import TaskRecord
from training.device import Place, choose_place
from training.errors import UsageError
from training.snapshots import FOLDER, read_snapshot, snapshots

ADAPTER = "default"  # the name under which `load_adapter` puts it in
_PREFIX = "base_model.model."


@dataclass(frozen=True)
class Opened:
    path: Path  # what was asked for
    model: nn.Module
    tokenizer: gpt2.Tokenizer
    place: Place
    record: TaskRecord | None  # None for what peft made
    base: Callable[[], contextlib.AbstractContextManager[Any]] | None  # None where whole weights were saved
    classifier: Classifier | None  # None for a writer
    how: Mapping[str, Any] = field(default_factory=dict)  # as `as_trained` gives it

    @property
    def directory(self) -> Path:
        """Of the trained files."""
        return product_directory(self.path)

    @property
    def run(self) -> Path | None:
        """The run that left them, None for an adapter alone."""
        home = self.directory.parent
        return home if self.directory.name in ("adapter", "model") and (home / "config.toml").is_file() else None

    @cached_property
    def results(self) -> dict[str, Any]:
        """results.json, {} where there is none that can be read."""
        with contextlib.suppress(OSError, ValueError):
            return read_json(self.run / "results.json") if self.run else {}
        return {}

    @property
    def train(self) -> str:
        """ "lora", "head" or "full"; what is not known to be the head alone is taken for whole weights."""
        return "lora" if self.base else "head" if self.results.get("train") == "head" else "full"

    @property
    def task(self) -> str:
        return "language" if self.classifier is None else "classification"

    @property
    def layers(self) -> dict[str, LoraLayer]:
        """path -> layer with an update, in forward order."""
        return {path: layer for path, layer in self.model.named_modules() if isinstance(layer, LoraLayer)}

    @property
    def head(self) -> ModulesToSaveWrapper | None:
        return next((m for m in self.model.modules() if isinstance(m, ModulesToSaveWrapper)), None)

    @property
    def max_length(self) -> int:
        """Tokens of a text that are read."""
        most = self.model.config.n_positions
        return min(self.record.max_length, most) if self.record else most

    @property
    def steps(self) -> list[int]:
        """Of which a copy was kept."""
        return snapshots(self.run / FOLDER) if self.run else []

    @property
    def kept_step(self) -> int | None:
        """Whose weights the run has ended with."""
        return self.best_step if "kept_step" not in self.results else self._count("kept_step")

    @property
    def best_step(self) -> int | None:
        """Whose scores on the validation part were the best."""
        return self._count("best_step")

    def _count(self, name: str) -> int | None:
        """A number of results.json; None where there is none, or what is no count."""
        value = self.results.get(name)
        return value if is_count(value) and value >= 0 else None

    @property
    def batch_size(self) -> int:
        """Rows of a forward pass when the run scored itself, as far as is known."""
        return self.how.get("batch_size", 64)

    def weights(self) -> dict[str, Tensor]:
        """Trained tensors beside the base, under peft's keys, sharing memory with the model; {} for whole weights."""
        if self.base is not None:
            return lora.lora_state_dict(self.model, ADAPTER)
        if self.train == "head":
            return {f"{_PREFIX}score.weight": self.model.score.weight.detach()}
        return {}

    def snapshot(self, step: int) -> dict[str, Tensor]:
        """The copy of that step; raises StateError where it cannot be used."""
        own = self.weights()
        return {name: tensor.to(own[name]) for name, tensor in read_snapshot(self.run / FOLDER, step, own).items()}

    @contextlib.contextmanager
    def at(self, weights: Mapping[str, Tensor]) -> Iterator[None]:
        """Within it the model has these trained weights; after it, its own again."""
        own = self.weights()
        before = {name: tensor.clone() for name, tensor in own.items()}
        try:
            copy_into(own, weights)
            yield
        finally:
            copy_into(own, before)

    @cached_property
    def groups(self) -> dict[str, list[nn.Parameter]]:
        """lora_A, lora_B and head -> what trained beside the base; an embedding's pair, of which A starts at zero and
        not B, is apart: lora_embedding_A, lora_embedding_B."""
        found: dict[str, list[nn.Parameter]] = {"lora_A": [], "lora_B": []}
        for layer in self.layers.values():
            for name, parameter in layer.adapter(ADAPTER).items():
                found.setdefault(name.removesuffix(".weight"), []).append(parameter)
        if self.head is not None:
            found["head"] = list(self.head.modules_to_save[ADAPTER].parameters())
        elif self.train == "head":
            found["head"] = [self.model.score.weight]
        return {name: group for name, group in found.items() if group}

    @contextlib.contextmanager
    def untrained(self) -> Iterator[nn.Module]:
        """The model as it was before training. Raises AdapterError where whole weights were saved and no base of the
        recorded fingerprint is on this machine."""
        if self.base is not None:
            with self.base():
                yield self.model
        else:
            yield self.whole_base

    @cached_property
    def whole_base(self) -> nn.Module:
        """The base of whole weights, with the head that it had."""
        if self.record is None:
            raise lora.AdapterError(f"{self.directory}: has no task.json, which names the base")
        network, _ = load_base(self.directory, self.record, None, self.task, adapter=False)
        return put_on(network.requires_grad_(False), self.place, hold=False).eval()

    def encode(self, text: str) -> tuple[list[int], bool]:
        """Token ids as the model reads them, and whether the text was cut. Raises DataError for an empty text."""
        if self.classifier is not None:
            ids, cut = data.encode(
                self.tokenizer, [self.classifier.rule.apply(data.Row(text, None, "text"))], self.max_length
            )
            return list(ids[0]), bool(cut)
        ids, cut = data.encode(self.tokenizer, [whole(text)], self.max_length - 1)
        return [self.tokenizer.eos_token_id, *ids[0]], bool(cut)

    def prompt(self, text: str, room: int) -> tuple[list[int], bool]:
        """Of a writer: token ids of a text to go on from, and whether it was cut. Its end is kept, which says most of
        what comes next, and leaves `room` positions free, or half of them all."""
        ids, most = [self.tokenizer.eos_token_id, *self.tokenizer.encode(whole(text))], self.model.config.n_positions
        most -= min(room, most // 2)
        return ids[-most:], len(ids) > most


def whole(text: str) -> str:
    """The text; raises DataError where it is none."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise data.DataError("text: holds bytes that are not UTF-8 and so are no text") from None
    return text


def is_count(value: Any) -> bool:
    """Whether it is a whole number that fits a float."""
    return type(value) is int and abs(value) < 2**53


def factors(layer: LoraLayer) -> tuple[Tensor, Tensor]:
    """A (r, in) and B (out, r), also of an embedding."""
    A, B, *_ = layer.adapter(ADAPTER).values()
    return A.detach(), B.detach()


def require_same_labels(one: Opened, other: Opened) -> None:
    """Raises UsageError where the two do not answer with the same labels."""
    names, others = (opened.classifier.label_names if opened.classifier else [] for opened in (one, other))
    if names != others:
        told = f"has the labels {', '.join(others)}" if others else "is a writer"
        raise UsageError(f"{other.path}: {told}, {one.path} {', '.join(names) or 'none'}; give a run of the same")


@contextlib.contextmanager
def asking(parameters: list[nn.Parameter]) -> Iterator[None]:
    """Within it these parameters ask for a gradient."""
    try:
        for parameter in parameters:
            parameter.requires_grad_(True)
        yield
    finally:
        for parameter in parameters:
            parameter.requires_grad_(False)


@torch.no_grad()
def copy_into(targets: Mapping[str, Tensor], values: Mapping[str, Tensor]) -> None:
    for name, target in targets.items():
        target.copy_(values[name])


def open_run(
    path: str | Path, model: str | Path | None = None, device: str = "auto", as_it_was: bool = False
) -> Opened:
    """An Opened from a run, an adapter (ours or peft's) or a trained model; `model` names the base of peft's.

    In float32, as infer.py answers a text; or `as_it_was` trained, as `infer.py --test` scores it. Raises ValueErrors,
    as `load_product`.
    """
    directory = product_directory(Path(path))
    how = as_trained(path) if as_it_was else {}
    asked = {"precision": how.get("precision", "fp32"), "fast": how.get("fast")}
    hold = how.get("train", "lora") == "lora"
    if _is_writer(directory):
        product = load_product(path, model, "language")
        place = choose_place(device, asked["precision"], product.model.config.n_embd, asked["fast"])
        network = put_on(product.model.requires_grad_(False), place, hold).eval()
        tokenizer = gpt2.Tokenizer.from_pretrained(product.home)
        network.config = network.config.replace(eos_token_id=tokenizer.eos_token_id)  # as generate.py: it ends a text
        return Opened(Path(path), network, tokenizer, place, product.record, product.base, None, how)
    classifier = load_classifier(path, model, device, hold=hold, **asked)
    classifier.model.eval()
    parts = classifier.tokenizer, classifier.place, classifier.record, classifier.base
    return Opened(Path(path), classifier.model, *parts, classifier, how)


def _is_writer(directory: Path) -> bool:
    record = TaskRecord.load(directory)
    if record is not None:
        return record.task == "language"
    if (directory / "adapter_config.json").is_file():
        return read_config(directory).task_type == "CAUSAL_LM"
    return not gpt2.has_head(directory)
