"""By hand, with `-m long -s`: many steps in memory that does not grow; and what a save of GPT-2 small takes."""

import json
import statistics
from pathlib import Path

import pytest
import torch

import gpt2
from tests.trust import plans, trees
from tests.trust.server import plan

pytestmark = pytest.mark.long
MB = 2**20


def test_five_thousand_steps_take_no_more_memory_and_no_more_files_than_a_thousand(server, flags, tmp_path):
    more = [
        "--num_train_epochs=10000",
        "--max_steps=5000",
        "--learning_rate=1e-3",
        "--save_steps=50",
        "--eval_steps=200",
    ]
    run = server.start([*flags, *more], tmp_path, [plan(plans.watch_memory, tmp_path / "memory.jsonl")])
    assert run.finish(3600) == 0, run.stderr
    seen = [json.loads(line) for line in (tmp_path / "memory.jsonl").read_text().splitlines()]
    after_1000, at_the_end = (statistics.median(size for size, _ in seen[a:b]) for a, b in ((1000, 1200), (4800, 5000)))
    growth = at_the_end / after_1000 - 1
    print(
        f"{len(seen)} steps: {after_1000 / MB:.1f} MB after 1,000, {at_the_end / MB:.1f} MB at the end ({growth:+.2%})"
    )
    assert len(seen) == 5000 and growth < 0.02
    assert len({files for _, files in seen[1000:]}) == 1, "open files"
    assert len(trees.steps(tmp_path / "run")) <= 3


@pytest.fixture(scope="module")
def small(gpt2_tokenizer_dir, tmp_path_factory) -> Path:
    """GPT-2 small with random weights: 124 million."""
    directory = tmp_path_factory.mktemp("small")
    torch.manual_seed(0)
    gpt2.GPT2LMHeadModel(gpt2.GPT2Config()).save_pretrained(directory)
    gpt2.Tokenizer(gpt2_tokenizer_dir).save_pretrained(directory)
    return directory


def test_a_save_of_all_of_gpt2_small_takes_no_second_copy_of_it(server, flags, small, tmp_path):
    more = [
        f"--model={small}",
        "--train=full",
        "--learning_rate=1e-5",
        "--max_steps=3",
        "--per_device_train_batch_size=1",
    ]
    more += ["--max_length=32", "--save_steps=1", "--save_total_limit=1", "--eval_strategy=no"]
    run = server.start([*flags, *more], tmp_path, [plan(plans.watch_saves, tmp_path / "saves.jsonl")])
    assert run.finish(1800) == 0, run.stderr
    for line in (tmp_path / "saves.jsonl").read_text().splitlines():
        before, peak, seconds = json.loads(line)
        print(
            f"a save in {seconds:.2f} s: {before / MB:,.0f} MB before it, {(peak - before) / MB:+,.0f} MB at its peak"
        )
        assert peak - before <= 100 * MB
