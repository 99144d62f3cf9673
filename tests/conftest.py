"""Shared by all tests: no network, a tiny random base, a few messages, and where the real data set is."""

import os
import signal
import socket
from pathlib import Path

import pytest
import tokenizers
import torch

import gpt2

ROOT = Path(__file__).resolve().parent.parent

HAM = [
    "see you at {} then",
    "mum says dinner is at {}",
    "cant talk now, call you after {}",
    "running {} minutes late sorry",
]
SPAM = [
    "WINNER! claim {} pounds now",
    "free entry in our {} prize draw",
    "urgent: your account {} is locked",
    "cheap loans from {} today",
]
NUMBERS = ["seven", "eight", "nine", "ten", "eleven", "twelve", "thirteen", "fourteen"]


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    """A test that reaches for the network fails at once instead of waiting for it."""

    def refuse(self, address, *args):
        raise OSError(f"the tests have no network (tried {address})")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", lambda host, *args, **kwargs: refuse(None, host))


@pytest.fixture(autouse=True, scope="session")
def signals_heard():
    """A job in the background is started deaf to Ctrl-C, and what it starts is, too; runs would heed that."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for name in ("SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_DFL)


@pytest.fixture(autouse=True, scope="session")
def two_threads():
    torch.set_num_threads(min(2, torch.get_num_threads()))  # OMP_NUM_THREADS=1 is respected


@pytest.fixture(scope="session")
def messages() -> list[tuple[str, str]]:
    """64 (label, text), half of them spam, all different."""
    rows = [("ham", t.format(n)) for t in HAM for n in NUMBERS] + [("spam", t.format(n)) for t in SPAM for n in NUMBERS]
    return [rows[(i * 37) % len(rows)] for i in range(len(rows))]


@pytest.fixture(scope="session")
def messages_file(messages, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("data") / "messages.tsv"
    path.write_text("".join(f"{label}\t{text}\n" for label, text in messages), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def tiny_base(messages, tmp_path_factory) -> Path:
    """A model directory: 2 blocks of width 32, 64 positions, a BPE of 300 entries, random weights."""
    directory = tmp_path_factory.mktemp("tiny-base")
    bpe = tokenizers.ByteLevelBPETokenizer()
    bpe.train_from_iterator(
        [t for _, t in messages], vocab_size=300, special_tokens=["<|endoftext|>"], show_progress=False
    )
    bpe.save_model(str(directory))
    tokenizer = gpt2.Tokenizer(directory)
    torch.manual_seed(0)
    config = gpt2.GPT2Config(vocab_size=tokenizer.vocab_size, n_positions=64, n_embd=32, n_layer=2, n_head=2)
    gpt2.GPT2LMHeadModel(config).save_pretrained(directory)
    return directory


@pytest.fixture(scope="session")
def sms_file() -> Path:
    """The SMS Spam Collection, where the environment says it is."""
    path = os.environ.get("SMS_SPAM_FILE")
    if not path or not Path(path).is_file():
        pytest.skip("set SMS_SPAM_FILE to the file SMSSpamCollection to run this test")
    return Path(path)


@pytest.fixture(scope="session")
def gpt2_tokenizer_dir() -> Path:
    """A directory with GPT-2's own vocab.json and merges.txt, where the environment says it is."""
    path = os.environ.get("GPT2_TOKENIZER_DIR")
    if not path or not (Path(path) / "vocab.json").is_file():
        pytest.skip("set GPT2_TOKENIZER_DIR to a directory with GPT-2's vocab.json and merges.txt to run this test")
    return Path(path)
