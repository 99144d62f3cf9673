"""Which step is which: whose weights a run has kept, and whose scores were the best."""

import json
import shutil

from anatomy.dial import Dial
from anatomy.report import report


def test_the_kept_step_and_the_best_one_are_told_apart(runs, tmp_path):
    run = shutil.copytree(runs / "lora", tmp_path / "run")
    results = json.loads((run / "results.json").read_text()) | {"best_step": 4, "kept_step": 8}
    (run / "results.json").write_text(json.dumps(results))
    dial = Dial(run)
    assert (dial.best, dial.best_step) == (8, 4) and report(run)["run"]["kept_step"] == 8


def test_an_adapter_inside_its_run_has_the_steps_of_the_run(runs):
    inside, whole = Dial(runs / "lora" / "adapter"), Dial(runs / "lora")
    assert (inside.steps, inside.best_step) == (whole.steps, whole.best_step)


def test_an_adapter_that_was_copied_out_has_no_step(runs, tmp_path):
    dial = Dial(shutil.copytree(runs / "lora" / "adapter", tmp_path / "alone"))
    assert dial.best_step is None and dial.steps == [0]
