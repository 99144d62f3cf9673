"""How much English is in a base model: bits a byte on held-out texts, beside a bigram model and gzip.

    python scripts/weigh_base.py --corpus MODERN BOOKS

MODERN and BOOKS are what scripts/pretrain_base.py learned from, and the same documents are held out; the bundled
messages, which no base has seen, are weighed too. A model that gives every byte the same chance needs 8 bits. The
bigram model sees one token back, in the first model's tokens, and has counted all of the training documents.
"""

import gzip
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from corpus import HeldOut, divide, encode_documents, read_files  # noqa: E402
from pretrain_scores import bits_per_byte  # noqa: E402

import data  # noqa: E402
from gpt2 import GPT2LMHeadModel, Tokenizer  # noqa: E402
from training.device import DEVICES, PRECISIONS, choose_place  # noqa: E402
from training.errors import run_door  # noqa: E402
from training.settings import option, parse  # noqa: E402


@dataclass(frozen=True)
class WeighConfig:
    corpus: tuple[str, ...] = option((), "directories of .txt files", group="texts")
    messages: str = option(str(ROOT / "data/messages/messages.tsv"), "labelled file, weighed too", group="texts")
    held_out: int = option(50, "every n-th document of a file is held out", group="texts")
    windows: int | None = option(None, "so many evenly spaced windows of each text; default: all", group="texts")
    model: tuple[str, ...] = option((str(ROOT / "assets" / "gpt2-tiny"),), "model directories", group="model")
    device: str = option("auto", "where to compute", group="machine", choices=DEVICES)
    precision: str = option("fp32", "of the matrix products", group="machine", choices=PRECISIONS)


def main(config: WeighConfig) -> None:
    place = choose_place(config.device, config.precision)
    train, test = [], {}  # documents: all training ones, and the held-out ones of each directory
    for file in read_files(config.corpus):
        learned, kept = divide(file.documents, config.held_out)
        train += learned
        test.setdefault(file.corpus, []).extend(kept)
    test["messages"] = data.load_texts(data.Source(config.messages), data.TextRule()).texts
    names = [Path(directory).name for directory in config.model]
    rows: dict[str, dict[str, float]] = {}
    for directory in config.model:
        tokenizer = Tokenizer.from_pretrained(directory)
        parts = [held_out_part(name, documents, tokenizer) for name, documents in test.items()]
        model = GPT2LMHeadModel.from_pretrained(directory).to(place.device)
        name = Path(directory).name if names.count(Path(directory).name) == 1 else directory
        rows[name] = {part.corpus: bits_per_byte(model, part, place, config.windows) for part in parts}
        if len(rows) == 1:
            counted, words = encode_documents(tokenizer, train, "training"), tokenizer.vocab_size
            bigram = {p.corpus: p.bits_per_byte(bigram_loss(counted, p.tokens.numpy(), words)) for p in parts}
    rows["bigram"] = bigram
    texts = {name: "\n".join(documents).encode() for name, documents in test.items()}
    rows["gzip -9"] = {name: 8 * len(gzip.compress(text, 9)) / len(text) for name, text in texts.items()}
    print("| bits a byte | " + " | ".join(test) + " |", "|---" * (1 + len(test)) + "|", sep="\n")
    for name, bits in rows.items():
        print(f"| {name} | " + " | ".join(f"{bits[part]:.3f}" for part in test) + " |")
    print("\n" + "; ".join(f"{name}: {len(d):,} texts, {len(texts[name]):,} bytes" for name, d in test.items()))


def held_out_part(name: str, documents: list[str], tokenizer: Tokenizer) -> HeldOut:
    ids = encode_documents(tokenizer, documents, f"{name}, held out")
    return HeldOut(name, torch.from_numpy(ids.astype(np.int64)), sum(len(d.encode()) for d in documents))


def bigram_loss(train: np.ndarray, test: np.ndarray, vocab_size: int) -> float:
    """Nats a token of a bigram model, smoothed towards single tokens after Witten & Bell 1991.

    p(b | a) = (count(a, b) + distinct(a) p(b)) / (count(a) + distinct(a)), where distinct(a) is how many different
    tokens were seen after a: the more of them, the more room is left for a new one.
    """
    pairs = np.bincount(train[:-1].astype(np.int64) * vocab_size + train[1:], minlength=vocab_size**2)
    pairs = pairs.reshape(vocab_size, vocab_size)
    single = (np.bincount(train, minlength=vocab_size) + 1) / (len(train) + vocab_size)
    distinct, counts = (pairs > 0).sum(1), pairs.sum(1)
    a, b = test[:-1], test[1:]
    p = (pairs[a, b] + distinct[a] * single[b]) / np.maximum(counts[a] + distinct[a], 1)
    p = np.where(counts[a] > 0, p, single[b])
    return float(-np.log(p).mean())


if __name__ == "__main__":
    words = {"prog": "scripts/weigh_base.py", "description": __doc__.split("\n\n")[0]}
    sys.exit(run_door(lambda: main(parse(WeighConfig, sys.argv[1:], **words)), lasting=True))
