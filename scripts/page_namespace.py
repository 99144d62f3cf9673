"""Pastes the python blocks of one page into one fresh interpreter, as a reader does; see page_runner.py.

Every block goes line by line to `code.InteractiveConsole`, with an empty line after it: that is what `python` of any
version makes of a paste. So a blank line ends a function, a function needs one after it, and the value of an
expression is echoed. The pages do not show echoes; ECHOES are the only ones that a page may cause.

Standard input: JSON, a list of [code, file, line]. Last line of standard output: JSON, what `paste` returns per block.
"""

import code
import contextlib
import io
import json
import sys
import time
import traceback
from typing import Any

ECHOES = ("<torch._C.Generator object at",)  # of torch.manual_seed; docs/README.md speaks of it


def left_switched() -> str:
    """What is not as torch has it at the start, and would change a page pasted after this one; "" for nothing."""
    torch = sys.modules.get("torch")
    if not torch:
        return ""
    if not torch.is_grad_enabled():
        return "gradients are off"
    return "" if torch.get_default_dtype() == torch.float32 else f"the default dtype is {torch.get_default_dtype()}"


class Interpreter(code.InteractiveConsole):
    """Keeps the last line of an error, as a page shows it, and what was echoed."""

    def __init__(self, names: dict[str, Any]):
        super().__init__(names)
        self.error, self.trace, self.echoes = "", "", []
        sys.displayhook = self.echo

    def echo(self, value: object) -> None:
        if value is not None and not repr(value).startswith(ECHOES):
            self.echoes.append(repr(value)[:200])

    def showtraceback(self) -> None:
        last = traceback.format_exception_only(*sys.exc_info()[:2])[-1]
        self.error = self.error or last.partition(":")[0].strip()
        self.trace += traceback.format_exc() + "\n".join(self.buffer)
        print(last, end="")

    def showsyntaxerror(self, *_: object, **__: object) -> None:
        self.showtraceback()

    def paste(self, block: str, file: str, line: int) -> dict[str, Any]:
        """What the block prints, an error as its last line; the first error's name and all tracebacks, "" for none."""
        self.error, self.trace, self.echoes = "", "", []
        self.filename = f"{file}, block at line {line}"
        start = time.monotonic()
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            for typed in [*block.splitlines(), ""]:
                self.push(typed)
        if self.echoes and not self.error:
            self.error, self.trace = "Echo", "the interpreter echoes: " + "\n".join(self.echoes)
        if (switch := left_switched()) and not self.error:
            self.error, self.trace = "Switch", f"the block leaves a switch behind: {switch}"
        seconds = time.monotonic() - start
        return {"printed": printed.getvalue(), "error": self.error, "trace": self.trace, "seconds": seconds}


if __name__ == "__main__":
    sys.path[0] = ""  # not scripts/ but the current directory, as for who types the blocks in there
    interpreter = Interpreter({"__name__": "__main__"})
    results = [interpreter.paste(*block) for block in json.load(sys.stdin)]
    print("\n" + json.dumps(results))
