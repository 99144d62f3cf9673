"""Files of a run that hold other things than numbers: what cannot be drawn is left out, and no report ends by it."""

import json
import shutil

import pytest

import drawing
from anatomy.dial import Dial
from anatomy.report import report

ENTRIES = ('{"step": 5, "loss": "x"}', '{"step": 5, "loss": true}', '{"step": 5, "loss": 1, "grad_norm": [2]}')
ENTRIES += ('{"step": 5, "part": "validation", "loss": 1, "f1": {}}', '{"step": 1e3, "loss": 1}')
ENTRIES += (f'{{"step": 5, "loss": {"9" * 400}}}', f'{{"step": {"9" * 400}, "loss": 1}}')
RESULTS = (
    {"rows": 5, "best_step": 3, "steps": "many"}, {"rows": {"train": "all"}, "best_step": "three", "kept_step": [3]},
    {"rows": {}, "best_step": None}, {"kept_step": 10**400, "steps": {}}, {"train": ["lora"], "rows": [1]},
)  # fmt: skip


def pages(found) -> str:
    title, lead, sections = drawing.title(found), drawing.lead(found), drawing.sections(found)
    return drawing.page(title, lead, sections) + drawing.plain(title, lead, sections)


@pytest.fixture
def run(runs, tmp_path):
    return shutil.copytree(runs / "lora", tmp_path / "run")


def test_entries_of_the_curves_that_are_no_numbers_are_left_out_and_counted(run):
    whole = report(run)
    with open(run / "metrics.jsonl", "a") as file:
        file.writelines(f"{entry}\n" for entry in ENTRIES)
    found = report(run)
    assert found["curves"] == whole["curves"] and pages(found)
    assert any(f"{len(ENTRIES)} damaged lines left out" in note for note in found["notes"])


@pytest.mark.parametrize("results", RESULTS)
def test_results_that_are_no_numbers_are_not_told(run, results):
    (run / "results.json").write_text(json.dumps(results))
    found = report(run)
    assert "training part, and" not in drawing.lead(found) and pages(found)
    assert "steps" not in drawing.lead(found).split(" on ")[-2]
    assert Dial(run).best == 8 or results["best_step"] == Dial(run).best


def test_rows_that_are_gone_are_told_without_the_advice_of_another_door(run, tmp_path):
    record = json.loads((run / "adapter" / "task.json").read_text())
    record["dataset"]["name"] = str(tmp_path / "gone.tsv")
    (run / "adapter" / "task.json").write_text(json.dumps(record))
    assert f"the rows: task.json: its rows, '{tmp_path / 'gone.tsv'}', are no file here" in report(run)["notes"]
    (run / "adapter" / "task.json").unlink()
    notes = report(run, model=record["base"]["name"])["notes"]
    assert "the rows: this adapter has no task.json, so its test records are not known" in notes
