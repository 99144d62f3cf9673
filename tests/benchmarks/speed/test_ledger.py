"""benchmarks/speed/ledger.py, and that docs/performance.md shows what it prints."""

import re
from pathlib import Path

import pytest

import gpt2
from benchmarks.speed.ledger import Ledger, run
from benchmarks.speed.parts import part_of
from training.errors import run_door

PAGE = Path(__file__).resolve().parents[3] / "docs" / "performance.md"


def test_lora_needs_two_thirds_of_the_arithmetic_of_full_fine_tuning_and_0_65_percent_of_the_weights():
    ledger = Ledger.of(gpt2.GPT2Config())
    assert ledger.lora_flop() == pytest.approx(0.345e9, rel=2e-3)
    assert ledger.full_flop() == pytest.approx(0.51e9, rel=2e-3)
    assert ledger.trained == 812_544 and ledger.whole == 124_441_344


def test_the_page_shows_what_the_ledger_prints(capsys):
    run([])
    printed = capsys.readouterr().out
    shown = re.findall(r"```text\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    tables = [block.strip() for block in shown if block.startswith(("GFLOP per token", "fp32"))]
    assert len(tables) == 2
    for table in tables:
        assert table in printed


def test_the_page_shows_what_the_ledger_counts_in_the_sms_data(sms_file, gpt2_tokenizer_dir, capsys):
    pytest.importorskip("transformers", reason="needs pip install -r requirements-dev.txt")
    run(["--dataset", str(sms_file), "--tokenizer", str(gpt2_tokenizer_dir)])
    printed = capsys.readouterr().out
    (table,) = re.findall(r"```text\n(an epoch.*?)\n```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert table in printed


def test_a_directory_without_a_tokenizer_is_refused_with_one_line(messages_file, tmp_path, capsys):
    code = run_door(lambda: run(["--dataset", str(messages_file), "--tokenizer", str(tmp_path)]))
    assert code == 4 and len(capsys.readouterr().err.splitlines()) == 1


@pytest.mark.parametrize(
    ("operator", "shapes", "part"),
    [
        ("aten::addmm", [[768], [700, 768], [768, 768]], "frozen matrices"),
        ("aten::mm", [[8, 700], [700, 768]], "A and B"),
        ("aten::addmm_", [[700, 768], [700, 8], [8, 768]], "A and B"),
        ("aten::baddbmm", [], "attention"),
        ("aten::native_layer_norm_backward", [], "norms"),
        ("aten::linalg_vector_norm", [], "AdamW and clipping"),
        ("aten::mul_", [], "sums, scalings, copies"),
    ],
)
def test_operators_are_sorted_into_parts(operator, shapes, part):
    assert part_of(operator, shapes) == part
