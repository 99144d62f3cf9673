"""Find an exercise, load what the learner wrote, and judge it, whatever is in the file."""

import _thread
import contextlib
import importlib
import importlib.util
import inspect
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import torch

from exercises.judge import Wrong, said

HERE = Path(__file__).resolve().parent
STUB = "yours to write: "  # how a stub's NotImplementedError begins; torch raises that error too
SECONDS = 20.0  # of computing; no check needs more than five


@dataclass(frozen=True)
class Exercise:
    """`checker` has TITLE, CHAPTER, HINT, SEE (the project's own code for it) and `check(function, ...)`."""

    number: int
    name: str  # e03_scaling

    @property
    def checker(self) -> ModuleType:
        return importlib.import_module(f"exercises.checks.{self.name}")

    @property
    def attempt(self) -> Path:
        return HERE / "attempts" / f"{self.name}.py"

    @property
    def solution(self) -> Path:
        return HERE / "solutions" / f"{self.name}.py"


@dataclass(frozen=True)
class Verdict:
    state: str  # done, not yet, wrong
    message: str = ""


def exercises() -> dict[int, Exercise]:
    """number -> exercise, in order."""
    names = sorted(path.stem for path in (HERE / "checks").glob("e[0-9][0-9]_*.py"))
    return {int(name[1:3]): Exercise(int(name[1:3]), name) for name in names}


def examine(exercise: Exercise, file: Path, seconds: float = SECONDS) -> Verdict:
    """Judge `file` as an answer. Only a real Ctrl-C gets out of here; all else becomes a Verdict."""
    check = exercise.checker.check
    torch.manual_seed(0)
    torch.set_grad_enabled(True)  # an answer before this one may have left them otherwise
    torch.set_default_dtype(torch.float32)
    try:
        with time_limit(seconds):
            module = load(file)
            check(*(function_of(module, name, file) for name in inspect.signature(check).parameters))
    except Wrong as wrong:
        return Verdict("wrong", str(wrong))
    except NotImplementedError as error:
        words = str(error.args[0]) if error.args else ""
        if words.startswith(STUB):
            return Verdict("not yet", words.removeprefix(STUB))
        return Verdict("wrong", explain(error, file))
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001 - whatever her file does, sys.exit() included, gets an answer
        return Verdict("wrong", explain(error, file))
    return Verdict("done")


def load(file: Path) -> ModuleType:
    if not file.is_file():
        raise Wrong(f"{shown_path(file)} is not there; `git checkout {shown_path(file)}` brings the stub back")
    name = f"exercises.{file.parent.name}.{file.stem}"
    spec = importlib.util.spec_from_file_location(name, file)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # a dataclass in the file looks itself up there
    spec.loader.exec_module(module)
    return module


def function_of(module: ModuleType, name: str, file: Path):
    function = getattr(module, name, None)
    if not callable(function):
        raise Wrong(f"{shown_path(file)} has no function {name}; keep the names that the stub gave")
    return function


def explain(error: BaseException, file: Path) -> str:
    """One or two lines: where in the learner's file it happened, and what Python says of it."""
    if isinstance(error, SyntaxError) and error.lineno and error.text:
        return f"{shown_path(file)}:{error.lineno}: {said(error)}\n    {error.text.strip()}"
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename) == file]
    if not frames:
        return f"{shown_path(file)}: {said(error)}"
    return f"{shown_path(file)}:{frames[-1].lineno}: {said(error)}\n    {frames[-1].line}"


def shown_path(file: Path) -> str:
    """Relative to the current directory, where one types it."""
    return file.relative_to(Path.cwd()).as_posix() if file.is_relative_to(Path.cwd()) else str(file)


@contextlib.contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise Wrong in the main thread once so much has been computed; waiting, as in a debugger, does not count."""
    # A shell's background job ignores SIGINT, and then interrupt_main would do nothing.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    over, start, done = threading.Event(), time.process_time(), threading.Event()

    def watch() -> None:
        while not done.wait(0.1):
            if time.process_time() - start > seconds:
                over.set()
                _thread.interrupt_main()
                return

    threading.Thread(target=watch, daemon=True).start()
    try:
        yield
    except KeyboardInterrupt:
        if not over.is_set():
            raise
        raise Wrong(f"no answer after {seconds:g} seconds of computing; is there a loop that does not end?") from None
    finally:
        done.set()
        signal.signal(signal.SIGINT, before)
