"""How an answer is judged: against the right value, and against the values that typical mistakes give.

A mistake is recognised by what it computes. So each one is written down as a function or a value of its own, and the
learner's answer is compared with all of them; how her source reads does not matter.
"""

import copy
import math
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


class Wrong(Exception):
    """The answer is not right; the message tells the learner why."""


@dataclass(frozen=True)
class Raised:
    """In place of a value, where a call ended in an error."""

    error: Exception


def compare(
    answer: Callable,
    right: Callable,
    cases: Mapping[str, tuple],
    mistakes: Mapping[str, Callable],
    tolerance: float = 1e-5,
) -> None:
    """Call all functions on the same cases; raise Wrong, or the answer's own error, unless `answer` does as `right`.

    `cases` maps a call, as one would type it, to its arguments; each call gets a copy of them. `mistakes` maps what to
    say to a function that makes the mistake: it is named if it does what the
    answer does in every case, errors included.
    """
    got = {call: outcome(answer, arguments) for call, arguments in cases.items()}
    wrong = {}
    for call, arguments in cases.items():
        if found := difference(got[call], right(*copy.deepcopy(arguments)), tolerance):
            wrong[call] = found
    if not wrong:
        return
    for message, mistake in mistakes.items():
        if not any(difference(got[call], outcome(mistake, cases[call]), tolerance) for call in cases):
            raise Wrong(message)
    first = next(iter(wrong))
    if isinstance(got[first], Raised):
        raise got[first].error
    raise Wrong(f"{first}: {wrong[first]}")


def agree(what: str, got: Any, expected: Any, mistakes: Mapping[str, Any] | None = None, tolerance: float = 1e-5):
    """Raise Wrong unless `got` is `expected`. `mistakes` maps what to say to the value that a mistake gives."""
    if found := difference(got, expected, tolerance):
        for message, value in (mistakes or {}).items():
            if not difference(got, value, tolerance):
                raise Wrong(message)
        raise Wrong(f"{what}: {found}")


def outcome(function: Callable, arguments: tuple) -> Any:
    """What a call on a copy of the arguments gives: a value, or Raised."""
    try:
        return function(*copy.deepcopy(arguments))
    except NotImplementedError:
        raise  # a stub that is not written yet is no mistake
    except Exception as error:  # noqa: BLE001 - an answer may end in any
        return Raised(error)


def difference(got: Any, expected: Any, tolerance: float = 1e-5) -> str:
    """How `got` differs from `expected`, in words, the first place of several; empty where it does not."""
    if isinstance(got, Raised) or isinstance(expected, Raised):
        same = isinstance(got, Raised) and isinstance(expected, Raised) and type(got.error) is type(expected.error)
        return "" if same else f"expected {shown(expected)}, got {shown(got)}"
    if got is None and expected is not None:
        return "got None; does the function return its result?"
    if isinstance(expected, Tensor):
        return _tensors(got, expected, tolerance)
    if isinstance(expected, bool):
        return "" if _is(got, expected) else f"expected {expected}, got {shown(got)}"
    if isinstance(expected, int | float):
        return _numbers(got, expected, tolerance)
    if isinstance(expected, Mapping):
        return _mappings(got, expected, tolerance)
    if isinstance(expected, list | tuple):
        return _sequences(got, expected, tolerance)
    return "" if type(got) is type(expected) and got == expected else f"expected {shown(expected)}, got {shown(got)}"


def shown(value: Any) -> str:
    """A value on one line, cut where it is long."""
    if isinstance(value, Raised):
        return said(value.error)[:100]
    if isinstance(value, Tensor) and value.numel() > 4:
        return f"a tensor of shape {tuple(value.shape)}"
    if isinstance(value, float):
        return f"{value:.7g}"
    text = " ".join(repr(value).split())
    return text if len(text) <= 100 else text[:97] + "..."


def said(error: BaseException) -> str:
    """What Python says of an error, on one line."""
    lines = traceback.format_exception_only(error)
    return lines[-1 if isinstance(error, SyntaxError) else 0].strip().splitlines()[0]


def _is(got: Any, expected: bool) -> bool:
    value = got.item() if isinstance(got, Tensor) and got.numel() == 1 else got
    return isinstance(value, bool | int) and value == expected


def _numbers(got: Any, expected: float, tolerance: float) -> str:
    value = got.item() if isinstance(got, Tensor) and got.numel() == 1 else got
    if isinstance(value, bool) or not isinstance(value, int | float):
        return f"expected the number {shown(expected)}, got {shown(got)}"
    same = math.isclose(value, expected, rel_tol=tolerance, abs_tol=1e-12) or (value != value and expected != expected)
    return "" if same else f"expected {shown(expected)}, got {shown(value)}"


def _tensors(got: Any, expected: Tensor, tolerance: float) -> str:
    if not isinstance(got, Tensor):
        return f"expected a tensor of shape {tuple(expected.shape)}, got {shown(got)}"
    if got.shape != expected.shape:
        return f"expected shape {tuple(expected.shape)}, got {tuple(got.shape)}"
    if got.dtype != expected.dtype:
        return f"expected {expected.dtype}, got {got.dtype}"
    mine, theirs = got.detach().double(), expected.detach().double()
    wrong = ~torch.isclose(mine, theirs, rtol=tolerance, atol=tolerance, equal_nan=True)
    if not wrong.any():
        return ""
    at = tuple(wrong.nonzero()[0].tolist())
    where = f"at {list(at)} " if at else ""
    many = f" ({int(wrong.sum())} of {wrong.numel()} values differ)" if at else ""
    return f"{where}expected {theirs[at].item():.6g}, got {mine[at].item():.6g}{many}"


def _mappings(got: Any, expected: Mapping, tolerance: float) -> str:
    if not isinstance(got, Mapping):
        return f"expected a dict, got {shown(got)}"
    if missing := [key for key in expected if key not in got]:
        return f"nothing under {shown(missing[0])}"
    if extra := [key for key in got if key not in expected]:
        return f"not asked for: {shown(extra[0])}"
    return _first((f"{key}: ", difference(got[key], expected[key], tolerance)) for key in expected)


def _sequences(got: Any, expected: list | tuple, tolerance: float) -> str:
    if not isinstance(got, list | tuple):
        return f"expected a {type(expected).__name__}, got {shown(got)}"
    if all(isinstance(name, str) for name in expected):
        if missing := [name for name in expected if name not in got]:
            return f"{shown(missing[0])} is missing"
        if extra := [name for name in got if name not in expected]:
            return f"{shown(extra[0])} should not be there"
    if len(got) != len(expected):
        return f"expected {len(expected)} entries, got {len(got)}"
    return _first((f"entry {i}: ", difference(g, e, tolerance)) for i, (g, e) in enumerate(zip(got, expected)))


def _first(parts) -> str:
    return next((where + found for where, found in parts if found), "")
