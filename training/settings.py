"""Command line and TOML out of one dataclass: each field is a flag, its default and its help stand beside it.

    @dataclass(frozen=True)
    class Config:
        learning_rate: float = option(1e-3, "peak learning rate", group="optimizer", short="lr")

    config = parse(Config, ["--lr", "3e-4"], prog="train.py", description="...")

`--learning_rate` and `--learning-rate` are the same flag. A preset is a TOML file of fields; flags override it.
"""

import argparse
import dataclasses
import difflib
import math
import os
import tomllib
import types
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from training.errors import UsageError

Config = TypeVar("Config")
TABS = ("tab", "\\t")  # how a tab can be typed
NEAR = 0.7  # how alike a wrong name and the one that was meant are; below it a hint misleads
_TRUE, _FALSE = ("true", "yes", "1", "on"), ("false", "no", "0", "off")


def option(
    default: Any, help: str, *, group: str, short: str = "", choices: Sequence[str] = (), positional: bool = False,
    resume: str = "same",
) -> Any:  # fmt: skip
    """A field of a settings dataclass. `resume`: what a run that goes on may do with it, see training/resume.py."""
    metadata = {"help": help, "group": group, "short": short, "choices": tuple(choices), "positional": positional}
    metadata["resume"] = resume
    return dataclasses.field(default=default, metadata=metadata)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message} (see {self.prog} --help)")


def parse(cls: type[Config], argv: Sequence[str], *, prog: str, description: str, epilog: str = "") -> Config:
    """The settings that `argv` asks for, the rest at their defaults."""
    return cls(**parse_flags(cls, argv, prog=prog, description=description, epilog=epilog))


def parse_flags(cls: type, argv: Sequence[str], *, prog: str, description: str, epilog: str = "") -> dict[str, Any]:
    """Only the fields that `argv` names; raises UsageError, with the nearest right flag, for a wrong one."""
    parser = _build_parser(cls, prog, description, epilog)
    known, unknown = parser.parse_known_args(_spelled_out(cls, argv))
    if unknown:
        raise UsageError(_unknown_flag(parser, unknown[0], prog))
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


def _build_parser(cls: type, prog: str, description: str, epilog: str) -> argparse.ArgumentParser:
    parser = _Parser(
        prog=prog,
        description=description,
        epilog=epilog,
        allow_abbrev=False,
        argument_default=argparse.SUPPRESS,
        formatter_class=lambda prog: argparse.RawDescriptionHelpFormatter(prog, max_help_position=34, width=110),
    )
    groups: dict[str, Any] = {}
    hints = typing.get_type_hints(cls)
    for field in dataclasses.fields(cls):
        meta = field.metadata
        if meta["group"] not in groups:
            groups[meta["group"]] = parser.add_argument_group(meta["group"])
        group = groups[meta["group"]]
        kind, repeated = _kind(hints[field.name])
        default = "" if field.default in (None, (), "") else f" (default: {_shown(field.default)})"
        options: dict[str, Any] = {"help": (meta["help"] + default).replace("%", "%%")}
        if kind is bool:
            options |= {"type": _parse_bool, "nargs": "?", "const": True, "metavar": "BOOL"}
        else:
            options |= {"type": kind, "metavar": "|".join(meta["choices"]) or kind.__name__.upper()}
            options |= {"choices": meta["choices"]} if meta["choices"] else {}
            options |= {"nargs": "*" if meta["positional"] else "+"} if repeated else {}
        if meta["positional"]:
            group.add_argument(field.name, **(options | {"metavar": field.name.upper().removesuffix("S")}))
            continue
        spellings = [f"--{field.name}"] + ([f"--{meta['short']}"] if meta["short"] else [])
        group.add_argument(*spellings, dest=field.name, **options)
        dashed = [spelling.replace("_", "-") for spelling in spellings if "_" in spelling]
        if dashed:
            group.add_argument(*dashed, dest=field.name, **(options | {"help": argparse.SUPPRESS}))
    return parser


def _unknown_flag(parser: argparse.ArgumentParser, word: str, prog: str) -> str:
    flags = [s for action in parser._actions for s in action.option_strings if s.startswith("--")]
    flag = word.split("=")[0]
    if not flag.startswith("-"):
        return f"unexpected argument {flag!r} (see {prog} --help)"
    plain = {f.lstrip("-").replace("-", "_"): f for f in reversed(flags)}
    word = flag.lstrip("-").replace("-", "_")
    close = difflib.get_close_matches(word, plain, n=1, cutoff=NEAR)
    if close:
        hint = f"; did you mean --{close[0]}?"
    else:
        subject = [f"--{name}" for name in plain if set(name.split("_")) & set(word.split("_"))][:3]
        hint = f"; there are {', '.join(subject)}" if subject else ""
    return f"unknown flag {flag}{hint} (see {prog} --help)"


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
