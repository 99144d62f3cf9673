"""Command line and TOML out of one dataclass: each field is a flag, its default and its help stand beside it.

    @dataclass(frozen=True)
    class Config:
        learning_rate: float = option(1e-3, "peak learning rate", group="optimizer", short="lr")

    config = parse(Config, ["--lr", "3e-4"], prog="train.py", description="...")

`--learning_rate` and `--learning-rate` are the same flag. A preset is a TOML file of fields; flags override it.
"""

import argparse
import contextlib
import dataclasses
import difflib
import math
import os
import re
import shutil
import tomllib
import types
import typing
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from training.errors import UsageError
from training.flag_help import Entry, help_page

Config = TypeVar("Config")
TABS = ("tab", "\\t")  # how a tab can be typed
MEANT = {"sep": "delimiter", "csv": "dataset", "data": "dataset"}  # how other tools call it, by its first letters
NEAR = 0.8  # how alike a wrong name and the one that was meant are; below it a hint misleads
_TRUE, _FALSE = ("true", "yes", "1", "on"), ("false", "no", "0", "off")


def option(
    default: Any, help: str, *, group: str, short: str = "", choices: Sequence[str] = (), positional: bool = False,
    resume: str = "same", rare: bool = False,
) -> Any:  # fmt: skip
    """A field of a settings dataclass. `resume`: what a run that goes on may do with it, see training/resume.py.

    A `rare` one is shown by `--help all` alone.
    """
    metadata = {"help": help, "group": group, "short": short, "choices": tuple(choices), "positional": positional}
    metadata |= {"resume": resume, "rare": rare}
    return dataclasses.field(default=default, metadata=metadata)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message} (see {self.prog} --help)")


def parse(cls: type[Config], argv: Sequence[str], *, prog: str, description: str, epilog: str = "") -> Config:
    """The settings that `argv` asks for, the rest at their defaults."""
    return cls(**parse_flags(cls, argv, prog=prog, description=description, epilog=epilog))


def parse_flags(
    cls: type, argv: Sequence[str], *, prog: str, description: str, epilog: str = "",
    usual: Callable[[dict[str, Any]], dict[str, Any]] = dict,
) -> dict[str, Any]:  # fmt: skip
    """Only the fields that `argv` names; raises UsageError, with the nearest right flag, for a wrong one.

    `usual`: fields given -> fields that a run with these takes; those that --help shows, beside the defaults.
    """
    parser = _build_parser(cls, prog)
    asked, argv = _help_asked(_spelled_out(cls, argv))
    if asked is not None:
        values: dict[str, Any] = {}
        with contextlib.suppress(UsageError):  # whoever asks for help may have typed something wrong
            values = vars(parser.parse_known_args(argv)[0])
        entries = _help_entries(cls, usual(values))
        width = shutil.get_terminal_size((100, 24)).columns
        print(help_page(entries, prog, description, epilog, width, everything=asked == "all"), end="")
        raise SystemExit(0)
    known, unknown = parser.parse_known_args(argv)
    if unknown:
        raise UsageError(_unknown_flag(cls, unknown[0], prog))
    hints = typing.get_type_hints(cls)
    for name, value in vars(known).items():
        if isinstance(value, list) and not _kind(hints[name])[1]:  # argparse makes an empty list of `--flag=--`
            raise UsageError(f"--{name}: expected one argument (see {prog} --help)")
    return {name: tuple(value) if isinstance(value, list) else value for name, value in vars(known).items()}


def read_preset(cls: type, preset: str, directory: Path) -> dict[str, Any]:
    """The fields set by a preset's name, or by the path of a TOML file."""
    path = Path(preset) if preset.endswith(".toml") else directory / f"{preset}.toml"
    if not os.path.isfile(path):  # pathlib raises an OSError for a name that is too long
        names = ", ".join(sorted(file.stem for file in directory.glob("*.toml")))
        raise UsageError(f"--preset {preset}: no such preset; there are {names}, or give the path of a .toml file")
    return read_toml(cls, path) | {"preset": path.stem}


def read_toml(cls: type, path: Path) -> dict[str, Any]:
    """The fields in a TOML file, each checked against its type in `cls`."""
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"{path}: cannot be read as TOML ({error})") from error
    hints = typing.get_type_hints(cls)
    for name, value in values.items():
        if name not in hints:
            raise UsageError(f"{path}: unknown setting '{name}'{_nearest(name, hints)}")
        values[name] = _coerce(value, hints[name], f"{path}: {name}")
        choices = cls.__dataclass_fields__[name].metadata["choices"]
        if choices and values[name] not in choices:
            raise UsageError(f"{path}: {name} is {value!r}, not one of {', '.join(choices)}")
    return values


def to_toml(config: Any) -> str:
    """All settings as TOML, None left out; `read_toml` reads it back."""
    lines = []
    for name, value in dataclasses.asdict(config).items():
        if value is not None:
            lines.append(f"{name} = {_toml_value(value)}")
    return "\n".join(lines) + "\n"


def check_range(
    config: Any, names: Sequence[str], least: float, *, below: float = math.inf, open: bool = False
) -> None:
    """Raise UsageError for a named setting below `least`, at or above `below`, not finite or too large for torch.

    `open`: `least` itself is refused, too. None passes.
    """
    for name in names:
        value = getattr(config, name)
        limit = min(below, 2**63) if isinstance(value, int) else below
        if value is not None and not (least <= value < limit and not (open and value == least)):
            most = f" and below {'2**63' if limit == 2**63 else limit}" * (value >= limit < math.inf)
            raise UsageError(f"--{name} {value}: must be {'above' if open else 'at least'} {least}{most}")


def check_characters(config: Any, names: Sequence[str]) -> None:
    """Raise UsageError for a named setting that is not one character; `tab` and `\\t` are. None passes."""
    for name in names:
        value = getattr(config, name)
        if value is not None and value not in TABS and (len(value) != 1 or value in "\r\n"):
            raise UsageError(f"--{name} {value!r}: must be one character, or tab")


def _spelled_out(cls: type, argv: Sequence[str]) -> list[str]:
    """`--greedy "See you"` names a switch and a text: where texts may stand, only a value is taken for a switch's."""
    fields, hints = dataclasses.fields(cls), typing.get_type_hints(cls)
    if not any(field.metadata["positional"] for field in fields):
        return list(argv)
    switches = {f"--{field.name}" for field in fields if _kind(hints[field.name])[0] is bool}
    switches |= {switch.replace("_", "-") for switch in switches}
    values = (*_TRUE, *_FALSE)
    pairs = zip(argv, [*argv[1:], ""])
    return [f"{word}=true" if word in switches and after.lower() not in values else word for word, after in pairs]


def _help_asked(argv: Sequence[str]) -> tuple[str | None, list[str]]:
    """(what follows `--help`, "all" or something else, None where nobody asks; the other words)"""
    words = list(argv)
    for at, word in enumerate(words[: words.index("--") if "--" in words else None]):
        flag, _, value = word.partition("=")
        if flag in ("-h", "--help"):
            apart = not value and words[at + 1 : at + 2] == ["all"]
            return "all" if apart else value, words[:at] + words[at + 1 + apart :]
    return None, words


def _help_entries(cls: type, values: dict[str, Any]) -> list[Entry]:
    """What --help says of each field; `values` are shown in the place of defaults."""
    entries, hints = [], typing.get_type_hints(cls)
    for field in dataclasses.fields(cls):
        meta, (kind, repeated) = field.metadata, _kind(hints[field.name])
        word = "|".join(meta["choices"]) or ("true|false" if kind is bool else kind.__name__.upper())
        typed = ", ".join(f"--{name}" for name in (field.name, meta["short"]) if name)
        if meta["positional"]:
            typed = _named(field)
        elif kind is not bool or field.default is not False:  # such a switch is typed without a value
            typed += f" {word}{' ...' * repeated}"
        value = values.get(field.name, field.default)
        taken = "" if value in (None, (), "") or value is False else f" [{_shown(value)}]"
        entries.append(Entry(meta["group"], typed, meta["help"] + taken, meta["rare"]))
    return entries


def _named(field: dataclasses.Field) -> str:
    """`texts` -> TEXT"""
    return field.name.upper().removesuffix("S")


def _build_parser(cls: type, prog: str) -> argparse.ArgumentParser:
    parser = _Parser(prog=prog, add_help=False, allow_abbrev=False, argument_default=argparse.SUPPRESS)
    hints = typing.get_type_hints(cls)
    for field in dataclasses.fields(cls):
        meta = field.metadata
        kind, repeated = _kind(hints[field.name])
        options: dict[str, Any] = {"type": _parse_bool, "nargs": "?", "const": True} if kind is bool else {"type": kind}
        options |= {"choices": meta["choices"]} if meta["choices"] else {}
        options |= {"nargs": "*" if meta["positional"] else "+"} if repeated else {}
        if meta["positional"]:
            parser.add_argument(field.name, **options, metavar=_named(field))
            continue
        spellings = [f"--{name}" for name in (field.name, meta["short"]) if name]
        parser.add_argument(*spellings, dest=field.name, **options)
        if dashed := [spelling.replace("_", "-") for spelling in spellings if "_" in spelling]:
            parser.add_argument(*dashed, dest=field.name, **options)
    return parser


def _unknown_flag(cls: type, word: str, prog: str) -> str:
    flag = word.split("=")[0]
    if not flag.startswith("-"):
        return f"unexpected argument {flag!r} (see {prog} --help)"
    fields = [field for field in dataclasses.fields(cls) if not field.metadata["positional"]]
    names = ["help", *(name for field in fields for name in (field.name, field.metadata["short"]) if name)]
    word = flag.lstrip("-").replace("-", "_")
    close = difflib.get_close_matches(word, names, n=1, cutoff=NEAR)
    if close := close or [meant for typed, meant in MEANT.items() if word.startswith(typed) and meant in names]:
        hint = f"; did you mean --{close[0]}?"
    else:
        about = sorted(filter(partial(_shared, word), fields), key=lambda field: -_shared(word, field))[:3]
        there = "; there is " if len(about) == 1 else "; there are "
        hint = (there + ", ".join(f"--{field.name}" for field in about)) * bool(about)
    return f"unknown flag {flag}{hint} (see {prog} --help)"


def _shared(word: str, field: dataclasses.Field) -> float:
    """How far a wrong name is about that field: 0 for not at all. Words of its name weigh more than of its help."""
    words = set(word.split("_"))
    name, text = field.name.split("_"), re.findall(r"\w+", field.metadata["help"])
    text = [*(w for w in text if len(w) > 3), *field.metadata["choices"]]  # not "the", not "of"
    stems = {w.removesuffix("s") for w in words if len(w) > 2}
    parts = [part.removesuffix("s") for part in name]
    in_name = sum(part in stems or any(len(part) > 3 and w.startswith(part) for w in stems) for part in parts)
    return in_name / len(name) + 0.01 * bool(words & set(text))


def _nearest(name: str, names: Any) -> str:
    close = difflib.get_close_matches(name, list(names), n=1, cutoff=NEAR)
    return f"; did you mean '{close[0]}'?" if close else ""


def _kind(hint: Any) -> tuple[type, bool]:
    """`int | None` -> (int, False); `tuple[str, ...]` -> (str, True)."""
    if typing.get_origin(hint) is tuple:
        return typing.get_args(hint)[0], True
    if isinstance(hint, types.UnionType):
        return next(t for t in typing.get_args(hint) if t is not type(None)), False
    return hint, False


def _coerce(value: Any, hint: Any, where: str) -> Any:
    kind, repeated = _kind(hint)
    if repeated:
        values = value if isinstance(value, list) else [value]
        return tuple(_coerce(item, kind, where) for item in values)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise UsageError(f"{where} must be {kind.__name__}, not {value!r}")
    return value


def _parse_bool(word: str) -> bool:
    if word.lower() in _TRUE:
        return True
    if word.lower() in _FALSE:
        return False
    raise argparse.ArgumentTypeError(f"{word!r} is neither true nor false")


def _toml_value(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_toml_value(item) for item in value) + "]"
    escaped = "".join(
        c if c >= " " and c not in '"\\\x7f' else f"\\u{ord(c):04x}" for c in str(value)
    )  # TOML's basic string, every special character as an escape
    return f'"{escaped}"'


def _shown(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)
