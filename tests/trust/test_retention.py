"""Random histories of saves, bests, damages and resumes: the best checkpoint stays, and so does the last whole one."""

import os
from pathlib import Path

import pytest
import torch

from tests.trust import trees
from training.checkpoint import checkpoints, find_checkpoint, put_aside, step_of
from training.errors import StateError
from training.run import Run

pytest.importorskip("hypothesis", reason="needs pip install -r requirements-dev.txt")

from hypothesis import HealthCheck, given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

pytestmark = pytest.mark.promise("P15")
# What happens next: a save (of the best so far or not), damage to the checkpoint at a place counted from the newest, or
# the run is taken up again.
EVENTS = st.lists(
    st.one_of(st.tuples(st.just("save"), st.booleans()), st.tuples(st.just("damage"), st.integers(0, 3)),
              st.tuples(st.just("resume"), st.just(0))),
    max_size=25,
)  # fmt: skip


def whole(run: Run) -> set[int]:
    return {step_of(path) for path in checkpoints(run.checkpoints) if trees.is_whole(path)}


def save(run: Run, keep: int, step: int, best: int | None) -> None:
    before = whole(run)
    run.save(step, {"trainable": {"w": torch.ones(2)}}, {"state": {"best_step": best}}, keep=keep, best_step=best)
    assert step in whole(run), "what was saved is there, whatever was before it"
    assert best is None or best in whole(run) or best not in before, "and so is the best"
    assert len(checkpoints(run.checkpoints)) <= keep + 1, "the newest ones, and the best"


def resume(run: Run) -> tuple[int, int | None]:
    """As a run is taken up again: the step and the best step that it goes on with."""
    newest, others = max(whole(run)), whole(run)
    found = find_checkpoint(run.path)
    assert step_of(found.path) == newest
    for path in [*found.damaged, *found.later]:
        put_aside(path)
    assert whole(run) == others, "nothing whole is put aside that it does not go beyond"
    best = found.state["state"]["best_step"]
    return newest, best if best in others else None


def live(run: Run, keep: int, events: list[tuple[str, int]]) -> None:
    run.checkpoints.mkdir()
    (run.checkpoints / "notes.txt").write_text("mine")
    step, best = 0, None
    for what, how in events:
        if what == "save":
            step += 1
            best = step if how or best is None else best
            save(run, keep, step, best)
        elif what == "damage" and len(checkpoints(run.checkpoints)) > how:
            file = checkpoints(run.checkpoints)[-1 - how] / "trainable.safetensors"
            os.truncate(file, file.stat().st_size // 2)
        elif what == "resume" and whole(run):
            step, best = resume(run)
        elif what == "resume" and checkpoints(run.checkpoints):
            with pytest.raises(StateError, match="nothing to resume from"):
                find_checkpoint(run.path)
            return
    assert (run.checkpoints / "notes.txt").read_text() == "mine"


def look(folder: Path, examples: int) -> None:
    number = 0

    @settings(max_examples=examples, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(st.integers(1, 3), EVENTS)
    def histories(keep, events):
        nonlocal number
        number += 1
        path = folder / str(number)
        path.mkdir()
        (path / "config.toml").touch()
        live(Run(path), keep, events)

    histories()


@pytest.mark.slow
def test_no_history_loses_the_best_checkpoint_or_the_last_whole_one(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda handle: None)  # what is asked here does not depend on it
    look(tmp_path, int(os.environ.get("TRUST_EXAMPLES", 100)))


@pytest.mark.long
def test_no_history_of_many_loses_the_best_checkpoint_or_the_last_whole_one(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda handle: None)
    look(tmp_path, int(os.environ.get("TRUST_EXAMPLES", 3000)))
