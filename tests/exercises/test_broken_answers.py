"""Whatever stands in a learner's file gets one clear answer, with her own line where there is one."""

import signal

import pytest
import torch

from exercises.exam import Exercise, examine, exercises
from exercises.judge import Raised, difference

SCALING = exercises()[3]
HEAD = "def scaling(lora_alpha, r, use_rslora=False):\n"


def judged(text: str | bytes, tmp_path, exercise: Exercise = SCALING, seconds: float = 20.0):
    file = tmp_path / f"{exercise.name}.py"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return examine(exercise, file, seconds)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("def scaling(lora_alpha, r\n", ":1: SyntaxError"),
        (HEAD + "return 1\n", ":2: IndentationError"),
        (b"\xff\xfe broken", "SyntaxError"),
        (b"x = '\0'\n", "null bytes"),
        ("", "has no function scaling"),
        ("def scale(a, r):\n    return a / r\n", "has no function scaling; keep the names"),
        ("scaling = 4.0\n", "has no function scaling"),
        ("import no_such_module\n", ":1: ModuleNotFoundError: No module named 'no_such_module'"),
        ("1 / 0\n" + HEAD + "    pass\n", ":1: ZeroDivisionError"),
        (HEAD + "    pass\n", "got None; does the function return its result?"),
        (HEAD + "    ...\n", "got None"),
        (HEAD + "    return NotImplemented\n", "expected the number 4, got NotImplemented"),
        (HEAD + "    return 'four'\n", "expected the number 4, got 'four'"),
        (HEAD + "    return float('nan')\n", "expected 4, got nan"),
        (HEAD + "    return float('inf')\n", "expected 4, got inf"),
        (HEAD + "    return True\n", "expected the number 4, got True"),
        (HEAD + "    return [4.0]\n", "expected the number 4, got [4.0]"),
        (HEAD + "    return 1j\n", "expected the number 4, got 1j"),
        (HEAD + "    return lora_alhpa / r\n", ":2: NameError"),
        (HEAD + "    return lora_alpha / 0\n", ":2: ZeroDivisionError: division by zero\n    return lora_alpha / 0"),
        ("def scaling(lora_alpha):\n    return 4.0\n", "TypeError: scaling() takes 1 positional argument"),
        (HEAD + "    return scaling(lora_alpha, r)\n", ":2: RecursionError"),
        (HEAD + "    raise NotImplementedError\n", ":2: NotImplementedError"),
        (HEAD + "    import sys; sys.exit('bye')\n", ":2: SystemExit: bye"),
        ("import sys; sys.exit(0)\n", ":1: SystemExit"),
        (HEAD + "    raise GeneratorExit\n", ":2: GeneratorExit"),
        (HEAD + "    raise ValueError('one\\ntwo')\n", ":2: ValueError: one\n"),
        (HEAD + "    yield lora_alpha / r\n", "expected the number 4, got <generator object"),
        (
            "class Odd:\n    def __repr__(self):\n        raise RuntimeError('no')\n" + HEAD + "    return Odd()\n",
            ":3: RuntimeError: no",
        ),
        (
            "class E(Exception):\n    def __str__(self):\n        return 1\n" + HEAD + "    raise E\n",
            "E: <exception str() failed>",
        ),
    ],
)  # fmt: skip
def test_a_broken_answer_gets_one_clear_line(text, told, tmp_path):
    verdict = judged(text, tmp_path)
    assert verdict.state == "wrong" and told in verdict.message, verdict.message
    assert "Traceback" not in verdict.message and len(verdict.message.splitlines()) <= 2


@pytest.mark.parametrize("where", ["while True:\n    pass\n", HEAD + "    while True:\n        lora_alpha += 1\n"])
def test_a_loop_without_end_is_stopped(where, tmp_path):
    assert "loop that does not end" in judged(where, tmp_path, seconds=0.3).message


def test_a_loop_without_end_is_stopped_in_a_background_job_too(tmp_path):
    """There a shell has SIGINT ignored, and so it stays afterwards."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        assert "loop that does not end" in judged("while True:\n    pass\n", tmp_path, seconds=0.3).message
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_waiting_is_no_computing(tmp_path):
    text = HEAD + "    import time; time.sleep(0.1)\n    return lora_alpha / (r**0.5 if use_rslora else r)\n"
    assert judged(text, tmp_path, seconds=0.5).state == "done"


def test_a_missing_file_is_told_with_the_way_to_get_it_back(tmp_path):
    assert "git checkout" in examine(SCALING, tmp_path / "e03_scaling.py").message


def test_a_dataclass_in_an_answer_works_and_what_an_answer_switches_off_is_on_for_the_next(tmp_path):
    text = (
        "from __future__ import annotations\nimport dataclasses, torch\n\n\n"
        "@dataclasses.dataclass\nclass Pair:\n    a: int\n\n\n"
        "torch.set_grad_enabled(False)\ntorch.set_default_dtype(torch.float64)\n"
        + HEAD + "    return lora_alpha / (r**0.5 if use_rslora else r)\n"
    )  # fmt: skip
    assert judged(text, tmp_path).state == "done"
    assert examine(exercises()[8], exercises()[8].solution).state == "done"
    assert torch.is_grad_enabled() and torch.get_default_dtype() == torch.float32


@pytest.mark.parametrize("exercise", exercises().values(), ids=lambda exercise: exercise.name)
@pytest.mark.parametrize("body", ["pass", "return 0", "return 'x'", "return (None, None)", "return {'a': object()}"])
def test_nonsense_is_answered_in_every_exercise(exercise, body, tmp_path):
    lines = exercise.solution.read_text(encoding="utf-8").splitlines()
    names = [line.split("(")[0].removeprefix("def ") for line in lines if line.startswith("def ")]
    text = "".join(f"def {name}(*arguments):\n    {body}\n\n\n" for name in names)
    verdict = judged(text, tmp_path, exercise)
    assert verdict.state == "wrong" and verdict.message, verdict
    assert len(verdict.message.splitlines()) <= 2


@pytest.mark.parametrize(
    ("got", "expected", "found"),
    [
        (torch.zeros(2, 3), torch.zeros(3, 2), "expected shape (3, 2), got (2, 3)"),
        (torch.zeros(2).double(), torch.zeros(2), "expected torch.float32, got torch.float64"),
        (torch.tensor([0.0, 5.0]), torch.zeros(2), "at [1] expected 0, got 5 (1 of 2 values differ)"),
        (torch.tensor([0.0, torch.nan]), torch.zeros(2), "at [1] expected 0, got nan (1 of 2 values differ)"),
        (torch.tensor(2.0), 3.0, "expected 3, got 2"),
        ([1, 2], torch.zeros(2), "expected a tensor of shape (2,), got [1, 2]"),
        (["a"], ["a", "b"], "'b' is missing"),
        (["a", "c"], ["a"], "'c' should not be there"),
        (["b", "a"], ["a", "b"], "entry 0: expected 'a', got 'b'"),
        ({"a": 1}, {"a": 1, "b": 2}, "nothing under 'b'"),
        ({"a": 1, "b": 3}, {"a": 1, "b": 2}, "b: expected 2, got 3"),
        (Raised(ValueError("no")), 3, "expected 3, got ValueError: no"),
        (1, True, ""),
        (torch.tensor(True), True, ""),
        (False, True, "expected True, got False"),
        (torch.tensor([1e-7]), torch.zeros(1), ""),
        (torch.tensor([3.0]), 3, ""),
        (2 + 1e-9, 2, ""),
    ],
)
def test_a_difference_is_told_in_words(got, expected, found):
    assert difference(got, expected) == found
