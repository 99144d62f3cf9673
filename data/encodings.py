"""Lines of text out of the bytes of a file: encodings, byte order marks, gzip, and what is no text at all."""

import codecs
import gzip
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from data.rows import DataError, Source, Tell, untold

# UTF-32's first: its little-endian mark begins with that of UTF-16.
_MARKS = {codecs.BOM_UTF32_LE: "utf-32", codecs.BOM_UTF32_BE: "utf-32"}
_MARKS |= {codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}

# Stands for what is no character of UTF-16 or UTF-32 until it is counted: half of a pair, which neither can hold.
_NONE = "\udfff"
codecs.register_error("data.count", lambda error: (_NONE, error.end))


@dataclass
class _Replaced:
    """How many characters were replaced, and the place of the first."""

    encoding: str = ""
    number: int = 0
    first: str = ""

    def add(self, number: int, where: str) -> None:
        self.number, self.first = self.number + number, self.first or where


def suffix_of(path: Path) -> str:
    """`.csv` of "rows.csv" and of "rows.csv.gz"."""
    lower = Path(path.name.lower())
    return Path(lower.stem).suffix if lower.suffix == ".gz" else lower.suffix


def read_lines(path: Path, source: Source, *, returns: bool = False, tell: Tell = untold) -> Iterator[tuple[str, str]]:
    """(`file:line`, text) for each line of a file, packed (.gz) or not; see `split_lines`."""
    try:
        with gzip.open(path) if path.suffix.lower() == ".gz" else open(path, "rb") as file:
            yield from split_lines(file, str(path), source.encoding, source.encoding_errors, returns=returns, tell=tell)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path}: cannot be unpacked ({error}); is the .gz whole?") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error


def split_lines(
    file: Iterable[bytes], name: str, encoding: str = "utf-8", errors: str = "strict", *, returns: bool = False,
    tell: Tell = untold,
) -> Iterator[tuple[str, str]]:  # fmt: skip
    """(`name:line`, text) for each line. Only a newline ends a line: U+2028 and its like are part of the text.

    A carriage return before it goes, too. With `returns` it stays in a file whose first line ends without one: between
    quotes it is part of a text there. With the errors "replace" what is no character becomes U+FFFD, and `tell` is
    told how many there were.
    """
    replaced = _Replaced()
    lines, encoding = _byte_lines(iter(file), name, encoding, errors, replaced)
    pending: list[tuple[str, str]] = []  # blank lines, kept back: at the end of a file they mean nothing
    end = "\r"
    for number, raw in enumerate(lines, 1):
        where = f"{name}:{number}"
        if number == 1:
            _check_first_line(raw, where, replaced.encoding)
            end = "" if returns and not raw.endswith(b"\r\n") else "\r"
        try:
            line = raw.decode(encoding)
        except ValueError as error:
            line = _mended(raw, encoding, errors, where, error, lines, replaced)
        if number == 1:
            line = line.removeprefix("\ufeff")
        line = line.removesuffix("\n").removesuffix(end)
        if line and not line.isspace():
            if pending:
                yield from pending
                pending = []
            yield where, line
        else:
            pending.append((where, line))
    if replaced.number:
        what = f"{replaced.number:,} characters that are not {replaced.encoding}"
        tell(f"{name}: {what} were replaced, the first at {replaced.first}")


def _byte_lines(
    file: Iterator[bytes], name: str, encoding: str, errors: str, replaced: _Replaced
) -> tuple[Iterator[bytes], str]:
    """The lines as bytes in an encoding in which a newline is one byte, and its name."""
    first = next(file, b"")
    mark = next((mark for mark in _MARKS if first.startswith(mark)), None)
    try:
        known = codecs.lookup(encoding).name
        usable = b"\n".decode(encoding) == "\n"
    except LookupError:
        raise DataError(f"--encoding {encoding}: Python knows no such encoding") from None
    except ValueError:  # UTF-16 and UTF-32 need more bytes; "undefined" decodes nothing at all
        usable = False
    wide = _MARKS[mark] if mark and known in ("utf-8", "utf-8-sig") else known
    if first and wide in _MARKS.values() and wide != _MARKS.get(mark):
        way = f"{wide}-le, {wide}-be or utf-8" if mark is None else _MARKS[mark]
        raise DataError(f"{name}:1: no byte order mark of {wide.upper()}; give --encoding {way}")
    if wide.startswith(("utf-16", "utf-32")):
        replaced.encoding = wide
        pieces = (piece for part in ([first], file) for piece in part)
        return _as_utf8(_decoded(pieces, wide), name, errors, replaced), "utf-8"
    replaced.encoding = encoding
    if not usable:
        raise DataError(f"--encoding {encoding}: files in it cannot be read line by line; convert the file to UTF-8")
    return (piece for part in ([first] * bool(first), file) for piece in part), encoding


def _decoded(pieces: Iterator[bytes], encoding: str) -> Iterator[str]:
    """The lines of UTF-16 or UTF-32, with `_NONE` for what is no character."""
    decoder, rest, ended = codecs.getincrementaldecoder(encoding)("data.count"), "", False
    while not ended:
        piece = next(pieces, None)
        ended = piece is None
        *lines, rest = (rest + decoder.decode(piece or b"", final=ended)).split("\n")
        yield from (f"{line}\n" for line in lines)
    if rest:
        yield rest


def _as_utf8(lines: Iterator[str], name: str, errors: str, replaced: _Replaced) -> Iterator[bytes]:
    for number, line in enumerate(lines, 1):
        if bad := line.count(_NONE):
            if errors == "strict":
                bad += sum(other.count(_NONE) for other in lines)
                told = f"{name}:{number}: holds what is not {replaced.encoding}; convert the file"
                raise DataError(f"{told}, or --encoding_errors replace: {bad:,} such places in the file")
            replaced.add(bad, f"{name}:{number}")
        yield line.replace(_NONE, "\ufffd").encode()


def _check_first_line(raw: bytes, where: str, encoding: str) -> None:
    """What the first bytes give away about a file that would only fail later, with a misleading message.

    Of a file that was read in UTF-16 they are UTF-8: each 0 is a character that UTF-32 has not got.
    """
    if b"\0" in raw[:4]:
        if encoding.startswith("utf-32"):
            raise DataError(f"{where}: holds the character 0; is it a text file?")
        wide = encoding.startswith("utf-16") or b"\0\0" in (raw[:2], raw[2:4])
        big = raw[:1] == b"\0" if wide else b"\0" in raw[:4:2]
        which = f"UTF-{32 if wide else 16}"
        way = f"give --encoding {which.lower()}-{'be' if big else 'le'}"
        raise DataError(f"{where}: the file is {which} without a mark that says so; {way}")
    if raw.startswith((b"PK\x03\x04", b"PAR1", b"\x1f\x8b")):  # also .xlsx and .ods, which are zip files
        raise DataError(
            f"{where}: a zip, gzip or parquet file, not text; save it as .csv, .tsv or .jsonl first, or end its name "
            "in .gz or .parquet if it is one"
        )
    if b"\r" in raw.removesuffix(b"\n").removesuffix(b"\r"):
        raise DataError(f"{where}: a carriage return inside the line; do lines end in it? Convert them to newlines")


def _mended(raw: bytes, encoding: str, errors: str, where: str, error: ValueError, lines, replaced: _Replaced) -> str:
    """A line with U+FFFD for what is no character; raises DataError, with the count, unless that is wanted."""
    try:
        line = raw.decode(encoding, "replace")
    except ValueError:  # some codecs refuse a line as a whole
        line = None
    if errors == "replace" and line is not None:
        replaced.add(_count(raw, line), where)
        return line
    at = f"byte {error.start + 1} is not {encoding}" if isinstance(error, UnicodeDecodeError) else f"not {encoding}"
    way = "convert the file or try --encoding latin-1"
    if line is None:
        raise DataError(f"{where}: {at}; {way}")
    count = _count(raw, line) + sum(_count(other, other.decode(encoding, "replace")) for other in lines)
    raise DataError(f"{where}: {at}; {way}, or --encoding_errors replace: {count:,} such places in the file")


def _count(raw: bytes, line: str) -> int:
    return line.count("\ufffd") - raw.count("\ufffd".encode())
