"""How good files are spoilt: one field, one tensor, one byte of a header, the rest left as it was."""

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor

PREFIX = "base_model.model."
LAYER = f"{PREFIX}transformer.h.1.attn.c_attn"
A, B, SCORE = f"{LAYER}.lora_A.weight", f"{LAYER}.lora_B.weight", f"{PREFIX}score.weight"
ADAPTER, CONFIG = "adapter_model.safetensors", "adapter_config.json"
Spoil = Callable[[Path], Any]


def fields(file: str, **changes: Any) -> Spoil:
    """Some fields of a JSON file with other values."""
    return lambda directory: write_fields(directory / file, **changes)


def write_fields(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | changes), encoding="utf-8")


def raw(file: str, *replacements: tuple[str, str]) -> Spoil:
    """A text file with some words replaced, as no JSON library would write it."""

    def spoil(directory: Path) -> None:
        text = (directory / file).read_text(encoding="utf-8")
        for old, new in replacements:
            assert old in text
            text = text.replace(old, new, 1)
        (directory / file).write_text(text, encoding="utf-8")

    return spoil


def content(file: str, new: bytes) -> Spoil:
    return lambda directory: (directory / file).write_bytes(new)


def nested(levels: int) -> Any:
    """Lists in lists, which json can read and a comparison may not come to the end of."""
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


def without(file: str) -> Spoil:
    return lambda directory: (directory / file).unlink()


def tensors(file: str, change: Callable[[dict[str, Tensor]], dict[str, Tensor]]) -> Spoil:
    """The tensors of a safetensors file after `change`."""

    def spoil(directory: Path) -> None:
        path = directory / file
        save_file({k: t.contiguous() for k, t in change(load_file(path)).items()}, path, metadata={"format": "pt"})

    return spoil


def renamed(name: Callable[[str], str]) -> Spoil:
    """All tensors of the adapter under other keys."""
    return tensors(ADAPTER, lambda found: {name(key): t for key, t in found.items()})


def split(path: Path) -> tuple[dict[str, Any], bytes]:
    """Header and numbers of a safetensors file."""
    whole = path.read_bytes()
    (length,) = struct.unpack("<Q", whole[:8])
    return json.loads(whole[8 : 8 + length]), whole[8 + length :]


def join(header: str | bytes, numbers: bytes, length: int | None = None) -> bytes:
    """A safetensors file of a header as it is given; `length`: what the file says of the header's length."""
    header = header if isinstance(header, bytes) else header.encode()
    return struct.pack("<Q", len(header) if length is None else length) + header + numbers


def header(file: str, change: Callable[[dict[str, Any]], Any] = lambda h: h, length: int | None = None) -> Spoil:
    """A safetensors file whose header went through `change`, which may give the JSON text itself."""

    def spoil(directory: Path) -> None:
        entries, numbers = split(directory / file)
        changed = change(entries)
        text = changed if isinstance(changed, str | bytes) else json.dumps(changed)
        (directory / file).write_bytes(join(text, numbers, length))

    return spoil


def entry(file: str, name: str, **changes: Any) -> Spoil:
    """One tensor's line of the header changed."""
    return header(file, lambda entries: entries | {name: entries[name] | changes})
