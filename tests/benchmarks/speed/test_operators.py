"""benchmarks/speed/operators.py: what a step on a GPU is asked for."""

from pathlib import Path

import pytest

import gpt2
from benchmarks.speed.operators import OperatorsConfig, casts, main, operators_of

PAGE = Path(__file__).resolve().parents[3] / "docs" / "performance.md"
SHAPE = gpt2.GPT2Config(vocab_size=101, n_positions=128, n_embd=32, n_layer=3, n_head=4)


def test_a_fast_bf16_step_calls_one_attention_kernel_a_block_and_one_adamw_and_reads_back_once():
    counts = operators_of(SHAPE, "lora", "fast", "bf16")
    assert counts["_flash_attention_forward"] == counts["_flash_attention_backward"] == SHAPE.n_layer
    assert counts["gelu"] == SHAPE.n_layer and counts["tanh"] == 0
    assert counts["_fused_adamw_"] == counts["copy to the CPU"] == 1


def test_views_are_not_counted_and_the_fast_form_asks_for_less_than_the_plain_one():
    plain, fast = (operators_of(SHAPE, "lora", form, "bf16") for form in ("plain", "fast"))
    assert not {"view", "_unsafe_view", "t", "transpose", "split", "detach", "empty"} & {*plain, *fast}
    assert fast.total() < plain.total() and casts(fast) < casts(plain)


@pytest.mark.parametrize("form", ["plain", "fast"])
def test_nothing_is_cast_in_fp32(form):
    assert casts(operators_of(SHAPE, "lora", form, "fp32")) == 0


def test_the_page_shows_what_is_counted(capsys):
    main(OperatorsConfig())
    assert capsys.readouterr().out in PAGE.read_text(encoding="utf-8")
