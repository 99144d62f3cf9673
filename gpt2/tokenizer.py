"""GPT-2's byte-level BPE, built from `vocab.json` and `merges.txt` by the `tokenizers` library.

`tokenizer.json` is not read: it can hold arbitrary normalisers and regular expressions, the two plain files cannot.
"""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import tokenizers

from gpt2.config import CheckpointError
from gpt2.hub import resolve_model

_END_OF_TEXT = "<|endoftext|>"


class Tokenizer:
    """Text to token ids and back. `<|endoftext|>` inside a text is ordinary text here, never the special token."""

    def __init__(self, directory: Path):
        self.directory = directory
        vocab = _read_vocab(directory / "vocab.json")
        merges = _read_merges(directory / "merges.txt")
        try:
            model = tokenizers.models.BPE(vocab=vocab, merges=merges)
        except Exception as error:  # noqa: BLE001 - the library raises bare Exception
            raise CheckpointError(f"{directory / 'merges.txt'}: does not fit vocab.json ({error})") from error
        self._bpe = tokenizers.Tokenizer(model)
        self._bpe.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
        self._bpe.decoder = tokenizers.decoders.ByteLevel()
        self.vocab_size = len(vocab)
        self.eos_token_id: int = vocab.get(_END_OF_TEXT, len(vocab) - 1)

    @classmethod
    def from_pretrained(cls, name_or_path: str | Path) -> "Tokenizer":
        """The tokenizer of a model directory or hub id; raises CheckpointError where its two files are unfit."""
        return cls(resolve_model(name_or_path))

    def encode(self, text: str) -> list[int]:
        """`"Free entry!"` -> `[11146, 5726, 0]` with GPT-2's own files."""
        return self._bpe.encode(text).ids

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        return [encoding.ids for encoding in self._bpe.encode_batch_fast(list(texts))]

    def decode(self, ids: Sequence[int]) -> str:
        return self._bpe.decode(list(ids), skip_special_tokens=False)

    def save_pretrained(self, directory: str | Path) -> None:
        """Copy the two files beside a saved model."""
        for name in ("vocab.json", "merges.txt"):
            shutil.copyfile(self.directory / name, Path(directory) / name)


def _read_vocab(path: Path) -> dict[str, int]:
    try:
        vocab = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(
            f"{path}: not found; the tokenizer needs vocab.json and merges.txt beside the model"
        ) from None
    except (ValueError, OSError) as error:
        raise CheckpointError(f"{path}: cannot be read as JSON ({error})") from error
    if not isinstance(vocab, dict) or sorted(vocab.values(), key=str) != sorted(range(len(vocab)), key=str):
        raise CheckpointError(f"{path}: must give each token its own id, 0, 1, 2, ... without gaps")
    return vocab


def _read_merges(path: Path) -> list[tuple[str, str]]:
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except FileNotFoundError:
        raise CheckpointError(
            f"{path}: not found; the tokenizer needs vocab.json and merges.txt beside the model"
        ) from None
    except (ValueError, OSError) as error:
        raise CheckpointError(f"{path}: cannot be read as UTF-8 ({error})") from error
    merges = []
    for number, line in enumerate(lines, 1):
        if not line.strip() or (number == 1 and line.startswith("#version")):
            continue
        parts = line.rstrip("\r").split(" ")
        if len(parts) != 2:
            raise CheckpointError(f"{path}:{number}: a merge is two tokens and a space between, not {line[:40]!r}")
        merges.append((parts[0], parts[1]))
    return merges
