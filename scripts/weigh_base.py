"""How much English is in a base model: bits per byte on held-out books, beside a bigram model and gzip.

    python scripts/weigh_base.py --corpus BOOKS

BOOKS is what scripts/pretrain_base.py learned from, and the same documents are held out. A model that gives every byte
the same chance needs 8 bits; the bigram model sees one token back and has counted all of the training documents.
"""

import gzip
import math
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from pretrain_base import ROOT, divide, encode_documents, evaluate, read_documents

from gpt2 import GPT2LMHeadModel, Tokenizer
from training.device import DEVICES, PRECISIONS, choose_place
from training.errors import run_door
from training.settings import option, parse


@dataclass(frozen=True)
class WeighConfig:
    corpus: str = option("", "directory of .txt files", group="texts")
    held_out: int = option(50, "every n-th document is held out", group="texts")
    model: str = option(str(ROOT / "assets" / "gpt2-tiny"), "model directory", group="model")
    device: str = option("auto", "where to compute", group="machine", choices=DEVICES)
    precision: str = option("fp32", "of the matrix products", group="machine", choices=PRECISIONS)


def main(config: WeighConfig) -> None:
    place = choose_place(config.device, config.precision)
    tokenizer = Tokenizer.from_pretrained(config.model)
    train_documents, test_documents = divide(read_documents(config.corpus), config.held_out)
    train = encode_documents(tokenizer, train_documents, "training")
    test = encode_documents(tokenizer, test_documents, "held out")
    text = "\n".join(test_documents).encode()
    in_bits_per_byte = len(test) / math.log(2) / sum(len(d.encode()) for d in test_documents)
    model = GPT2LMHeadModel.from_pretrained(config.model).to(place.device)
    ids = torch.from_numpy(test.astype(np.int64))
    rows = {
        Path(config.model).name: evaluate(model, ids, place) * in_bits_per_byte,
        "bigram": bigram_loss(train, test, tokenizer.vocab_size) * in_bits_per_byte,
        "gzip -9": 8 * len(gzip.compress(text, 9)) / len(text),
    }
    print(f"{len(test):,} held-out tokens of {len(test_documents)} documents, {len(text):,} bytes")
    for name, bits in rows.items():
        print(f"{name:<24}{bits:6.3f} bits a byte")


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
    sys.exit(run_door(lambda: main(parse(WeighConfig, sys.argv[1:], **words))))
