"""A mistake as one change to the text of one function, and how it is put into the running code."""

import importlib
import inspect
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from typing import Any

import pytest


@dataclass(frozen=True)
class Fault:
    """In the function `where`, the text `right`, which stands there once, becomes `wrong`."""

    name: str
    where: str  # module:function or module:Class.function
    right: str
    wrong: str
    why: str  # people make this mistake


def plant(fault: Fault, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give the function the code of its changed text, under every name it was imported by, until `monkeypatch` ends."""
    function, cached = written_function(fault.where)
    source = textwrap.dedent(inspect.getsource(function))
    count = source.count(fault.right)
    assert count == 1, f"{fault.name}: {fault.right!r} stands {count} times in {fault.where}; write the fault anew"
    # Inside a class, so that `super()` compiles as it does at home.
    text = "class Planted:\n" + textwrap.indent(source.replace(fault.right, fault.wrong), "    ")
    names: dict[str, Any] = {}
    exec(compile(text, f"<{fault.name}>", "exec"), function.__globals__, names)
    changed, _ = undecorated(vars(names["Planted"])[function.__name__])
    monkeypatch.setattr(function, "__code__", changed.__code__)
    cached()


def written_function(where: str) -> tuple[Callable, Callable[[], Any]]:
    """The function behind a name such as `lora.layer:LoraLayer.forward`, and what empties its cache if it has one."""
    module, _, path = where.partition(":")
    *owners, name = path.split(".")
    return undecorated(vars(reduce(getattr, owners, importlib.import_module(module)))[name])


def undecorated(function: Any) -> tuple[Callable, Callable[[], Any]]:
    empty_cache = getattr(function, "cache_clear", lambda: None)
    function = function.fget if isinstance(function, property) else getattr(function, "__func__", function)
    return inspect.unwrap(function), empty_cache
