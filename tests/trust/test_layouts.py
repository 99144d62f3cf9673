"""A step of 32 rows, however cut into batches and shared between processes, is the same step: in float64, to 1e-12.

Else a run with less memory, or with more processes, would be another experiment. Mistakes planted in the loop are seen.
"""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.faults.planting import Fault
from tests.trust import plans
from tests.trust.server import Run, Server, free_port, plan

pytestmark = [pytest.mark.slow, pytest.mark.promise("P5")]
STEP = "train:train_step"
# Rows of a batch, batches of a step, processes. Of 45 rows an epoch's second step has 13, its last batch is short.
LAYOUTS = {
    "2 x 16": (16, 2, 1), "4 x 8": (8, 4, 1), "32 x 1": (1, 32, 1),
    "2 processes": (16, 1, 2), "2 processes of 2 x 8": (8, 2, 2),
}  # fmt: skip
FAULTS = {
    "divided by the number of batches": (
        "4 x 8", Fault("", STEP, "output.loss / counted", "output.loss / batch.counted / len(batches)", "")),
    "summed over batches": (
        "2 x 16", Fault("", STEP, "output.loss / counted", "output.loss / batch.counted", "")),
    "the incomplete step at an epoch's end dropped": (
        "2 x 16", Fault("", "tasks.steps:Epochs.__init__", "-(-len(rows.split.train) // self.rows_per_step)",
                        "len(rows.split.train) // self.rows_per_step", "")),
    "gradients exchanged after the first batch, not the last": (
        "2 processes of 2 x 8", Fault("", STEP, "now=number == len(batches)", "now=number == 1", "")),
    "divided by the rows of this process": (
        "2 processes", Fault("", STEP, "place.ranks.sum(sum(batch.counted for batch in batches))",
                             "sum(batch.counted for batch in batches)", "")),
    "gradients averaged over processes": (
        "2 processes", Fault("", "training.distributed:_sum_over_ranks", "done.value()[0]", "done.value()[0] / 2", "")),
    "both processes take the same half of the rows": (
        "2 processes", Fault("", "tasks.steps:Epochs.step", "list(self.ranks.share(rows))",
                             "rows[: -(-len(rows) // 2)]", "")),
}  # fmt: skip


@pytest.fixture(scope="module")
def argv(flags, tiny_base, tmp_path_factory) -> list[str]:
    """30 steps without dropout, which would be drawn anew for each batch; gradients are clipped."""
    base = tmp_path_factory.mktemp("no-dropout") / "base"
    shutil.copytree(tiny_base, base)
    config = json.loads((base / "config.json").read_text())
    config |= {"attn_pdrop": 0.0, "embd_pdrop": 0.0, "resid_pdrop": 0.0}
    (base / "config.json").write_text(json.dumps(config))
    more = {"model": base, "lora_dropout": 0, "learning_rate": 1e-2, "num_train_epochs": 15, "max_grad_norm": 0.5}
    more |= {"eval_strategy": "no", "save_strategy": "no", "load_best_model_at_end": "false", "save_steps": 1000}
    return [*flags, *(f"--{name}={value}" for name, value in more.items())]


def weights(server: Server, argv, cwd: Path, layout: tuple[int, int, int], *before) -> dict[str, torch.Tensor]:
    """What a run in this layout ends with."""
    cwd.mkdir()
    rows, batches, size = layout
    argv = [*argv, f"--per_device_train_batch_size={rows}", f"--gradient_accumulation_steps={batches}"]
    plans_of = [[plans.in_float64, *before]]
    if size == 2:
        port = free_port()
        plans_of = [[plan(plans.as_rank, rank, port), *plans_of[0]] for rank in range(2)]
    runs: list[Run] = [server.start(argv, cwd, each) for each in plans_of]
    for run in runs:
        assert run.finish() == 0, run.stderr
    return load_file(cwd / "run" / "adapter" / "adapter_model.safetensors")


def apart(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> float:
    assert a.keys() == b.keys() and all(tensor.dtype == torch.float64 for tensor in (*a.values(), *b.values()))
    return max((a[name] - b[name]).abs().max().item() for name in a)


@pytest.fixture(scope="module")
def in_one_batch(server, argv, tmp_path_factory) -> dict[str, torch.Tensor]:
    ends = weights(server, argv, tmp_path_factory.mktemp("layouts") / "1 x 32", (32, 1, 1))
    assert max(t.abs().max().item() for name, t in ends.items() if "lora_B" in name) > 1e-2, "it has learned something"
    return ends


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_layout_of_a_step_changes_nothing(server, argv, in_one_batch, tmp_path, layout):
    difference = apart(in_one_batch, weights(server, argv, tmp_path / "run", LAYOUTS[layout]))
    print(f"{layout}: {difference:.1e}")
    assert difference <= 1e-12


@pytest.mark.parametrize("fault", FAULTS)
def test_a_mistake_in_the_loop_is_seen(server, argv, in_one_batch, tmp_path, fault):
    layout, planted = FAULTS[fault]
    ends = weights(server, argv, tmp_path / "run", LAYOUTS[layout], plan(plans.with_fault, planted))
    assert apart(in_one_batch, ends) > 1e-12
