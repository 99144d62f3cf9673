"""The lanes of benchmarks/speed/writing.py do the same work, and are told apart by their time alone."""

import json

import pytest

pytest.importorskip("transformers")
pytest.importorskip("peft")
pytest.importorskip("accelerate")

from benchmarks.speed import writing

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")


@pytest.mark.slow
def test_a_small_run_times_every_lane_and_writes_what_it_found(tmp_path, capsys):
    config = writing.WritingConfig(shape="tiny", rounds=2, rows=4, new_tokens=5, json=str(tmp_path / "found.json"))
    writing.main(config)
    found = json.loads((tmp_path / "found.json").read_text())
    assert list(found["training"]) == ["ours", "Trainer + peft, padded", "Trainer + peft, packed"]
    assert list(found["generation"]) == ["ours", "transformers' generate + peft"]
    assert all(
        len(lane["seconds a token"]) == 2 for what in ("training", "generation") for lane in found[what].values()
    )
    assert "| ours |" in capsys.readouterr().out


def test_turns_are_taken_there_and_back_and_the_first_round_is_not_counted():
    called = []
    lanes = {name: lambda number, name=name: called.append((number, name)) or 7 for name in ("ours", "theirs")}
    seconds = writing.take_turns(lanes, 2)
    assert [number for number, _ in called] == [0, 0, 1, 1, 2, 2]
    assert [name for _, name in called] == ["theirs", "ours", "ours", "theirs", "theirs", "ours"]
    assert all(len(times) == 2 for times in seconds.values())
