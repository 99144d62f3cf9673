"""Files of a model that a stranger may have written: read only so far as they are what they should be, and no larger.

Nothing here is believed: a JSON file can name a key twice, hold NaN, be a pipe that never ends or as large as the disk.
Every limit stands before the memory that it saves.
"""

import contextlib
import json
import math
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

LARGEST_TEXT = 2**22  # bytes of a .json or .txt; GPT-2's own vocab.json is a quarter of that
_LARGEST_HEADER = 2**20  # bytes of a safetensors header: some 7,000 tensors
_DEEPEST = 50  # levels of a JSON file
_PICKLED = (b"PK\x03\x04", b"\x80")  # a zip file, as torch.save writes them, and a bare pickle


@contextlib.contextmanager
def open_regular(path: Path) -> Iterator[BinaryIO]:
    """A regular file, open for reading. Raises OSError, and ValueError for a pipe, a device and their like."""
    # Without O_NONBLOCK opening a pipe would wait for somebody who writes into it.
    with open(path, "rb", opener=lambda name, flags: os.open(name, flags | getattr(os, "O_NONBLOCK", 0))) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise ValueError("it is no regular file")
        yield file


def read_text(path: Path) -> str:
    """A small UTF-8 file. Raises OSError and ValueError."""
    with open_regular(path) as file:
        content = file.read(LARGEST_TEXT + 1)
    if len(content) > LARGEST_TEXT:
        raise ValueError(f"it is larger than {LARGEST_TEXT:,} bytes")
    return content.decode("utf-8")


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file: no key twice, no NaN, no infinity. Raises OSError and ValueError."""
    return _parse_json(read_text(path))


def check_header(path: Path) -> None:
    """What the safetensors library lets pass: a header as large as memory, and two tensors of one name, of which it
    takes the last. Raises OSError and ValueError."""
    with open_regular(path) as file:
        start = file.read(8)
        length = int.from_bytes(start, "little")
        if length > _LARGEST_HEADER:
            if start.startswith(_PICKLED):  # not so always: such a byte may begin an honest length, too
                raise ValueError("it is a pickle or a zip file under another name; pickle can run code and is not read")
            raise ValueError(f"it claims a header of {length:,} bytes; {_LARGEST_HEADER:,} are the most")
        _parse_json(file.read(length).decode("utf-8"))


def _parse_json(text: str) -> dict[str, Any]:
    try:
        hooks = {"object_pairs_hook": _each_key_once, "parse_constant": _refuse_number, "parse_float": _finite}
        values = json.loads(text, **hooks)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if not isinstance(values, dict):
        raise ValueError("it holds no JSON object")
    _refuse_depth(values)
    return values


def _refuse_depth(values: dict[str, Any]) -> None:
    """What json reads can still be too deep to be compared, copied or shown, all of which go down level by level."""
    level: list[Any] = [values]
    for _ in range(_DEEPEST):
        held = (part for whole in level for part in (whole.values() if isinstance(whole, dict) else whole))
        level = [part for part in held if isinstance(part, dict | list)]
        if not level:
            return
    raise ValueError("it is nested too deeply")


def _each_key_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for key, value in pairs:
        if key in values:
            raise ValueError(f"{ascii(key)[:80]} is there twice")
        values[key] = value
    return values


def _refuse_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number in JSON")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text[:20]} is too large for a number")
    return number
