"""What a run leaves behind, written and read: an adapter in peft's format, or a model in transformers'."""

import contextlib
import os
import shlex
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

import gpt2
import lora
from lora.checkpoint import read_config
from tasks.config import TASKS
from tasks.record import TaskRecord
from tasks.settings import ROOT
from training.files import atomic_directory
from training.fingerprint import same_fingerprint

BUNDLED = ROOT / "assets" / "gpt2-tiny"
DOORS = {"classification": "infer.py", "language": "generate.py"}


@dataclass(frozen=True)
class Product:
    """A tuned model and what came with it."""

    model: nn.Module
    home: Path  # where its tokenizer is
    record: TaskRecord | None  # None for what peft made
    # Within it, the model is the untrained one; None where whole weights were trained, which hold no other.
    base: Callable[[], contextlib.AbstractContextManager[Any]] | None
    is_adapter: bool


def save_product(run: Path, model: nn.Module, train: str, tokenizer: gpt2.Tokenizer, record: TaskRecord, card: str):
    """`adapter/` in peft's format, or `model/` in transformers' where whole weights were trained."""
    with atomic_directory(run / ("adapter" if train == "lora" else "model")) as directory:
        if train == "lora":
            lora.save_adapter(model, directory)
        else:
            model.save_pretrained(directory)
            tokenizer.save_pretrained(directory)
        record.save(directory)
        (directory / "README.md").write_text(card, encoding="utf-8")


def load_product(path: str | Path, model: str | Path | None, task: str) -> Product:
    """An adapter (ours or peft's), a trained or merged model, or the run that holds one of them, on its base.

    The base is found by itself only where its fingerprint agrees: the recorded directory, the bundled base, the hub's
    local cache. Raises ValueErrors that say what does not fit, another task among them; never downloads because a file
    names something.
    """
    directory = product_directory(Path(path))
    record = TaskRecord.load(directory)
    _refuse_other_task(directory, record, task)
    if not (directory / "adapter_config.json").is_file():
        _refuse_drawn_head(directory, directory, task)
        if task == "classification":
            _refuse_other_labels(directory, record, gpt2.read_config(directory).num_labels)
        network = _class_of(task).from_pretrained(directory)
        return Product(network, directory, record, None, is_adapter=False)
    network, home = load_base(directory, record, model, task)
    lora.load_adapter(network, directory)
    if lora.changes_nothing(network):
        print(f"warning: {directory}: this adapter changes nothing of its base: it is zero everywhere", file=sys.stderr)
    if lora.head_shape(directory) is None:
        _refuse_drawn_head(directory, home, task)
    return Product(network, home, record, lambda: lora.disable_lora(network), is_adapter=True)


def product_directory(path: Path) -> Path:
    """The directory with the trained files: `path` itself, or what a run keeps as adapter/ or model/."""
    for directory in (path, path / "adapter", path / "model"):
        if (directory / "adapter_config.json").is_file() or (directory / "config.json").is_file():
            return directory
    told = f"{path}: no adapter there (adapter_config.json) and no model (config.json)"
    if os.path.isdir(path / "checkpoints"):  # a run that was stopped, or that goes on
        again = f"python train.py --resume_from_checkpoint {shlex.quote(str(path))}"
        told += f"; if its training was stopped, go on with: {again}"
    elif os.path.isfile(path / "status.json"):
        told += "; its training has saved nothing"
    raise lora.AdapterError(told)


def load_base(
    directory: Path, record: TaskRecord | None, model: str | Path | None, task: str, adapter: bool = True
) -> tuple[nn.Module, Path]:
    """The base of an adapter, or without `adapter` of whole weights, with the untrained head it had before training,
    and the directory it came from."""
    if record is None and model is None:
        raise lora.AdapterError(f"{directory}: has no task.json (was it made by peft?); name its base with --model")
    head = lora.head_shape(directory) if adapter and task == "classification" else None
    if head is not None:
        _refuse_other_labels(directory, record, head[0])
    tried = []
    for home in [gpt2.resolve_model(model)] if model else places_of(record.base["name"]):
        width = gpt2.read_config(home).n_embd
        if head is None or head[1] == width:  # before a head of so many rows is built
            torch.manual_seed(record.seed if record else 0)
            changes = _labels_of(record, head) if task == "classification" else {}
            pad = gpt2.Tokenizer.from_pretrained(home).eos_token_id
            network = _class_of(task).from_pretrained(home, pad_token_id=pad, **changes)
            if record is None or same_fingerprint(record.base["fingerprint"], gpt2.base_fingerprint(network, home)):
                network.name_or_path = record.base["name"] if record else str(model)
                return network, home
        elif record is None:
            raise lora.AdapterError(f"{directory}: its head is {head[1]} wide, {home} {width}: made for another base")
        tried.append(str(home))
    wanted = f"{'the adapter' if adapter else 'the model'} was trained on another base ({record.base['name'][:200]!r})"
    if not tried:
        raise lora.AdapterError(f"{directory}: {wanted}, which is not on this machine; name its directory with --model")
    what = "of weights, config.json and tokenizer the fingerprints differ"
    what += "" if model else "; name its directory with --model"
    raise lora.AdapterError(f"{directory}: {wanted} than {', '.join(tried)}: {what}")


def places_of(name: str) -> Iterator[Path]:
    """Where the base may be, without a network: a directory of that name, the bundled base, the hub's local cache.

    A file names it, so it may be any text: os.path says no where pathlib raises.
    """
    local = [Path(name), ROOT / name, BUNDLED]
    yield from dict.fromkeys(path for path in local if os.path.isfile(path / "config.json"))
    with contextlib.suppress(gpt2.CheckpointError, OSError, ValueError):
        cached = gpt2.resolve_model(name, download=False)
        if cached not in local:
            yield cached


def _class_of(task: str) -> type[nn.Module]:
    return gpt2.GPT2ForSequenceClassification if task == "classification" else gpt2.GPT2LMHeadModel


def _labels_of(record: TaskRecord | None, head: tuple[int, int] | None) -> dict[str, Any]:
    """What of the base's config the labels change; without a task.json the head says how many there are."""
    if record is not None:
        return {"id2label": dict(enumerate(record.label_names))}
    return {"num_labels": head[0]} if head else {}


def _refuse_other_labels(directory: Path, record: TaskRecord | None, rows: int) -> None:
    if record is not None and len(record.label_names) != rows:
        raise lora.AdapterError(
            f"{directory}: task.json names {len(record.label_names)} labels, the head has {rows}; take it from the run"
        )


def _refuse_other_task(directory: Path, record: TaskRecord | None, task: str) -> None:
    """A writer asked for a label, or a classifier asked to write, would answer nonsense."""
    made_for = record.task if record else None
    if record is None and (directory / "adapter_config.json").is_file():
        kinds = {kind.task_type: name for name, kind in TASKS.items()}
        made_for = kinds.get(read_config(directory).task_type)
    elif record is None and gpt2.has_head(directory):  # as transformers saves a classifier
        made_for = "classification"
    if made_for not in (None, task):
        what = {"classification": "a classifier", "language": "a writer"}
        raise lora.AdapterError(f"{directory}: is {what[made_for]}, not {what[task]}; use {DOORS[made_for]} for it")


def _refuse_drawn_head(directory: Path, home: Path, task: str) -> None:
    """Where neither file holds a head, from_pretrained has drawn one, and its answers would mean nothing."""
    if task == "classification" and not gpt2.has_head(home):
        raise lora.AdapterError(f"{directory}: no classification head (score.weight), in it or in its base; train one")
