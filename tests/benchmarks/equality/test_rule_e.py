"""equality/rule_e.py at its tiny shape: it holds on a CPU, says so, and a form that rounds too much breaks it."""

import importlib.util
import json

import pytest
import torch

from training.errors import run_door

pytestmark = [
    pytest.mark.skipif(not importlib.util.find_spec("peft"), reason="pip install -r requirements-dev.txt"),
    pytest.mark.filterwarnings("ignore"),  # of what peft asks transformers
]
TINY = ["--tiny", "--device", "cpu"]


@pytest.fixture
def rule():
    from benchmarks.equality import rule_e
    from training.settings import parse

    def run(*flags):
        return run_door(lambda: rule_e.main(parse(rule_e.RuleConfig, flags, prog="rule_e.py", description="")))

    return run


def test_the_rule_holds_on_a_cpu_and_is_written_down(rule, tmp_path, capsys):
    assert rule(*TINY, "--json", str(tmp_path / "rule.json")) == 0
    report = json.loads((tmp_path / "rule.json").read_text())
    assert report["ok"] is True and set(report["distances"]["bf16"]) == {"peft", "ours, plain", "ours, fast"}
    assert max(report["distances"]["fp32"].values()) < 1e-4
    assert 1e-3 < min(report["distances"]["bf16"].values()) < max(report["distances"]["bf16"].values()) < 0.05
    assert "rule E holds" in capsys.readouterr().out


def test_frozen_weights_held_with_too_few_bits_break_it(rule, monkeypatch, tmp_path, capsys):
    def hold_in_eight_bits(model, dtype):
        for module in model.modules():
            if hasattr(module, "nf"):  # Conv1D
                module.weight.data = module.weight.data.to(torch.float8_e4m3fn).to(dtype)

    monkeypatch.setattr("benchmarks.equality.rule_e.gpt2.hold_frozen", hold_in_eight_bits)
    assert rule(*TINY, "--json", str(tmp_path / "rule.json")) == 1
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1 and "ours, fast in bf16 by" in errors[0] and "plain" not in errors[0]
    assert json.loads((tmp_path / "rule.json").read_text())["ok"] is False


def test_forms_apart_in_fp32_and_what_is_no_number_break_it():
    from benchmarks.equality.rule_e import broken

    good = {"fp32": {"peft": 0.0, "ours, fast": 1e-6}, "bf16": {"peft": 0.01, "ours, plain": 0.01, "ours, fast": 0.02}}
    assert broken(good) == []
    assert broken(good | {"fp32": {"peft": 2e-4, "ours, fast": 1e-6}}) == ["peft in fp32 by 2.0e-04"]
    assert broken(good | {"bf16": {"peft": 0.01, "ours, fast": 0.021}}) == ["ours, fast in bf16 by 2.10 times peft's"]
    assert broken(good | {"bf16": {"peft": 0.01, "ours, fast": float("nan")}})


@pytest.mark.parametrize(
    ("flags", "words"),
    [(["--device", "mps"], "invalid choice"), (["--json", "nowhere/x.json"], "there is no directory")],
)
def test_nonsense_is_refused_with_one_line(rule, capsys, flags, words):
    assert rule(*flags) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and words in lines[0]
