"""Checkpoints: what is put down is taken up bit for bit, and a damaged one is noticed, named and passed over."""

import json
import shutil

import pytest
import torch
from torch import nn

from training.checkpoint import (
    checkpoints,
    find_checkpoint,
    load_checkpoint,
    optimizer_tensors,
    prune_checkpoints,
    random_state,
    restore_optimizer,
    restore_parameters,
    restore_random_state,
    save_checkpoint,
)
from training.errors import StateError
from training.optimization import build_optimizer

CPU = torch.device("cpu")


@pytest.fixture
def run(tmp_path):
    """A run with checkpoints of steps 5, 10 and 15; the state of each says its step."""
    for step in (5, 10, 15):
        tensors = {"trainable": {"w": torch.full((3,), float(step))}, "rng": random_state(CPU)}
        save_checkpoint(tmp_path / "checkpoints", step, tensors, {"step": step, "note": "é"})
    return tmp_path


def steps(run) -> list[int]:
    return [load_checkpoint(path)[1]["step"] for path in checkpoints(run / "checkpoints")]


def flip(path, position: int, bit: int = 0) -> None:
    data = bytearray(path.read_bytes())
    data[position] ^= 1 << bit
    path.write_bytes(data)


def test_a_checkpoint_gives_back_tensors_and_state_bit_for_bit(tmp_path):
    values = torch.tensor([0.1, -0.0, float("inf"), float("nan"), 1e-45])
    tensors = {
        "trainable": {"a.b|c": values, "t": torch.arange(6.0).reshape(2, 3).t()},
        "other": {"half": values.bfloat16(), "step": torch.tensor(7.0), "bytes": torch.arange(5, dtype=torch.uint8)},
        "empty": {},
    }
    state = {"step": 3, "score": 0.1 + 0.2, "none": None, "names": ["é", "\n"]}
    path = save_checkpoint(tmp_path, 3, tensors, state)
    assert path == tmp_path / "step-000003"
    loaded, loaded_state = load_checkpoint(path)
    assert loaded_state == state
    assert {name: set(group) for name, group in loaded.items()} == {name: set(group) for name, group in tensors.items()}
    for name, group in tensors.items():
        for key, tensor in group.items():
            assert loaded[name][key].dtype == tensor.dtype
            assert torch.equal(bits(loaded[name][key]), bits(tensor)), key


def bits(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.contiguous().reshape(-1).view(torch.uint8)


def test_a_checkpoint_holds_no_pickle(run):
    names = {path.name for path in (run / "checkpoints" / "step-000015").iterdir()}
    assert names == {"trainable.safetensors", "rng.safetensors", "state.json", "MANIFEST.json"}


def test_the_newest_checkpoint_is_taken_also_when_its_number_is_longer(run):
    save_checkpoint(run / "checkpoints", 1_000_000, {}, {"step": 1_000_000})
    assert steps(run) == [5, 10, 15, 1_000_000]
    path, _, state, skipped = find_checkpoint(run)
    assert (path.name, state["step"], skipped) == ("step-1000000", 1_000_000, [])


def test_a_checkpoint_can_be_chosen_by_its_own_path(run):
    path, tensors, state, skipped = find_checkpoint(run / "checkpoints" / "step-000005")
    assert state["step"] == 5
    assert tensors["trainable"]["w"].tolist() == [5, 5, 5]
    assert skipped == []


@pytest.mark.parametrize("name", ["trainable.safetensors", "rng.safetensors", "state.json"])
def test_one_flipped_bit_is_noticed_named_and_the_checkpoint_before_is_taken(run, name):
    damaged = run / "checkpoints" / "step-000015" / name
    size = damaged.stat().st_size
    for position in sorted({0, 7, 8, size // 3, size // 2, size - 1}):
        for bit in (0, 7):
            flip(damaged, position, bit)
            path, tensors, state, skipped = find_checkpoint(run)
            assert (path.name, state["step"]) == ("step-000010", 10)
            assert tensors["trainable"]["w"].tolist() == [10, 10, 10]
            assert len(skipped) == 1 and str(damaged) in skipped[0] and "damaged" in skipped[0]
            flip(damaged, position, bit)
    assert find_checkpoint(run)[0].name == "step-000015"


def test_no_flipped_bit_of_the_manifest_does_harm(run):
    path = run / "checkpoints" / "step-000015"
    whole, manifest = load_checkpoint(path), path / "MANIFEST.json"
    for position in range(manifest.stat().st_size):
        for bit in range(8):
            flip(manifest, position, bit)
            try:
                tensors, state = load_checkpoint(path)
                assert state == whole[1] and set(tensors) == set(whole[0]), (position, bit)
            except StateError as error:
                assert str(path) in str(error)
            flip(manifest, position, bit)


@pytest.mark.parametrize("name", ["trainable.safetensors", "state.json", "MANIFEST.json"])
@pytest.mark.parametrize("damage", ["missing", "empty", "cut"])
def test_a_checkpoint_with_a_missing_or_truncated_file_is_passed_over(run, name, damage):
    path = run / "checkpoints" / "step-000015" / name
    data = path.read_bytes()
    path.unlink()
    if damage != "missing":
        path.write_bytes(data[: len(data) // 2] if damage == "cut" else b"")
    found, _, state, skipped = find_checkpoint(run)
    assert state["step"] == 10
    assert len(skipped) == 1 and "step-000015" in skipped[0]


@pytest.mark.parametrize("manifest", ["[]", "null", '["state.json"]', "3", "{}"])
def test_a_manifest_of_another_form_is_passed_over(run, manifest):
    (run / "checkpoints" / "step-000015" / "MANIFEST.json").write_text(manifest)
    assert find_checkpoint(run)[2]["step"] == 10


def test_two_damaged_checkpoints_are_both_named(run):
    for step in (10, 15):
        flip(run / "checkpoints" / f"step-{step:06d}" / "state.json", 3)
    _, _, state, skipped = find_checkpoint(run)
    assert state["step"] == 5
    assert ["step-000015" in skipped[0], "step-000010" in skipped[1]] == [True, True]


def test_a_damaged_checkpoint_chosen_by_its_path_is_not_swapped_for_another(run):
    flip(run / "checkpoints" / "step-000015" / "rng.safetensors", 20)
    with pytest.raises(StateError, match=r"step-000015.rng\.safetensors: damaged"):
        find_checkpoint(run / "checkpoints" / "step-000015")


def test_a_run_with_nothing_whole_says_so(run, tmp_path_factory):
    with pytest.raises(StateError, match="nothing to resume from .*no checkpoints"):
        find_checkpoint(tmp_path_factory.mktemp("empty"))
    for path in checkpoints(run / "checkpoints"):
        (path / "MANIFEST.json").unlink()
    with pytest.raises(StateError, match="nothing to resume from .*step-000015.*step-000005"):
        find_checkpoint(run)


def test_a_copy_of_a_checkpoint_beside_it_disturbs_nothing(run):
    root = run / "checkpoints"
    shutil.copytree(root / "step-000005", root / "step-000005-backup")
    assert find_checkpoint(run)[2]["step"] == 15
    prune_checkpoints(root, keep=1, best_step=None)
    assert {path.name for path in root.iterdir()} == {"step-000015", "step-000005-backup"}


@pytest.mark.parametrize(
    "keep, best, left",
    [(1, None, [15]), (1, 5, [5, 15]), (2, 5, [5, 10, 15]), (2, 15, [10, 15]), (9, None, [5, 10, 15])]
)  # fmt: skip
def test_pruning_keeps_the_newest_and_the_best(run, keep, best, left):
    prune_checkpoints(run / "checkpoints", keep, best)
    assert steps(run) == left


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


def test_the_state_is_readable_json(run):
    assert json.loads((run / "checkpoints" / "step-000015" / "state.json").read_text()) == {"step": 15, "note": "é"}
