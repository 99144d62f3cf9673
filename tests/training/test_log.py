"""metrics.jsonl stays in order after a resume, and nothing in it stands in the way of one."""

import json
from pathlib import Path

import pytest

from training.log import MetricsLog


def read_log(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_the_log_has_one_object_a_line(tmp_path):
    log = MetricsLog(tmp_path / "metrics.jsonl")
    log.write(step=1, loss=0.5)
    log.write(step=2, note="é\nx")
    assert read_log(log.path) == [{"step": 1, "loss": 0.5}, {"step": 2, "note": "é\nx"}]


def test_a_number_that_json_does_not_have_becomes_null(tmp_path):
    MetricsLog(tmp_path / "metrics.jsonl").write(step=1, loss=0.5, grad_norm=float("inf"))
    assert (tmp_path / "metrics.jsonl").read_text() == '{"step": 1, "loss": 0.5, "grad_norm": null}\n'


def test_a_resumed_log_drops_what_lies_after_the_checkpoint(tmp_path):
    path = tmp_path / "metrics.jsonl"
    log = MetricsLog(path)
    for step in (1, 2, 2, 3, 4):
        log.write(step=step)
    resumed = MetricsLog(path, from_step=2)
    resumed.write(step=3, again=True)
    assert read_log(path) == [{"step": 1}, {"step": 2}, {"step": 2}, {"step": 3, "again": True}]


@pytest.mark.parametrize("half", ['{"step": 2, "lo', "{", '{"step": 2}'])
def test_a_last_line_cut_off_in_the_middle_of_a_write_is_dropped(tmp_path, half):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\n' + half)
    MetricsLog(path, from_step=9).write(step=2, again=True)
    assert read_log(path) == [{"step": 1}, {"step": 2, "again": True}]


def test_a_new_log_starts_empty(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\n')
    MetricsLog(path)
    assert path.read_text() == ""


def test_what_a_resume_from_an_older_checkpoint_makes_anew_is_moved_and_told(tmp_path):
    path, later = tmp_path / "metrics.jsonl", tmp_path / "aside" / "metrics-after-000002.jsonl"
    for turn in ("metrics-after-000002.jsonl", "metrics-after-000002-2.jsonl"):
        log = MetricsLog(path, 2, later=later)
        for step in (1, 2, 3) if turn == later.name else (3,):
            log.write(step=step, turn=turn)
        told = MetricsLog(path, 2, later=later).told
        assert [entry["step"] for entry in read_log(path)] == [1, 2]
        assert read_log(tmp_path / "aside" / turn) == [{"step": 3, "turn": turn}]
        assert turn in told[0]


def test_an_evaluation_that_is_made_again_is_not_in_the_log_twice(tmp_path):
    path = tmp_path / "metrics.jsonl"
    log = MetricsLog(path)
    log.write(step=2, loss=0.5)
    log.write(step=2, part="validation", loss=0.4)
    MetricsLog(path, 2)
    assert len(read_log(path)) == 2
    MetricsLog(path, 2, unscored=True)
    assert read_log(path) == [{"step": 2, "loss": 0.5}]


@pytest.mark.parametrize("line", ["", "\0" * 30, "[1]", "{}", '{"step": "2"}', '{"step": true}', "\udcff", "[" * 9999])
def test_a_damaged_line_is_left_out_and_told(tmp_path, line):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"step": 1}\n' + line.encode("utf-8", "surrogateescape") + b'\n{"step": 2}\n')
    assert MetricsLog(path, 9).told == [f"{path}: 1 damaged line left out"]
    assert read_log(path) == [{"step": 1}, {"step": 2}]
