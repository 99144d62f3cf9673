"""What is trained goes into a checkpoint and comes out of it to the bit, and what does not fit is refused."""

import pytest
import torch
from torch import nn

from training.checkpoint import load_checkpoint, save_checkpoint
from training.errors import StateError
from training.optimization import build_optimizer
from training.trainee import (
    optimizer_tensors,
    random_state,
    restore_optimizer,
    restore_parameters,
    restore_random_state,
    restore_scaler,
)

CPU = torch.device("cpu")


def bits(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.contiguous().reshape(-1).view(torch.uint8)


def trainee(names: str, seed: int):
    """A small model whose layers stand in the given order, its named parameters and its optimizer."""
    torch.manual_seed(seed)
    model = nn.ModuleDict({name: nn.Linear(3, 3) for name in names})
    return model, dict(model.named_parameters()), build_optimizer(model, 1e-2, 0.1)


def train(model, optimizer, steps: int) -> None:
    for step in range(steps):
        x = torch.linspace(-1, 1, 6).reshape(2, 3) + step
        for name in "abc":
            x = torch.nn.functional.dropout(model[name](x).tanh(), 0.2)
        x.square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()


@pytest.mark.parametrize("order", ["abc", "cab"])
def test_a_restored_optimizer_goes_on_bitwise_also_when_the_parameters_order_changed(tmp_path, order):
    model, parameters, optimizer = trainee("abc", seed=0)
    train(model, optimizer, 3)
    tensors = {"w": parameters, "o": optimizer_tensors(optimizer, parameters), "r": random_state(CPU)}
    path = save_checkpoint(tmp_path, 3, tensors, {})
    train(model, optimizer, 4)

    again, new, fresh = trainee(order, seed=1)
    train(again, fresh, 1)
    loaded, _ = load_checkpoint(path)
    restore_parameters(new, loaded["w"])
    restore_optimizer(fresh, new, loaded["o"])
    restore_random_state(loaded["r"], CPU)
    train(again, fresh, 4)
    for name, parameter in parameters.items():
        assert torch.equal(bits(parameter.detach()), bits(new[name].detach())), name


def test_weights_and_optimizer_states_of_another_model_are_refused(tmp_path):
    model, parameters, optimizer = trainee("abc", seed=0)
    train(model, optimizer, 1)
    state = optimizer_tensors(optimizer, parameters)
    _, other, other_optimizer = trainee("abd", seed=0)
    with pytest.raises(StateError, match=r"optimizer state for c\.\w+ does not fit"):
        restore_optimizer(other_optimizer, other, state)
    with pytest.raises(StateError, match=r"do not fit this model \(c\.bias, c\.weight, d\.bias\)"):
        restore_parameters(other, parameters)
    wider = {name: torch.zeros(4, 3) if name == "b.weight" else p for name, p in parameters.items()}
    before = {name: p.detach().clone() for name, p in parameters.items()}
    with pytest.raises(StateError, match=r"do not fit this model \(b\.weight\)"):
        restore_parameters(parameters, wider)
    assert all(torch.equal(before[name], p) for name, p in parameters.items())


def test_the_random_state_is_that_of_the_same_kind_of_device_or_refused():
    state = random_state(CPU)
    drawn = torch.rand(4)
    restore_random_state(state, CPU)
    assert torch.equal(torch.rand(4), drawn)
    with pytest.raises(StateError, match="random state of .*'cuda'.*, not of cpu"):
        restore_random_state(state | {"cuda": state["cpu"]}, CPU)
    with pytest.raises(StateError, match="random state cannot be used"):
        restore_random_state({"cpu": state["cpu"][:100]}, CPU)


@pytest.mark.parametrize("spoil", ["one tensor missing", "one parameter missing", "all missing", "renamed"])
def test_an_optimizer_state_that_is_not_whole_is_refused(spoil):
    model, parameters, optimizer = trainee("abc", seed=0)
    train(model, optimizer, 1)
    state = optimizer_tensors(optimizer, parameters)
    if spoil == "one tensor missing":
        del state["b.weight|exp_avg_sq"]
    elif spoil == "one parameter missing":
        state = {key: value for key, value in state.items() if not key.startswith("b.weight")}
    elif spoil == "all missing":
        state = {}
    else:
        state["b.weight|exp_average"] = state.pop("b.weight|exp_avg")
    with pytest.raises(StateError, match=r"optimizer state for [ab]\.weight is not whole"):
        restore_optimizer(optimizer, parameters, state)


@pytest.mark.promise("P7")
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_weights_and_moments_that_are_no_numbers_are_refused(value):
    model, parameters, optimizer = trainee("abc", seed=0)
    train(model, optimizer, 1)
    state = {key: tensor.clone() for key, tensor in optimizer_tensors(optimizer, parameters).items()}
    state["b.weight|exp_avg"][1, 1] = value
    with pytest.raises(StateError, match=r"b\.weight\|exp_avg holds values that are no finite numbers"):
        restore_optimizer(optimizer, parameters, state)
    weights = {name: p.detach().clone() for name, p in parameters.items()}
    weights["c.bias"][0] = value
    with pytest.raises(StateError, match=r"c\.bias holds values that are no finite numbers"):
        restore_parameters(parameters, weights)


@pytest.mark.parametrize("saved", [None, [], {}, {"scale": 2.0}, "all", {"scale": float("nan")}])
def test_a_loss_scale_of_another_form_is_refused(tmp_path, saved):
    scaler = torch.amp.GradScaler("cpu")
    if isinstance(saved, dict) and saved.get("scale") != 2.0 and saved:
        saved = scaler.state_dict() | saved
    with pytest.raises(StateError, match="state.json: its loss scale is not one of"):
        restore_scaler(scaler, saved, tmp_path)
    restore_scaler(scaler, scaler.state_dict() | {"scale": 2.0}, tmp_path)
    assert scaler.get_scale() == 2.0
