"""Where a run computes and in which precision: what is chosen, why, and what a machine without it is told."""

import pytest
import torch

from training.device import choose_place
from training.errors import UsageError


@pytest.fixture
def machine(monkeypatch):
    """Pretend to be on a machine with the given accelerators."""

    def pretend(cuda: bool = False, mps: bool = False, bf16: bool = False) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
        monkeypatch.setattr(
            torch.cuda, "is_bf16_supported", lambda including_emulation=True: bf16 or including_emulation
        )

    return pretend


@pytest.mark.parametrize("device", ["cuda", "mps"])
def test_a_device_that_is_not_there_is_told_with_a_way_out(machine, device):
    machine()
    with pytest.raises(
        UsageError, match=f"--device {device}: torch .* sees no such device here; use --device auto or cpu"
    ):
        choose_place(device)


@pytest.mark.parametrize(
    "has, device, precision, why",
    [
        ({}, "cpu", "fp32", "No GPU was found, and fp32 is the safe choice there"),
        ({"cuda": True, "bf16": True}, "cuda", "bf16", "There is one, and it multiplies bf16 natively"),
        ({"cuda": True}, "cuda", "fp32", "There is one, and fp32 is the safe choice there"),
        ({"mps": True}, "mps", "fp32", "There is one, and fp32 is the safe choice there"),
        ({"cuda": True, "bf16": True, "mps": True}, "cuda", "bf16", "There is one"),
    ],
)
def test_auto_chooses_what_the_machine_has_and_says_why(machine, has, device, precision, why):
    machine(**has)
    place = choose_place()
    assert (place.device.type, place.precision) == (device, precision)
    assert why in place.reason
    name = {"cpu": "the CPU", "cuda": "a CUDA GPU", "mps": "Apple's GPU"}[device]
    assert str(place).startswith(f"Running on {name} in {precision}. {place.reason}.")


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_where_the_fast_form_was_tried_it_is_the_default_and_the_plain_one_is_named(machine, device):
    machine(cuda=True, bf16=True)
    place = choose_place(device, "fp32")
    assert place.fast and "form" not in str(place)
    place = choose_place(device, "fp32", fast=False)
    assert not place.fast and str(place).endswith(" The model is in its plain form.")


def test_on_mps_the_fast_form_is_used_only_where_it_is_asked_for_and_then_said_to_be_untried(machine):
    machine(mps=True)
    place = choose_place()
    assert not place.fast and str(place).endswith("in its plain form; the fast one (--fast) is untried there.")
    place = choose_place(fast=True)
    assert place.fast and str(place).endswith("The fast form of the model is untried there.")


def test_what_was_asked_for_is_the_reason(machine):
    machine(cuda=True, bf16=True)
    place = choose_place("cpu", "fp32")
    assert (place.device.type, place.precision) == ("cpu", "fp32")
    assert str(place) == "Running on the CPU in fp32. --device cpu was asked for, and so was --precision fp32."


def test_bf16_on_a_gpu_that_only_emulates_it_is_refused(machine):
    machine(cuda=True, bf16=False)
    with pytest.raises(UsageError, match="--precision bf16: this GPU only emulates it; use fp16 or fp32"):
        choose_place("cuda", "bf16")
    assert choose_place("cuda", "fp16").precision == "fp16"


@pytest.mark.parametrize(
    "precision, dtype", [("fp32", torch.float32), ("bf16", torch.bfloat16), ("fp16", torch.float16)]
)
def test_on_a_cpu_products_run_in_the_precision_asked_for_and_weights_stay_float32(precision, dtype):
    place = choose_place("cpu", precision)
    layer = torch.nn.Linear(4, 4)
    with place.autocast():
        out = layer(torch.ones(2, 4))
        loss = torch.nn.functional.cross_entropy(out, torch.tensor([0, 1]))
    loss.backward()
    assert out.dtype == dtype
    assert {loss.dtype, layer.weight.dtype, layer.weight.grad.dtype} == {torch.float32}


@pytest.mark.parametrize("precision, scales", [("fp32", False), ("bf16", False), ("fp16", True)])
def test_the_loss_is_scaled_up_in_fp16_only(precision, scales):
    scaler = choose_place("cpu", precision).grad_scaler()
    assert scaler.is_enabled() is scales
    assert (scaler.scale(torch.tensor(1.0)).item() > 1) is scales
