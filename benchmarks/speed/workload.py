"""What the lanes work on: a base, the rows, and batches that stand for a whole epoch."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

import data
import gpt2
from training.errors import UsageError

ROOT = Path(__file__).resolve().parents[2]
BUNDLED = ROOT / "assets" / "gpt2-tiny"
SPLIT = {"kind": "seed", "test_size": 0.2, "val_size": 0.0, "seed": 23}  # the notebook's


@dataclass(frozen=True)
class Workload:
    base: Path
    about: str  # the base and its tokenizer, in words
    task: data.Task

    def lengths(self, rows: Sequence[int]) -> list[int]:
        return [len(self.task.ids[row]) for row in rows]

    def tokens(self, rows: Sequence[int]) -> int:
        return sum(self.lengths(rows))

    def padded(self, rows: Sequence[int]) -> int:
        """Positions of the batch once it is padded to its longest row."""
        return len(rows) * max(self.lengths(rows))


def prepare_base(work: Path, base: str, model: str | None, tokenizer: str | None) -> tuple[Path, str]:
    """The directory of the model to compare on, and a line about it. A random GPT-2 is written into `work`."""
    if tokenizer and (model or base == "small"):
        raise UsageError("--tokenizer: only the random base needs one, a model's own stands beside its weights")
    if model:
        return gpt2.resolve_model(model), f"{model}, with its own tokenizer"
    if base == "small":
        return BUNDLED, "the bundled base (4 blocks of width 256), with its own tokenizer"
    source = Path(tokenizer) if tokenizer else BUNDLED
    size = gpt2.Tokenizer(source).vocab_size
    config = gpt2.GPT2Config()
    if size > config.vocab_size:
        raise UsageError(f"--tokenizer {source}: {size} tokens, but GPT-2 has {config.vocab_size}; give GPT-2's own")
    torch.manual_seed(0)
    directory = work / "base"
    gpt2.GPT2LMHeadModel(config).save_pretrained(directory)
    for name in ("vocab.json", "merges.txt"):
        shutil.copyfile(source / name, directory / name)
    about = "the files in --tokenizer" if tokenizer else "the bundled tokenizer (more tokens a message than GPT-2's)"
    return directory, f"a random GPT-2 of 124 M parameters, with {about}"


def prepare_workload(base: Path, about: str, dataset: Path) -> Workload:
    tokenizer, positions = gpt2.Tokenizer.from_pretrained(base), gpt2.read_config(base).n_positions
    return Workload(base, about, prepare_task(tokenizer, dataset, positions))


def prepare_task(tokenizer: gpt2.Tokenizer, dataset: Path, max_length: int) -> data.Task:
    texts = data.load_texts(data.Source(str(dataset.absolute())), data.TextRule())
    return data.prepare_task(texts, data.split_rows(texts, **SPLIT), tokenizer, tokenizer.eos_token_id, max_length)


def random_batches(task: data.Task, batch_size: int, seed: int, epoch: int = 0) -> list[list[int]]:
    """The full batches of an epoch in the order of Trainer's default sampler, which is this project's too."""
    order = data.epoch_order(len(task.split.train), seed, epoch)
    return _full_batches([task.split.train[i] for i in order], batch_size)


def grouped_batches(task: data.Task, batch_size: int, seed: int) -> list[list[int]]:
    """The full batches of an epoch as Trainer's `train_sampling_strategy="group_by_length"` draws them."""
    from transformers.trainer_pt_utils import get_length_grouped_indices

    train = task.split.train
    lengths = [len(task.ids[row]) for row in train]
    order = get_length_grouped_indices(lengths, batch_size, generator=torch.Generator().manual_seed(seed))
    return _full_batches([train[i] for i in order], batch_size)


def _full_batches(rows: list[int], batch_size: int) -> list[list[int]]:
    return [rows[at : at + batch_size] for at in range(0, len(rows) - batch_size + 1, batch_size)]


def spread(batches: list[list[int]], ids: list[list[int]], count: int) -> list[list[int]]:
    """`count` batches that stand for all: in the order of their longest row, the middle one of each equal share."""
    if len(batches) < count:
        raise UsageError(f"--batches {count}: the rows give only {len(batches)} full batches; give more rows or fewer")
    ordered = sorted(batches, key=lambda rows: max(len(ids[row]) for row in rows))
    return [ordered[int((i + 0.5) * len(ordered) / count)] for i in range(count)]
