"""What bf16 is worth on a CPU, measured at a start: the rates decide, a hopeless case ends early, and it is quick."""

import time

import pytest
import torch

from training import probe
from training.device import choose_place
from training.probe import cheaper_precision, matrix_rates


def pretend(monkeypatch, fp32, bf16):
    """Rates in GFLOP/s; returns the list of (dtype, rows) that were asked for."""
    asked = []

    def rate(dtype, width, rows):
        asked.append((dtype, rows))
        return 1e9 * (bf16 if dtype == torch.bfloat16 else fp32)

    monkeypatch.setattr(probe, "_rate", rate)
    return asked


PAIRS = [
    (150, 350, "bf16", "faster"),
    (100, 150, "bf16", "faster"),
    (100, 149, "fp32", "hardly faster"),
    (47.5, 1.2, "fp32", "slower"),
]


@pytest.mark.parametrize("fp32, bf16, chosen, how", PAIRS)
def test_bf16_is_chosen_from_one_and_a_half_times_as_fast_and_both_rates_are_told(monkeypatch, fp32, bf16, chosen, how):
    asked = pretend(monkeypatch, fp32, bf16)
    place = choose_place("cpu", "auto", width=768)
    assert place.precision == chosen
    assert f", and bf16 is {how} here ({bf16} against {fp32} GFLOP/s)." in str(place)
    assert (torch.bfloat16, 2) in asked and (torch.float32, 256) in asked


def test_where_bf16_is_emulated_no_large_product_of_it_is_tried(monkeypatch):
    asked = pretend(monkeypatch, 120, 1)
    assert cheaper_precision(768)[0] == "fp32"
    assert max(rows for dtype, rows in asked if dtype == torch.bfloat16) <= 8


@pytest.mark.parametrize("precision, width", [("fp32", 768), ("bf16", 768), ("auto", None)])
def test_nothing_is_measured_where_nothing_is_to_be_chosen(monkeypatch, precision, width):
    asked = pretend(monkeypatch, 1, 1)
    choose_place("cpu", precision, width)
    assert asked == []


def test_it_takes_a_moment_and_leaves_the_random_stream_alone():
    state, began = torch.get_rng_state(), time.perf_counter()
    rates = matrix_rates(256)
    assert time.perf_counter() - began < 3  # 0.2 s on a machine that is not busy
    assert all(1e6 < rate < 1e14 for rate in rates) and torch.equal(torch.get_rng_state(), state)
