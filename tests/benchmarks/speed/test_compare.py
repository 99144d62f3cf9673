"""benchmarks/speed/compare.py whole, at a tiny shape: what it writes, what it refuses, and that its checks can fail."""

import dataclasses
import importlib.util
import json
from pathlib import Path

import pytest
import torch

import gpt2
from benchmarks.machine import pick_device
from benchmarks.speed import compare
from benchmarks.speed.growth import measure_growth
from benchmarks.speed.ladder import RUNGS
from benchmarks.speed.plan import Plan
from benchmarks.speed.table import draw_bars
from benchmarks.speed.target import time_to_f1
from benchmarks.speed.turns import ROOT, LaneError, Worker
from benchmarks.speed.workload import BUNDLED, SPLIT, Workload, prepare_base, prepare_workload, random_batches
from training.errors import UsageError, run_door

pytestmark = pytest.mark.skipif(
    not all(map(importlib.util.find_spec, ("transformers", "peft", "accelerate"))),
    reason="what is compared with is not installed: pip install -r requirements-dev.txt",
)
RATIOS = {
    "train_fp32", "train_bf16", "against_grouped", "against_peft_layers", "memory", "eval_fp32", "eval_bf16", "start",
    "gemm_share_fp32",
}  # fmt: skip


@pytest.fixture(autouse=True)
def threads_as_before():
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def workload(tiny_base, messages_file) -> Workload:
    return prepare_workload(tiny_base, "a tiny base", messages_file)


@pytest.fixture
def plan(workload) -> Plan:
    schedule = random_batches(workload.task, 8, seed=42)
    return Plan(
        model=str(workload.base), dataset=workload.task.dataset.name, split=SPLIT, max_length=64, batch_size=8,
        schedule=schedule, learning_rate=1e-3, seed=42, threads=1,
    )  # fmt: skip


def losses_of(plan: Plan, path: Path, kind: str = "ours", precision: str = "fp32") -> list[float]:
    plan.save(path)
    with Worker(kind, precision, path) as worker:
        worker.ask("draw")
        worker.ask("dropout", on=False)
        return [worker.ask("step")["loss"] for _ in range(3)]


@pytest.mark.slow
def test_a_whole_comparison(tiny_base, messages_file, tmp_path, capsys):
    flags = f"--model {tiny_base} --dataset {messages_file} --batch_size 8 --batches 3 --repeats 1 --eval_rows 10"
    output = tmp_path / "report.json"
    flags += f" --threads 1 --bf16 no --parts --json {output}"
    assert run_door(lambda: compare.run(flags.split())) == 0
    report = json.loads(output.read_text())
    assert list(report) == [
        "machine", "versions", "bf16", "workload", "losses_agree", "loss_differences", "lanes", "ratios",
        "ratios_by_step", "predictions_differ", "ladder", "parts",
    ]  # fmt: skip
    assert report["losses_agree"] is True
    assert set(report["ratios"]) == RATIOS | {"against_grouped_bf16", "memory_bf16"}
    without = {name for name, ratio in report["ratios"].items() if ratio is None}
    assert without == {"train_bf16", "against_grouped_bf16", "memory_bf16", "eval_bf16"}
    assert "--bf16 no" in report["bf16"]
    assert all(ratio > 0 for ratio in report["ratios"].values() if ratio is not None)
    assert report["ratios"]["gemm_share_fp32"] < 1
    lanes = report["lanes"]
    assert list(lanes) == ["trainer", "peft_layers", "ours", "grouped", "ours_on_grouped"]
    assert [name for name in lanes if lanes[name]["padding_share"] > 0] == ["trainer", "grouped"]
    assert len({lane["adapter_bytes"] for lane in lanes.values()}) == 1
    assert len({lane["optimizer_bytes"] for lane in lanes.values()}) == 1
    for lane in lanes.values():
        assert [len(repeats) for repeats in lane["seconds_by_batch"]] == [1, 1, 1]
        assert 0 < lane["import_seconds"] < lane["start_seconds"]
    assert report["predictions_differ"]["peft_layers"] == report["predictions_differ"]["ours"] == 0
    assert list(report["ladder"]) == list(RUNGS)
    for parts in report["parts"].values():
        assert all(parts[name] > 0 for name in ("frozen matrices", "A and B", "attention", "dropout", "GELU", "norms"))
    shown = capsys.readouterr().out
    assert "against_peft_layers" in shown and "last block pruned" in shown
    assert report["versions"]["torch"] and report["machine"]["threads"] == 1 and report["workload"]["seed"] == 42


@pytest.mark.parametrize(
    ("kind", "losses"),
    [
        ("ours", [1.1389548, 0.7140177, 1.2741919, 0.5913165]),
        pytest.param("trainer", [1.6118289, 1.0676634, 1.2741917, 0.5979524], marks=pytest.mark.slow),
        pytest.param("peft_layers", [1.5534210, 0.7027217, 1.2741919, 0.5988280], marks=pytest.mark.slow),
    ],
)
def test_on_a_cpu_the_lanes_find_the_losses_they_always_did(kind, losses, tmp_path):
    """On the bundled base, with dropout and then without. What is changed for a GPU must not move them."""
    rows = prepare_workload(BUNDLED, "", ROOT / "data" / "messages" / "messages.tsv")
    plan = Plan(
        model=str(BUNDLED), dataset=rows.task.dataset.name, split=SPLIT, max_length=64, batch_size=4,
        schedule=random_batches(rows.task, 4, seed=42)[:6], learning_rate=1e-3, seed=42, threads=1,
    )  # fmt: skip
    plan.save(tmp_path / "plan.json")
    with Worker(kind, "fp32", tmp_path / "plan.json") as worker:
        found = [worker.ask("step")["loss"] for _ in range(2)]
        worker.ask("draw")
        worker.ask("dropout", on=False)
        found += [worker.ask("step")["loss"] for _ in range(2)]
    assert found == pytest.approx(losses, abs=2e-5)


def test_lanes_that_train_differently_are_told_apart_by_their_losses(plan, tmp_path):
    """The first loss knows only the forward pass; another learning rate shows in the second."""
    mine = losses_of(plan, tmp_path / "plan.json")
    other = losses_of(dataclasses.replace(plan, learning_rate=2e-3), tmp_path / "plan.json")
    assert mine[0] == other[0]
    assert abs(mine[1] - other[1]) > 1e-5


@pytest.mark.slow
def test_every_rung_of_the_ladder_computes_the_same(plan, tmp_path):
    still = dataclasses.replace(plan, learning_rate=0.0, schedule=plan.schedule[:1] * len(RUNGS))
    still.save(tmp_path / "plan.json")
    with Worker("ladder", "fp32", tmp_path / "plan.json") as worker:
        worker.ask("draw")
        worker.ask("dropout", on=False)
        losses = [worker.ask("step", rung=rung)["loss"] for rung in RUNGS]
    assert max(losses) - min(losses) < 1e-6


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["trainer", "ours"])
def test_lanes_in_bf16_find_nearly_the_losses_of_fp32(kind, plan, tmp_path):
    fp32 = losses_of(plan, tmp_path / "plan.json")
    bf16 = losses_of(plan, tmp_path / "plan.json", kind, "bf16")
    assert bf16 != fp32 and bf16 == pytest.approx(fp32, rel=0.02)


@pytest.mark.slow
def test_growth_is_measured_at_each_size(plan, workload, tmp_path):
    growth = measure_growth(plan, workload, count=3, repeats=1, work=tmp_path, sizes=(40, 80))
    assert list(growth) == ["40", "80"]
    assert all(value > 0 for figures in growth.values() for value in figures.values())


@pytest.mark.slow
def test_both_lanes_are_trained_until_f1_is_reached_or_the_rows_run_out(plan, workload, tmp_path, monkeypatch):
    monkeypatch.setattr("benchmarks.speed.target.F1", 0.01)
    reached = time_to_f1(("trainer", "ours"), plan, workload, tmp_path)
    for got in reached.values():
        assert got["f1"] >= 0.01 and got["steps"] % 5 == 0 or got["f1"] < 0.01 and got["steps"] == 5 * 5
        assert got["train_seconds"] > 0 and got["start_seconds"] > 0


def test_the_bars_are_drawn(tmp_path):
    pytest.importorskip("matplotlib", reason="pip install -r requirements-extras.txt")
    lanes = {name: {"real_tokens_per_second": 10.0, "peak_memory_bytes": 1e9} for name in ("trainer", "ours")}
    report = {"lanes": lanes, "workload": {"base": "a base"}, "machine": {"cpu": "a CPU"}}
    draw_bars(report, str(tmp_path / "bars.svg"))
    assert "<svg" in (tmp_path / "bars.svg").read_text()


def test_a_lane_that_dies_is_named_with_its_last_words(plan, tmp_path):
    dataclasses.replace(plan, model=str(tmp_path)).save(tmp_path / "plan.json")
    with pytest.raises(LaneError, match="lane ours stopped .exit code 1.: .*config.json"):
        Worker("ours", "fp32", tmp_path / "plan.json")


def refused(capsys, *flags: str) -> tuple[int, str]:
    code = run_door(lambda: compare.run(list(flags)))
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    return code, lines[0]


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ("--repeats 0", "--repeats 0: must be at least 1"),
        ("--batches 2", "--batches 2: must be at least 3"),
        ("--fast", "unknown flag --fast"),
        ("--base large", "invalid choice"),
        ("--model somewhere --base small", "give one of the two"),
        ("--base small --tokenizer somewhere", "--tokenizer: only the random base needs one"),
        ("--json nowhere/report.json", "--json nowhere/report.json: there is no directory"),
    ],
)
def test_nonsense_is_refused_with_one_line(flags, words, capsys):
    code, line = refused(capsys, *flags.split())
    assert code == 2 and words in line


def test_a_gpu_that_is_not_there_is_refused_with_one_line(monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    code, line = refused(capsys, "--device", "cuda")
    assert code == 2 and line.startswith("error: --device cuda: torch")
    assert pick_device("auto") == "cpu"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert pick_device("auto") == "cuda"


def test_a_missing_dataset_is_refused_before_anything_is_timed(tiny_base, tmp_path, capsys):
    code, line = refused(capsys, "--model", str(tiny_base), "--dataset", str(tmp_path / "none.tsv"))
    assert code == 3 and "none.tsv" in line


def test_losses_that_disagree_end_the_comparison(monkeypatch, capsys):
    report = {"losses_agree": False, "loss_differences": {"trainer": 0.0, "ours": 0.25}, "lanes": {}, "ratios": {}}
    monkeypatch.setattr(compare, "main", lambda config: report)
    code, line = refused(capsys)
    assert code == 1 and "nothing was timed" in line


def test_the_random_base_takes_the_bundled_tokenizer_and_says_so(tmp_path, monkeypatch):
    small = gpt2.GPT2Config(n_layer=1, n_embd=8, n_head=2, n_positions=16)
    monkeypatch.setattr("gpt2.GPT2Config", lambda: small)
    directory, about = prepare_base(tmp_path, "random", None, None)
    assert "bundled tokenizer" in about
    assert gpt2.Tokenizer.from_pretrained(directory).vocab_size <= small.vocab_size
    gpt2.GPT2ForSequenceClassification.from_pretrained(directory)


def test_a_tokenizer_with_more_tokens_than_the_base_is_refused(tmp_path, monkeypatch):
    small = gpt2.GPT2Config(n_layer=1, n_embd=8, n_head=2, vocab_size=10)
    monkeypatch.setattr("gpt2.GPT2Config", lambda: small)
    with pytest.raises(UsageError, match="8192 tokens, but GPT-2 has 10"):
        prepare_base(tmp_path, "random", None, str(ROOT / "assets" / "gpt2-tiny"))
