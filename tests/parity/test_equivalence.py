"""All that benchmarks/equality/equivalence.py compares: drawn, computed and trained as by transformers + peft."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
pytest.importorskip("transformers", reason="needs pip install -r requirements-dev.txt")
pytest.importorskip("peft", reason="needs pip install -r requirements-dev.txt")

from benchmarks.equality import comparisons, details, equivalence, side_by_side  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent.parent
GROUPS = comparisons.GROUPS + comparisons.RUNS


@pytest.fixture(scope="module")
def rows_of(tmp_path_factory):
    """rows_of(group): its comparisons, made once."""
    made = {}

    def make(group):
        if group not in made:
            made[group] = list(group(tmp_path_factory.mktemp(group.__name__)))
        return made[group]

    return make


@pytest.mark.parametrize("group", GROUPS, ids=lambda group: group.__name__)
def test_the_numbers_are_those_of_the_reference(rows_of, group):
    rows = rows_of(group)
    assert rows and all(row.theirs for row in rows)
    failed = [f"{row.name}: differs by {row.max_abs_diff:.3g}" for row in rows if not row.ok]
    assert not failed, "\n".join(failed)


def test_more_than_40_properties_are_the_same_bits_and_the_rest_say_why_not(rows_of):
    rows = [row for group in GROUPS for row in rows_of(group)]
    assert len({row.name for row in rows}) == len(rows)
    assert sum(row.bitwise for row in rows) >= 40
    assert all(row.bitwise for row in rows if not row.why)
    assert all(0 < row.bound <= 2e-3 for row in rows if row.why)


def test_a_run_is_long_enough_to_show_a_difference(rows_of):
    """Two epochs, the last batch short, and weights that end far from where they began."""
    rows = {row.name: row for row in rows_of(comparisons.whole_runs)}
    losses = rows["run, the notebook's LoRA: losses"].ours
    assert len(losses) == 10 and len(set(map(float, losses.values()))) == 10
    ends = rows["run, the notebook's LoRA: tensors"].ours
    assert all(float(tensor.abs().max()) > 1e-3 for name, tensor in ends.items() if "lora_B" in name)


def test_a_mean_of_means_is_what_trainer_alone_trains_on_and_this_project_does_not(tmp_path):
    """Its loss for this model is never divided by the number of batches: three batches, about three times the loss."""
    base, task = side_by_side.write_base(tmp_path), side_by_side.random_task(side_by_side.SMALL, 27)
    config = dataclasses.replace(
        comparisons.EXACT, gradient_accumulation_steps=3, per_device_train_batch_size=3, num_train_epochs=1
    )
    theirs, ours = (run(base, task, config) for run in (side_by_side.train_theirs, side_by_side.train_ours))
    assert theirs.losses[0] == pytest.approx(3 * ours.losses[0], rel=1e-6)
    assert theirs.grad_norms[0] == pytest.approx(3 * ours.grad_norms[0], rel=1e-5)


@pytest.mark.parametrize("n", [1, 2, 3, 7, 31, 32, 33, 100, 257])
def test_the_loss_of_one_batch_is_the_mean_that_trainer_takes_to_the_bit(n):
    generator = torch.Generator().manual_seed(n)
    logits = torch.randn(n, 3, generator=generator) * 4
    labels = torch.randint(0, 3, (n,), generator=generator)
    mean, ours = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    cross_entropy = torch.nn.functional.cross_entropy
    expected, got = cross_entropy(mean, labels), cross_entropy(ours, labels, reduction="sum") / n
    expected.backward(), got.backward()
    assert torch.equal(expected, got) and torch.equal(mean.grad, ours.grad)


def test_without_its_one_draw_per_epoch_the_masks_are_others(tmp_path):
    base, task = side_by_side.write_base(tmp_path), side_by_side.random_task(side_by_side.SMALL, 23)
    expected = side_by_side.train_theirs(base, task, comparisons.EXACT)
    with details.DETAILS["no draw at the start of an epoch"]:
        got = side_by_side.train_ours(base, task, comparisons.EXACT)
    assert not torch.equal(expected.random_states[0], got.random_states[0]) and expected.losses != got.losses
    got = side_by_side.train_ours(base, task, dataclasses.replace(comparisons.EXACT, exact=False))
    assert expected.losses != got.losses


@pytest.mark.parametrize(
    "name", ["k and v copied to be contiguous", "LoRA added to the weight", "attention spelled out"]
)
def test_a_detail_spelled_differently_is_noticed(tmp_path, name):
    base = side_by_side.write_base(tmp_path, details.SHAPE)
    task = side_by_side.random_task(details.SHAPE, 23)
    config = dataclasses.replace(comparisons.EXACT, lora_dropout=0.0, lora_alpha=20.0)
    expected = side_by_side.train_theirs(base, task, config)
    with details.DETAILS[name]:
        rows = list(comparisons.compare_runs(name, expected, side_by_side.train_ours(base, task, config)))
    assert [row for row in rows if not row.ok]


@pytest.fixture
def small_equivalence(monkeypatch, tmp_path):
    """benchmarks/equality/equivalence.py on one group; returns (exit code, its JSON)."""
    monkeypatch.setattr(comparisons, "RUNS", ())
    monkeypatch.setattr(equivalence, "details", lambda work: iter(()))
    monkeypatch.setattr(equivalence, "prepare", lambda threads: None)

    def run(group):
        monkeypatch.setattr(comparisons, "GROUPS", (group,))
        monkeypatch.setattr(sys, "argv", ["equivalence.py", "--json", str(tmp_path / "out.json")])
        return equivalence.main(), json.loads((tmp_path / "out.json").read_text())

    return run


def test_the_benchmark_exits_with_0_and_writes_what_it_prints(small_equivalence, capsys):
    code, written = small_equivalence(comparisons.a_fresh_head)
    assert code == 0 and "6 bitwise" in capsys.readouterr().out
    assert {"name", "bitwise", "max_abs_diff", "bound", "ok"} <= set(written["comparisons"][0])
    assert {"torch", "transformers", "peft"} <= set(written["versions"]) and written["cpu"] and written["seeds"]


@pytest.mark.parametrize("ours", [1.0 + 2**-23, float("nan")])
def test_the_benchmark_exits_with_1_for_one_bit_or_a_number_that_is_none(small_equivalence, capsys, ours):
    def wrong(work):
        yield comparisons.compare("a loss", [1.0, 2.0], [ours, 2.0])

    code, written = small_equivalence(wrong)
    assert code == 1 and "FAILED: a loss" in capsys.readouterr().out
    assert not written["comparisons"][0]["ok"]


def test_a_missing_tensor_and_another_dtype_are_differences():
    one = torch.ones(2)
    assert not comparisons.compare("", {"a": one, "b": one}, {"a": one}).ok
    assert not comparisons.compare("", [one], [one.double()]).ok
    assert not comparisons.compare("", [one], [one * torch.nan], bound=1.0, why="?").ok
    assert comparisons.compare("", [one], [one + 1e-3], bound=1e-2, why="?").ok


@pytest.mark.slow
def test_two_steps_at_the_size_of_gpt2_are_the_same_bits(rows_of):
    assert [row.name for row in rows_of(comparisons.at_the_size_of_gpt2) if not row.ok] == []


@pytest.mark.slow
@pytest.mark.parametrize("task", ["classification", "language"])
def test_the_whole_run_for_the_skeptic_finds_no_difference(task):
    script = [sys.executable, str(ROOT / "benchmarks" / "equality" / "whole_run.py"), "--task", task]
    done = subprocess.run(script, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "the same to the last bit" in done.stdout, done.stdout + done.stderr
