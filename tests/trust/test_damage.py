"""Damaged checkpoints: each is refused by the name of the file, and the run goes on from the one before and says so."""

import os
import random
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.trust import trees
from tests.trust.taking_up import take_up

pytestmark = [pytest.mark.slow, pytest.mark.promise("P1")]
SEED = int(os.environ.get("TRUST_SEED") or time.time_ns() % 2**32)
FILES = ("trainable.safetensors", "optimizer.safetensors", "rng.safetensors", "state.json", "MANIFEST.json")
Damage = Callable[[Path], object]


@pytest.fixture(scope="module")
def other(server, flags, tmp_path_factory) -> Path:
    """Step 20 of another run, which has another seed."""
    cwd = tmp_path_factory.mktemp("other")
    server.run([*flags, "--seed=7", "--max_steps=20", "--lr_scheduler_type=constant"], cwd)
    return cwd / "run" / "checkpoints" / "step-000020"


def damages(file: Path, other: Path, draw: random.Random) -> Iterator[tuple[str, Damage]]:
    """42 of them, of which some may be the same. None leaves the bytes as they are."""
    data = file.read_bytes()
    size = len(data)
    for length in [0, 1, size // 2, size - 1, *(draw.randrange(size) for _ in range(10))]:
        yield f"cut to {length} bytes", lambda path, length=length: os.truncate(path, length)
    for _ in range(22):
        at, bit = draw.randrange(size), draw.randrange(8)
        flipped = data[:at] + bytes([data[at] ^ 1 << bit]) + data[at + 1 :]
        yield f"bit {bit} of byte {at}", lambda path, flipped=flipped: path.write_bytes(flipped)
    page = max(i for i, byte in enumerate(data) if byte) // 4096 * 4096
    yield "a page of zeros", lambda path: path.write_bytes(data[:page] + bytes(size - page))
    yield "zeros at its beginning", lambda path: path.write_bytes(bytes(8) + data[8:])
    yield "a byte more", lambda path: path.write_bytes(data + b"\n" if file.suffix != ".json" else data + b"}")
    yield "another run's", lambda path: shutil.copy(other / path.name, path)
    yield "gone", lambda path: path.unlink()
    yield "a directory", lambda path: (path.unlink(), path.mkdir())


def broken(cwd: Path, damage: Damage, name: str) -> Path:
    """Step 20 of the run in `cwd`, with a damaged file."""
    checkpoint = cwd / "run" / "checkpoints" / "step-000020"
    damage(checkpoint / name)
    return checkpoint


@pytest.mark.parametrize("name", FILES)
def test_no_damage_to_a_file_goes_unnoticed(after_20, other, tmp_path, name):
    print(f"TRUST_SEED={SEED}")
    file = after_20 / "run" / "checkpoints" / "step-000020" / name
    found = dict(damages(file, other, random.Random(SEED)))
    for number, (what, damage) in enumerate(found.items()):
        cwd = trees.copied(after_20, tmp_path / str(number))
        broken(cwd, damage, name)
        refused = take_up(cwd, "run/checkpoints/step-000020")
        assert refused.code == 4 and refused.err.count("\n") == 1, (what, refused)
        assert refused.err.startswith("error: run/checkpoints/step-000020") and (
            name in refused.err or name == "MANIFEST.json"  # then it may be another file that it seems to name
        ), (what, refused.err)
        fallen_back = take_up(cwd)
        assert fallen_back.code == 0, (what, fallen_back)
        assert "going on after step 18 from run/checkpoints/step-000018" in fallen_back.out, what
        assert "passed over: run/checkpoints/step-000020" in fallen_back.out, what
        assert (cwd / "run" / "checkpoints" / "aside" / "step-000020").is_dir(), what
        shutil.rmtree(cwd)
    assert len(found) >= 36


@pytest.mark.promise("P2")
@pytest.mark.parametrize("name", FILES)
def test_a_run_that_falls_back_ends_with_the_same_bytes(after_20, other, ends_whole, tmp_path, name):
    cwd = trees.copied(after_20, tmp_path / "cwd")
    broken(cwd, lambda path: os.truncate(path, 100), name)
    said = ends_whole(cwd)
    assert "passed over" in said and "going on after step 18" in said


def emptied(checkpoint: Path) -> None:
    for file in checkpoint.iterdir():
        file.unlink()


def a_file(checkpoint: Path) -> None:
    shutil.rmtree(checkpoint)
    checkpoint.write_text("mine")


def a_link_to_itself(checkpoint: Path) -> None:
    shutil.rmtree(checkpoint)
    checkpoint.symlink_to(checkpoint.name)


def without_a_file_of_its_manifest(checkpoint: Path) -> None:
    (checkpoint / "rng.safetensors").rename(checkpoint / "rng.safetensors.bak")


def two_files_exchanged(checkpoint: Path) -> None:
    (checkpoint / "rng.safetensors").rename(checkpoint / "x")
    (checkpoint / "trainable.safetensors").rename(checkpoint / "rng.safetensors")
    (checkpoint / "x").rename(checkpoint / "trainable.safetensors")


@pytest.mark.parametrize(
    "damage", [emptied, a_file, a_link_to_itself, without_a_file_of_its_manifest, two_files_exchanged]
)
def test_what_is_no_checkpoint_any_more_is_passed_over(after_20, ends_whole, tmp_path, damage):
    cwd = trees.copied(after_20, tmp_path / "cwd")
    damage(cwd / "run" / "checkpoints" / "step-000020")
    assert "going on after step 18" in ends_whole(cwd)


def test_a_damaged_best_checkpoint_is_told_and_no_obstacle(server, after_20, tmp_path):
    cwd = trees.copied(after_20, tmp_path / "cwd")
    os.truncate(cwd / "run" / "checkpoints" / "step-000010" / "trainable.safetensors", 50)
    run = server.run(["--resume_from_checkpoint", "run"], cwd)
    assert "best" in run.stdout and "step-000010" in run.stdout
    results = trees.strict((cwd / "run" / "results.json").read_bytes())
    assert results["best_step"] != 10 and f"best checkpoint: step {results['best_step']}" in run.stdout
    trees.check_product(cwd / "run" / "adapter")


def test_where_no_checkpoint_is_whole_all_are_named_and_left_where_they_are(after_20, tmp_path):
    cwd = trees.copied(after_20, tmp_path / "cwd")
    for step in (10, 18, 20):
        os.truncate(cwd / "run" / "checkpoints" / f"step-{step:06d}" / "state.json", 7)
    said = take_up(cwd)
    assert said.code == 4 and said.err.count("\n") == 1 and "nothing to resume from" in said.err
    assert all(f"step-{step:06d}" in said.err for step in (10, 18, 20))
    assert trees.steps(cwd / "run") == [10, 18, 20]
