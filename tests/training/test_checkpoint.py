"""Checkpoints: what is put down is taken up bit for bit, and a damaged one is noticed, named and passed over."""

import json
import shutil

import pytest
import torch

from training.checkpoint import (
    checkpoints,
    find_checkpoint,
    load_checkpoint,
    prune_checkpoints,
    put_aside,
    save_checkpoint,
)
from training.errors import StateError
from training.trainee import random_state

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
    assert loaded_state == {"format": 1} | state
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
    found = find_checkpoint(run)
    assert (found.path.name, found.state["step"], found.damaged) == ("step-1000000", 1_000_000, {})


def test_a_checkpoint_can_be_chosen_by_its_own_path(run):
    found = find_checkpoint(run / "checkpoints" / "step-000005")
    assert found.state["step"] == 5
    assert load_checkpoint(found.path)[0]["trainable"]["w"].tolist() == [5, 5, 5]
    assert found.damaged == {} and [path.name for path in found.later] == ["step-000010", "step-000015"]


@pytest.mark.parametrize("name", ["trainable.safetensors", "rng.safetensors", "state.json"])
def test_one_flipped_bit_is_noticed_named_and_the_checkpoint_before_is_taken(run, name):
    damaged = run / "checkpoints" / "step-000015" / name
    size = damaged.stat().st_size
    for position in sorted({0, 7, 8, size // 3, size // 2, size - 1}):
        for bit in (0, 7):
            flip(damaged, position, bit)
            found = find_checkpoint(run)
            assert (found.path.name, found.state["step"]) == ("step-000010", 10)
            assert load_checkpoint(found.path)[0]["trainable"]["w"].tolist() == [10, 10, 10]
            assert list(found.damaged) == [damaged.parent] and found.later == []
            assert str(damaged) in found.damaged[damaged.parent] and "damaged" in found.damaged[damaged.parent]
            flip(damaged, position, bit)
    assert find_checkpoint(run).path.name == "step-000015"


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
    found = find_checkpoint(run)
    assert found.state["step"] == 10
    assert [path.name for path in found.damaged] == ["step-000015"]


@pytest.mark.parametrize("manifest", ["[]", "null", '["state.json"]', "3", "{}"])
def test_a_manifest_of_another_form_is_passed_over(run, manifest):
    (run / "checkpoints" / "step-000015" / "MANIFEST.json").write_text(manifest)
    assert find_checkpoint(run).state["step"] == 10


def test_two_damaged_checkpoints_are_both_named(run):
    for step in (10, 15):
        flip(run / "checkpoints" / f"step-{step:06d}" / "state.json", 3)
    found = find_checkpoint(run)
    assert found.state["step"] == 5
    assert [path.name for path in found.damaged] == ["step-000015", "step-000010"]


def test_a_damaged_checkpoint_chosen_by_its_path_is_not_swapped_for_another(run):
    flip(run / "checkpoints" / "step-000015" / "rng.safetensors", 20)
    with pytest.raises(StateError, match=r"step-000015.rng\.safetensors: damaged"):
        find_checkpoint(run / "checkpoints" / "step-000015")


def test_a_run_without_a_checkpoint_has_none_and_one_with_nothing_whole_says_so(run, tmp_path_factory):
    assert find_checkpoint(tmp_path_factory.mktemp("empty")).path is None
    for path in checkpoints(run / "checkpoints"):
        (path / "MANIFEST.json").unlink()
    with pytest.raises(StateError, match="nothing to resume from .*step-000015.*step-000005"):
        find_checkpoint(run)


def test_a_copy_of_a_checkpoint_beside_it_disturbs_nothing(run):
    root = run / "checkpoints"
    shutil.copytree(root / "step-000005", root / "step-000005-backup")
    assert find_checkpoint(run).state["step"] == 15
    prune_checkpoints(root, keep=1, best_step=None)
    assert {path.name for path in root.iterdir()} == {"step-000015", "step-000005-backup"}


@pytest.mark.parametrize(
    "keep, best, left",
    [(1, None, [15]), (1, 5, [5, 15]), (2, 5, [5, 10, 15]), (2, 15, [10, 15]), (9, None, [5, 10, 15])]
)  # fmt: skip
def test_pruning_keeps_the_newest_and_the_best(run, keep, best, left):
    prune_checkpoints(run / "checkpoints", keep, best)
    assert steps(run) == left


def test_the_state_is_readable_json(run):
    assert json.loads((run / "checkpoints" / "step-000015" / "state.json").read_text()) == {
        "format": 1,
        "step": 15,
        "note": "é",
    }


@pytest.mark.promise("P10")
@pytest.mark.parametrize(
    "name", ["../../../etc/hostname", "/etc/hostname", "state.json/../state.json", "a.pt", ".hidden"]
)
def test_a_manifest_that_names_files_elsewhere_is_refused_before_they_are_opened(run, name):
    path = run / "checkpoints" / "step-000015"
    manifest = json.loads((path / "MANIFEST.json").read_text())
    (path / "MANIFEST.json").write_text(json.dumps({name: "0" * 64} | manifest))
    with pytest.raises(StateError, match="step-000015: not a whole checkpoint .its MANIFEST.json names "):
        find_checkpoint(path)


@pytest.mark.promise("P10")
def test_a_link_in_a_checkpoint_is_not_followed(run):
    file = run / "checkpoints" / "step-000015" / "rng.safetensors"
    file.rename(run / "elsewhere")
    file.symlink_to(run / "elsewhere")
    with pytest.raises(StateError, match="rng.safetensors: missing"):
        find_checkpoint(file.parent)


@pytest.mark.parametrize("number", [0, 2, "1", None])
def test_a_checkpoint_of_another_format_is_refused_by_its_number(tmp_path, number):
    with pytest.raises(StateError, match=r"state.json: is of format .*, this version reads 1; use the version that"):
        load_checkpoint(save_checkpoint(tmp_path, 1, {}, {"format": number}))


def test_a_checkpoint_put_aside_is_found_by_no_run_and_takes_no_other_ones_place(run):
    root = run / "checkpoints"
    for name in ("step-000015", "step-000015-2"):
        assert put_aside(root / "step-000015") == root / "aside" / name
        save_checkpoint(root, 15, {}, {"step": 15})
    put_aside(root / "step-000015")
    assert steps(run) == [5, 10]


def test_an_old_checkpoint_that_cannot_be_deleted_is_told_and_ends_nothing(run, monkeypatch):
    def refuse(path):
        raise OSError(5, "Input/output error", str(path))

    monkeypatch.setattr("training.checkpoint.remove", refuse)
    told = prune_checkpoints(run / "checkpoints", 1, None)
    assert ["step-000005" in told[0], "step-000010" in told[1], "Input/output error" in told[0]] == [True] * 3
    assert steps(run) == [5, 10, 15]


@pytest.mark.promise("P1")
def test_a_checkpoint_that_is_being_deleted_is_never_seen_half(run, monkeypatch):
    def killed(path):
        assert path.name.startswith(".tmp-")
        raise KeyboardInterrupt

    monkeypatch.setattr("training.files.shutil.rmtree", killed)
    with pytest.raises(KeyboardInterrupt):
        prune_checkpoints(run / "checkpoints", 1, None)
    assert steps(run) == [10, 15]
