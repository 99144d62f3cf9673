"""Files that a stranger may have written: read only so far as they are what they should be, and no larger.

Nothing here is believed: a JSON file can name a key twice, hold NaN, be a pipe that never ends or as large as the disk,
and a safetensors header can claim any shape. Every limit stands before the memory that it saves.
"""

import contextlib
import json
import math
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

from safetensors.torch import load
from torch import Tensor

LARGEST_JSON = 2**20  # bytes; of a file of settings, and of a header: some 7,000 tensors
_DEEPEST = 50  # levels of a JSON file
_PICKLED = (b"PK\x03\x04", b"\x80")  # a zip file, as torch.save writes them, and a bare pickle
_LARGEST_NUMBER = 8  # bytes
Shape = tuple[int, ...]


@contextlib.contextmanager
def open_regular(path: Path) -> Iterator[BinaryIO]:
    """A regular file, open for reading. Raises OSError, and ValueError for a pipe, a device and their like."""
    # Without O_NONBLOCK opening a pipe would wait for somebody who writes into it.
    with open(path, "rb", opener=lambda name, flags: os.open(name, flags | getattr(os, "O_NONBLOCK", 0))) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise ValueError("it is no regular file")
        yield file


def read_json(path: Path, largest: int = LARGEST_JSON) -> dict[str, Any]:
    """The object in a JSON file: no key twice, no NaN, no infinity. Raises OSError and ValueError."""
    with open_regular(path) as file:
        content = file.read(largest + 1)
    if len(content) > largest:
        raise ValueError(f"it is larger than {largest:,} bytes")
    return parse_json(content)


def parse_json(content: bytes) -> dict[str, Any]:
    """The JSON object in `content`; raises ValueError."""
    try:
        hooks = {"object_pairs_hook": _each_key_once, "parse_constant": _refuse_number, "parse_float": _finite}
        values = json.loads(content.decode("utf-8"), **hooks)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if not isinstance(values, dict):
        raise ValueError("it holds no JSON object")
    _refuse_depth(values)
    return values


def read_tensors(path: Path, check: Callable[[dict[str, Shape]], None]) -> dict[str, Tensor]:
    """The tensors of a safetensors file; `check` sees the shapes that its header claims before anything else is read.

    The file is read whole, not memory-mapped: one that changes later must not change a loaded adapter. Raises OSError
    and ValueError, and what the safetensors library raises for a file that contradicts its header.
    """
    with open_regular(path) as file:
        header, shapes = _read_header(file)
        check(shapes)
        # Not to the end: of a file with holes, which takes no room on the disk, that may be far away.
        return load(header + file.read(_LARGEST_NUMBER * sum(map(math.prod, shapes.values())) + 1))


def read_shapes(path: Path) -> dict[str, Shape]:
    """name -> shape as the header of a safetensors file claims them; errors as those of `read_tensors`."""
    with open_regular(path) as file:
        return _read_header(file)[1]


def _read_header(file: BinaryIO) -> tuple[bytes, dict[str, Shape]]:
    start = file.read(8)
    length = int.from_bytes(start, "little")
    if length > LARGEST_JSON:
        if start.startswith(_PICKLED):  # not so always: such a byte may begin an honest length, too
            raise ValueError("it is a pickle or a zip file under another name; pickle can run code and is not read")
        raise ValueError(f"it claims a header of {length:,} bytes; {LARGEST_JSON:,} are the most")
    header = file.read(length)
    entries = parse_json(header)  # the library takes the last of two tensors of one name
    entries.pop("__metadata__", None)
    most = 2 * os.fstat(file.fileno()).st_size  # numbers: the smallest have four bits
    return start + header, {name: _shape(name, entry, most) for name, entry in entries.items()}


def _shape(name: str, entry: Any, most: int) -> Shape:
    shape = entry.get("shape") if isinstance(entry, dict) else None
    if not isinstance(shape, list) or not all(type(size) is int and size >= 0 for size in shape):
        raise ValueError(f"its header gives {ascii(name)[1:-1][:80]} no shape")
    if len(shape) > 8 or math.prod(shape) > most:
        raise ValueError(f"its header gives {ascii(name)[1:-1][:80]} more numbers than the file has room for")
    return tuple(shape)


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
