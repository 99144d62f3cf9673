"""train.py, infer.py and generate.py as they are called, in this process: an exit code and what was said."""

import contextlib
import io
from collections.abc import Sequence

import generate
import infer
import train
from training.errors import run_door
from training.settings import parse


def of(config: type, argv: Sequence[str], prog: str):
    return parse(config, argv, prog=prog, description="")


ENDS = {"train.py": {"lasting": True, "lighter": train.LIGHTER}}
MAINS = {
    "train.py": lambda argv: train.main(train.read_settings(argv)),
    "infer.py": lambda argv: infer.main(of(infer.InferConfig, argv, "infer.py")),
    "generate.py": lambda argv: generate.main(of(generate.GenerateConfig, argv, "generate.py")),
}


def call(door: str, argv: Sequence[object]) -> tuple[int, str, str]:
    """(exit code, what is printed, what is said on stderr)."""
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
        code = run_door(lambda: MAINS[door]([*map(str, argv)]), **ENDS.get(door, {}))
    return code, out.getvalue(), err.getvalue()


def refusal(door: str, argv: Sequence[object], code: int) -> str:
    """The one line on stderr of a call that ends with this exit code. A traceback would be an exception here."""
    found, _, said = call(door, argv)
    assert found == code, (found, said)
    assert said.startswith("error: ") and said.count("\n") == 1 and said.endswith("\n"), said
    assert said[:-1].isprintable()
    return said
