"""Runs the python blocks of one page in one namespace, in a process of its own; see page_runner.py.

Standard input: JSON, a list of [code, file, line]. Last line of standard output: JSON, [printed, traceback] per block.
"""

import contextlib
import io
import json
import linecache
import sys
import traceback


def run(code: str, file: str, line: int, names: dict) -> tuple[str, str]:
    """What the block prints, an error as a last line `Name: message`, and the error's traceback ("" for none)."""
    source = "\n" * (line - 1) + code  # so that a traceback names the page's own lines
    linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)
    trace = ""
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        try:
            exec(compile(source, file, "exec"), names)
        except Exception as error:  # noqa: BLE001 - a block may show any error
            trace = traceback.format_exc()
            print(f"{type(error).__name__}: {error}")
    return printed.getvalue(), trace


if __name__ == "__main__":
    sys.path[0] = ""  # not scripts/ but the current directory, as for who types the blocks in there
    if sys.argv[1]:
        import torch

        torch.manual_seed(int(sys.argv[1]))
    names = {"__name__": "__main__"}
    results = [run(*block, names) for block in json.load(sys.stdin)]
    print("\n" + json.dumps(results))
