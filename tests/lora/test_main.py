"""`python -m lora` as a user runs it: what it claims of the layer is what it computed, and the text fits a terminal."""

import inspect
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from lora import __main__ as one_layer_lesson

ROOT = Path(__file__).resolve().parents[2]


def values(text: str) -> list[list[str]]:
    """The value below each piece of code; these lines alone are indented."""
    return [line.strip().split(", ") for line in text.splitlines() if line.startswith("    ")]


def run_in_process(capsys) -> list[list[str]]:
    one_layer_lesson.main([])
    return values(capsys.readouterr().out)


@pytest.fixture(scope="module")
def printed() -> str:
    command = [sys.executable, "-W", "error", "-m", "lora"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and done.stderr == ""
    return done.stdout


def test_the_values_are_those_of_the_idea(printed):
    weights, added, same, gradients, losses, second, merged, restored = values(printed)
    assert weights == [str(64 * 48)] and added == [str(4 * 64 + 48 * 4)]
    assert same == ["True"]
    assert gradients[0] == "0" and float(gradients[1]) > 0
    assert float(losses[1]) < float(losses[0])
    assert float(second[0]) > 0
    assert 0 < float(merged[0]) < 1e-5
    assert restored == ["True"]


def test_the_code_it_shows_is_the_code_it_runs(printed):
    source = inspect.getsource(one_layer_lesson.one_layer).splitlines()[1:]
    code = [line.strip().removeprefix("yield ") for line in source if line.strip()]
    shown = [line for line in printed.splitlines() if line and not line.startswith("    ")]
    assert shown[2:-1] == code


def test_the_text_fits_a_terminal_of_80_columns(printed):
    assert max(len(line) for line in printed.splitlines()) <= 80 and printed.isascii()


def test_with_a_b_that_does_not_start_at_zero_it_says_that_the_output_changed(monkeypatch, capsys):
    monkeypatch.setattr(nn.init, "zeros_", nn.init.ones_)
    _, _, same, gradients, *_ = run_in_process(capsys)
    assert same == ["False"] and float(gradients[0]) > 0


def test_with_an_unmerge_that_subtracts_it_says_that_w0_is_another(monkeypatch, capsys):
    def subtract(layer):
        layer.base_layer.weight.data -= layer.delta_weight("default")

    monkeypatch.setattr(one_layer_lesson.LoraLayer, "unmerge", torch.no_grad()(subtract))
    assert run_in_process(capsys)[-1] == ["False"]


def test_it_has_a_help_and_no_other_flag(capsys):
    for flag, code in (("-h", 0), ("--rank", 2)):
        with pytest.raises(SystemExit) as ended:
            one_layer_lesson.main([flag])
        assert ended.value.code == code
    assert "usage: python -m lora [-h]" in capsys.readouterr().out
