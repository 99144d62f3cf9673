"""Directories of plain texts into token ids, and rows of them drawn by shares: what pretrain_base.py learns from.

A directory holds .txt files, one paragraph or utterance a line, documents separated by a line `<|endoftext|>`. Every
n-th document of each file is held out, whole, so that no document is on both sides.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tokenizers
import torch
from torch import Tensor
from tqdm import tqdm

from data.documents import SEPARATOR
from gpt2 import Tokenizer
from gpt2.packing import send
from training.errors import UsageError
from training.files import write_atomically

_AT_ONCE = 256  # documents: encode_batch shares them between the cores


@dataclass(frozen=True)
class TextFile:
    corpus: str  # the directory's name
    name: str
    documents: list[str]


def read_files(corpora: Sequence[str]) -> list[TextFile]:
    """All .txt files of some directories; raises UsageError for one that has none, and for two of one name."""
    files = []
    if len({Path(directory).resolve().name for directory in corpora}) < len(corpora):
        raise UsageError(f"--corpus {' '.join(corpora)}: two of the directories have the same name; rename one")
    for directory in corpora or ("",):
        paths = sorted(Path(directory).glob("*.txt")) if directory else []
        if not paths:
            raise UsageError(f"--corpus {directory or '(not given)'}: no .txt files there")
        for path in paths:
            texts = path.read_text(encoding="utf-8").split(f"\n{SEPARATOR}\n")
            documents = [text.strip() for text in texts if text.strip()]
            files.append(TextFile(Path(directory).resolve().name, path.name, documents))
    return files


def divide(documents: list[str], held_out: int) -> tuple[list[str], list[str]]:
    """(training, held-out) documents; every `held_out`-th is held out, the first among them."""
    return [d for i, d in enumerate(documents) if i % held_out], documents[::held_out]


def encode_documents(tokenizer: Tokenizer, documents: Sequence[str], name: str) -> np.ndarray:
    """One long row of token ids, an end-of-text token after each document."""
    rows = []
    for start in tqdm(range(0, len(documents), _AT_ONCE), desc=f"tokens of {name}", disable=None, leave=False):
        for ids in tokenizer.encode_batch(documents[start : start + _AT_ONCE]):
            rows.append(np.array([*ids, tokenizer.eos_token_id], dtype=np.uint16))
    return np.concatenate(rows) if rows else np.zeros(0, dtype=np.uint16)


def prepare_tokens(corpora: Sequence[str], held_out: int, vocab_size: int, work: Path) -> Tokenizer:
    """Train the BPE and encode the texts once; a later start finds both in `work`.

    Writes train.npy and test.npy, the files' ids one after the other, and tokens.json, which says whose they are.
    Raises UsageError where `work` holds tokens that were made otherwise.
    """
    names = [Path(directory).resolve().name for directory in corpora]
    made = {"corpora": names, "held_out": held_out, "vocab_size": vocab_size}
    if (work / "tokens.json").is_file():
        known = json.loads((work / "tokens.json").read_text(encoding="utf-8"))
        if any(known[key] != value for key, value in made.items()):
            raise UsageError(
                f"{work}: holds tokens of other settings ({known['corpora']}, ...); name another directory"
            )
        return Tokenizer(work)
    files = read_files(corpora)
    parts = [divide(file.documents, held_out) for file in files]
    if not any(learned for learned, _ in parts):
        raise UsageError("no document is left to train on; split the files into more documents")
    bpe = tokenizers.ByteLevelBPETokenizer()
    texts = (document for train, _ in parts for document in train)
    bpe.train_from_iterator(texts, vocab_size=vocab_size, special_tokens=[SEPARATOR])
    bpe.save_model(str(work))
    tokenizer = Tokenizer(work)
    train, test, sizes = [], [], []
    for file, (learned, kept) in zip(files, parts):
        train.append(encode_documents(tokenizer, learned, file.name))
        test.append(encode_documents(tokenizer, kept, file.name))
        sizes.append(
            {"corpus": file.corpus, "name": file.name, "train": len(train[-1]), "test": len(test[-1])}
            | {"test_bytes": sum(len(document.encode()) for document in kept)}
        )
    np.save(work / "train.npy", np.concatenate(train))
    np.save(work / "test.npy", np.concatenate(test))
    write_atomically(work / "tokens.json", json.dumps(made | {"files": sizes}, indent=1) + "\n")
    return tokenizer


class Mixture:
    """Rows of training tokens: a corpus gets its share of them, a file within it by its size to the power `root`.

    A half gives small files more than their part: of 26 files of talk the largest has a quarter of the bytes. Where
    all is read many times over, 1 keeps the small ones from being learned by heart.
    """

    def __init__(
        self, work: Path, shares: dict[str, float], device: torch.device, seed: int, root: float = 0.5
    ):  # fmt: skip
        sizes = json.loads((work / "tokens.json").read_text(encoding="utf-8"))["files"]
        self.tokens = torch.from_numpy(np.load(work / "train.npy").astype(np.int32)).to(device)
        self.lengths = np.array([size["train"] for size in sizes])
        self.starts = np.cumsum(self.lengths) - self.lengths
        chance = self.lengths**root
        for corpus, share in shares.items():
            of_corpus = np.array([size["corpus"] == corpus for size in sizes])
            chance[of_corpus] *= share / chance[of_corpus].sum()
        self.chance = chance / chance.sum()
        self.seed = seed

    def batch(self, step: int, rows: int, length: int) -> Tensor:
        """(rows, length) int64, a pure function of (seed, step): a resumed run sees what it would have seen.

        A row of a file that is shorter runs on into the next one.
        """
        rng = np.random.default_rng([self.seed, step])
        file = rng.choice(len(self.chance), size=rows, p=self.chance)
        room = np.maximum(self.lengths[file] - length, 1)
        offsets = torch.from_numpy(self.starts[file] + (rng.random(rows) * room).astype(np.int64))
        device = self.tokens.device
        at = send(offsets, device)[:, None] + torch.arange(length, device=device)  # no wait for a GPU in between
        return self.tokens[at.clamp_max(len(self.tokens) - 1)].long()


@dataclass(frozen=True)
class HeldOut:
    """The held-out tokens of one corpus."""

    corpus: str
    tokens: Tensor  # (N,) int64
    n_bytes: int

    def bits_per_byte(self, nats: float) -> float:
        """What a byte costs, in bits, where a token costs `nats`."""
        return nats / math.log(2) * len(self.tokens) / self.n_bytes


def held_out_parts(work: Path) -> list[HeldOut]:
    """What `prepare_tokens` held out, a part for each corpus."""
    sizes = json.loads((work / "tokens.json").read_text(encoding="utf-8"))["files"]
    tokens = torch.from_numpy(np.load(work / "test.npy").astype(np.int64))
    pieces = tokens.split([size["test"] for size in sizes])
    parts = []
    for corpus in dict.fromkeys(size["corpus"] for size in sizes):
        mine = [number for number, size in enumerate(sizes) if size["corpus"] == corpus]
        n_bytes = sum(sizes[number]["test_bytes"] for number in mine)
        parts.append(HeldOut(corpus, torch.cat([pieces[number] for number in mine]), n_bytes))
    return parts
