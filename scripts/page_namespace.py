"""Runs the python blocks of one page in one namespace, in a process of its own; see page_runner.py.

Standard input: JSON, a list of [code, file, line]. Last line of standard output: JSON, what `run` returns per block.
"""

import contextlib
import io
import json
import linecache
import sys
import time
import traceback
from typing import Any


def run(code: str, file: str, line: int, names: dict) -> dict[str, Any]:
    """What the block prints, an error as a last line `Name: message`; the error's name and traceback, "" for none."""
    source = "\n" * (line - 1) + code  # so that a traceback names the page's own lines
    linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)
    name = trace = ""
    start = time.monotonic()
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        try:
            exec(compile(source, file, "exec"), names)
        except Exception as error:  # noqa: BLE001 - a block may show any error
            name, trace = type(error).__name__, traceback.format_exc()
            print(f"{name}: {error}")
    return {"printed": printed.getvalue(), "error": name, "trace": trace, "seconds": time.monotonic() - start}


if __name__ == "__main__":
    sys.path[0] = ""  # not scripts/ but the current directory, as for who types the blocks in there
    if sys.argv[1]:
        import torch

        torch.manual_seed(int(sys.argv[1]))
    names = {"__name__": "__main__"}
    results = [run(*block, names) for block in json.load(sys.stdin)]
    print("\n" + json.dumps(results))
