"""GPT-2's byte-level BPE, built from `vocab.json` and `merges.txt` by the `tokenizers` library.

`tokenizer.json` is not read: it can hold arbitrary normalisers and regular expressions, the two plain files cannot.
"""

import contextlib
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import tokenizers

from gpt2.checkpoint import read_config
from gpt2.config import CheckpointError
from gpt2.files import read_json, read_text
from gpt2.hub import resolve_model

_END_OF_TEXT = "<|endoftext|>"


def _byte_of_character() -> dict[str, int]:
    """The character that stands for each byte in vocab.json: itself where it is seen, else one from U+0100 on."""
    seen = {*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)}
    hidden = [byte for byte in range(256) if byte not in seen]
    return {chr(byte): byte for byte in seen} | {chr(256 + n): byte for n, byte in enumerate(hidden)}


_BYTES = _byte_of_character()


class Tokenizer:
    """Text to token ids and back. `<|endoftext|>` inside a text is ordinary text here, never the special token."""

    def __init__(self, directory: Path):
        self.directory = directory
        vocab = read_vocab(directory / "vocab.json")
        merges = read_merges(directory / "merges.txt", vocab)
        with _panic_told(directory):
            try:
                model = tokenizers.models.BPE(vocab=vocab, merges=merges)
            except Exception as error:  # noqa: BLE001 - the library raises bare Exception
                reason = ascii(str(error)[:200])[1:-1]  # it quotes the file
                raise CheckpointError(f"{directory / 'merges.txt'}: does not fit vocab.json ({reason})") from error
        self._bpe = tokenizers.Tokenizer(model)
        self._bpe.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
        self._bpe.decoder = tokenizers.decoders.ByteLevel()
        self.vocab_size = len(vocab)
        self.eos_token_id: int = vocab.get(_END_OF_TEXT, len(vocab) - 1)

    @classmethod
    def from_pretrained(cls, name_or_path: str | Path) -> "Tokenizer":
        """The tokenizer of a model directory or hub id; raises CheckpointError where its two files are unfit."""
        tokenizer = cls(resolve_model(name_or_path))
        embedded = read_config(tokenizer.directory).vocab_size
        if tokenizer.vocab_size > embedded:  # more rows than tokens are no harm: some pad to a round number
            raise CheckpointError(
                f"{tokenizer.directory / 'vocab.json'}: has {tokenizer.vocab_size:,} tokens, the model embeds "
                f"{embedded:,}; take vocab.json and merges.txt of the same model"
            )
        return tokenizer

    def encode(self, text: str) -> list[int]:
        """`"Free entry!"` -> `[11146, 5726, 0]` with GPT-2's own files."""
        with _panic_told(self.directory):
            return self._bpe.encode(text).ids

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        with _panic_told(self.directory):
            return [encoding.ids for encoding in self._bpe.encode_batch_fast(list(texts))]

    def decode(self, ids: Sequence[int]) -> str:
        with _panic_told(self.directory):
            return self._bpe.decode(list(ids), skip_special_tokens=False)

    def token_bytes(self, token: int) -> bytes:
        """What a token stands for; it may be part of a character only. Raises ValueError for an id without a token."""
        written = self._bpe.id_to_token(token)
        if written is None:
            raise ValueError(f"there is no token {token}; the tokenizer has {self.vocab_size:,}")
        return b"".join(bytes([_BYTES[c]]) if c in _BYTES else c.encode() for c in written)

    def save_pretrained(self, directory: str | Path) -> None:
        """Copy the two files beside a saved model."""
        for name in ("vocab.json", "merges.txt"):
            shutil.copyfile(self.directory / name, Path(directory) / name)


@contextlib.contextmanager
def _panic_told(directory: Path) -> Iterator[None]:
    """A panic of the library is told as what it is; it is no Exception in Python, so that nobody else catches it."""
    try:
        yield
    except BaseException as error:
        if type(error).__name__ != "PanicException":
            raise
        raise CheckpointError(
            f"{directory}: the tokenizers library cannot work with its vocab.json and merges.txt; take others"
        ) from error


def read_vocab(path: Path) -> dict[str, int]:
    """Token -> id, as `vocab.json` has it: 0, 1, 2, ... and each of the 256 bytes among them.

    Raises CheckpointError: of a byte without a token the library would drop every occurrence without a word.
    """
    try:
        vocab = read_json(path)
    except FileNotFoundError:
        raise CheckpointError(
            f"{path}: not found; the tokenizer needs vocab.json and merges.txt beside the model"
        ) from None
    except (ValueError, OSError) as error:
        raise CheckpointError(f"{path}: cannot be read as JSON ({error})") from error
    if not all(type(number) is int for number in vocab.values()) or set(vocab.values()) != set(range(len(vocab))):
        raise CheckpointError(f"{path}: must give each token its own id, 0, 1, 2, ... without gaps")
    lost = sorted(set(tokenizers.pre_tokenizers.ByteLevel.alphabet()) - set(vocab))
    if lost:
        raise CheckpointError(f"{path}: lacks tokens for {len(lost)} of the 256 bytes, {lost[0]!a} the first of them")
    return vocab


def read_merges(path: Path, vocab: dict[str, int]) -> list[tuple[str, str]]:
    """The pairs of `merges.txt` in their order; raises CheckpointError where `vocab` has no room for so many."""
    try:
        lines = read_text(path).split("\n")
    except FileNotFoundError:
        raise CheckpointError(
            f"{path}: not found; the tokenizer needs vocab.json and merges.txt beside the model"
        ) from None
    except (ValueError, OSError) as error:
        raise CheckpointError(f"{path}: cannot be read as UTF-8 ({error})") from error
    merges: list[tuple[str, str]] = []
    for number, line in enumerate(lines, 1):
        if not line.strip() or (number == 1 and line.startswith("#version")):
            continue
        parts = line.rstrip("\r").split(" ")
        if len(parts) != 2:
            raise CheckpointError(f"{path}:{number}: a merge is two tokens and a space between, not {line[:40]!a}")
        if len(merges) == len(vocab):
            raise CheckpointError(f"{path}:{number}: more merges than vocab.json has tokens")
        merges.append((parts[0], parts[1]))
    return merges
