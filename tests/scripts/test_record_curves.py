"""The curves of exercise 15 can be recorded anew, each with its bug."""

import json
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"


@pytest.fixture
def recorded(messages_file, tiny_base, tmp_path, monkeypatch):
    """What six steps on a tiny random base give."""
    monkeypatch.syspath_prepend(str(SCRIPTS))
    monkeypatch.delitem(sys.modules, "record_curves", raising=False)
    import record_curves

    output = tmp_path / "curves.json"
    files = {"model": str(tiny_base), "dataset": str(messages_file), "output": str(output)}
    record_curves.main(record_curves.RecordConfig(steps=6, eval_steps=2, held_out=5, **files))
    return record_curves.CURVES, json.loads(output.read_text(encoding="utf-8"))


def test_every_bug_gives_a_curve_of_its_own_and_starts_where_it_must(recorded):
    bugs, record = recorded
    curves = record["curves"]
    assert list(curves) == list(bugs) and record["steps"] == 6 and record["eval_steps"] == 2
    assert all(len(curve["train"]) == 6 and len(curve["held_out"]) == 4 for curve in curves.values())
    assert len({json.dumps(curve) for curve in curves.values()}) == len(curves)
    assert len({curve["train"][0] for letter, curve in curves.items() if not bugs[letter].shuffled_labels}) == 1
    assert len({curve["held_out"][0] for letter, curve in curves.items() if not bugs[letter].mask_forgotten}) == 1
    right = next(letter for letter, bug in bugs.items() if bug == type(bug)())
    for letter, bug in bugs.items():
        if bug.mask_forgotten:  # training is untouched
            assert curves[letter]["train"] == curves[right]["train"]
        if bug.schedule < 1:
            assert len(set(curves[letter]["held_out"][1:])) == 1


def test_the_curves_that_are_kept_begin_as_the_bundled_base_and_messages_do_today(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPTS))
    import record_curves

    monkeypatch.setattr(record_curves, "CURVES", {"D": record_curves.CURVES["D"]})
    record_curves.main(record_curves.RecordConfig(steps=1, output=str(tmp_path / "curves.json")))
    begun = json.loads((tmp_path / "curves.json").read_text(encoding="utf-8"))["curves"]["D"]
    kept = json.loads((SCRIPTS.parent / "exercises" / "curves.json").read_text(encoding="utf-8"))["curves"]["D"]
    assert begun["train"] == pytest.approx(kept["train"][:1], abs=2e-3)
    assert begun["held_out"][:1] == pytest.approx(kept["held_out"][:1], abs=2e-3)
