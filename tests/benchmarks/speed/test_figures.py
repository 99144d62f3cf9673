"""The arithmetic of the comparison: which batches stand for an epoch, what a step multiplies, what a ratio is."""

import dataclasses
import time

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import gpt2
import lora
from benchmarks.machine import describe_machine
from benchmarks.speed.compare import CompareConfig, entries_of
from benchmarks.speed.contest import Course, Entry, Result, losses_agree, predictions_differ, there_and_back
from benchmarks.speed.figures import all_ratios, lane_figures, quantile, ratio_spread, total_ratio
from benchmarks.speed.matrices import bf16_pays, flop_of_step, time_products
from benchmarks.speed.table import table_of
from benchmarks.speed.workload import spread
from training import dropout
from training.errors import UsageError


def result(seconds, losses=(0.7, 0.6), precision="fp32", kind="ours", **fields) -> Result:
    sizes = {"peak_memory": 2_000_000, "optimizer": 800, "adapter": 400}
    start = [{"import": 1.0, "ready": 3.0}, {"import": 2.0, "ready": 5.0}]
    return Result(Entry(kind, precision), start, list(losses), seconds, [[] for _ in seconds], sizes, **fields)


def test_the_timed_batches_are_the_middles_of_equal_shares_of_the_epoch():
    ids = [[0] * length for length in range(1, 25)]
    batches = [[row] for row in reversed(range(24))]
    chosen = spread(batches, ids, 6)
    assert [len(ids[row]) for (row,) in chosen] == [3, 7, 11, 15, 19, 23]  # the middle of 1-4, of 5-8, ...


def test_too_few_batches_are_refused():
    with pytest.raises(UsageError, match="--batches 6: the rows give only 2 full batches"):
        spread([[0], [1]], [[1], [1]], 6)


@pytest.mark.parametrize("q", [0.0, 0.25, 0.5, 0.95, 1.0])
@pytest.mark.parametrize("values", [[3.0], [2.0, 1.0], [5.0, 1.0, 4.0, 2.0, 3.0, 9.0]])
def test_quantiles_are_numpys(values, q):
    assert quantile(values, q) == pytest.approx(np.quantile(values, q))


class FrozenProducts(TorchDispatchMode):
    """Adds up the FLOP of the matrix products in which no side is as narrow as LoRA's rank or the head."""

    flop = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func in (torch.ops.aten.mm.default, torch.ops.aten.addmm.default):
            x, w = args[-2:]
            if min(*x.shape, *w.shape) > 8:
                self.flop += 2 * x.shape[0] * w.shape[0] * w.shape[1]
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("blocks", [1, 3])
def test_the_flop_counted_are_those_the_fast_form_really_multiplies(blocks):
    torch.manual_seed(0)
    config = gpt2.GPT2Config(vocab_size=50, n_positions=64, n_embd=48, n_layer=blocks, n_head=2)
    model = gpt2.GPT2ForSequenceClassification(config)
    adapter = lora.LoraConfig(r=8, target_modules=("c_attn", "c_proj"), task_type="SEQ_CLS", lora_dropout=0.1)
    lora.apply_lora(model, adapter)
    for part in (gpt2, lora, dropout):
        part.use_fast(model)
    lengths = torch.tensor([60, 41, 33, 33, 20, 12, 11, 10, 9, 9])
    mask = (torch.arange(60) < lengths[:, None]).long()
    labels = torch.zeros(len(lengths), dtype=torch.long)
    with FrozenProducts() as counted:
        model.train()(torch.randint(50, mask.shape), mask, labels=labels).loss.backward()
    shapes = [(48, 144), (48, 48), (48, 192), (192, 48)]
    assert counted.flop == flop_of_step(shapes, blocks, int(lengths.sum()), len(lengths))


def test_gpt2_small_needs_a_third_of_a_gflop_per_token():
    shapes = [(768, 2304), (768, 768), (768, 3072), (3072, 768)]
    whole = 4 * 12 * sum(a * b for a, b in shapes) / 1e9  # forward and backward, every block, every token
    assert whole == pytest.approx(0.340, abs=0.001)
    assert flop_of_step(shapes, 12, 730, 32) / 730 / 1e9 == pytest.approx(0.316, abs=0.001)


def test_products_of_sampled_blocks_stand_for_all():
    blocks = [[torch.randn(8, 24), torch.randn(8, 8), torch.randn(8, 32), torch.randn(32, 8)] for _ in range(6)]
    timed = time_products(blocks, tokens=20, rows=4, dtype=torch.float32, clock=time.perf_counter)
    assert timed["flop"] == flop_of_step([tuple(w.shape) for w in blocks[0]], 6, 20, 4)
    assert timed["seconds"] > 0


def test_the_probe_names_both_rates():
    pays, sentence = bf16_pays(width=32)
    assert ("does not pay" in sentence) != pays and "fp32" in sentence and "bf16" in sentence


def test_a_thinned_course_keeps_batches_from_all_over_and_rather_the_shorter():
    course = Course([[i] for i in range(6)], [10 * i for i in range(6)], repeats=5, eval_rows=[])
    assert course.thinned(3).batches == [[0], [2], [4]] and course.thinned(3).tokens == [0, 20, 40]
    assert course.thinned(1).batches == [[2]]
    assert course.thinned(6) == course.thinned(9) == course


def test_the_total_counts_long_batches_more_than_the_median_of_ratios_does():
    theirs, ours = result([[1.0, 9.0, 1.0], [10.0, 10.0, 10.0]]), result([[1.0, 1.0, 1.0], [2.0, 2.0, 2.0]])
    assert total_ratio(theirs, ours) == 11.0 / 3.0  # the 9.0 is an outlier of its batch
    assert ratio_spread(theirs, ours)["median"] == 5.0
    assert total_ratio(theirs, None) is None and ratio_spread(None, ours) is None


def test_losses_agree_only_within_the_tolerance_and_in_fp32():
    lanes = {"trainer": result([], (0.7, 0.6)), "ours": result([], (0.7, 0.600009))}
    assert losses_agree(lanes)
    assert losses_agree(lanes | {"ours_bf16": result([], (0.71, 0.59), "bf16")})
    assert not losses_agree(lanes | {"peft_layers": result([], (0.7, 0.60002))})
    assert not losses_agree(lanes | {"peft_layers": result([], (0.7, float("nan")))})


def test_on_a_gpu_trainer_is_in_bf16_and_the_lanes_in_fp32_agree_to_ten_times_as_much():
    defaults = {field.name: field.default for field in dataclasses.fields(CompareConfig)}
    assert defaults["device"] == "cpu"  # not made: without peft and transformers it refuses
    assert entries_of(True, "cpu")["random"]["trainer"] == entries_of(False, "cuda")["random"]["trainer"]
    on_cpu, on_gpu = (entries_of(True, device) for device in ("cpu", "cuda"))
    assert on_gpu["random"] == on_cpu["random"] | {
        "trainer": Entry("trainer", "bf16"), "trainer_fp32": Entry("trainer", "fp32"),
    }  # fmt: skip
    assert on_gpu["grouped"] == on_cpu["grouped"]
    lanes = {
        "trainer": result([], (0.71, 0.59), "bf16"),
        "trainer_fp32": result([]),
        "ours": result([], (0.7, 0.60009)),
    }
    assert losses_agree(lanes, "cuda") and not losses_agree(lanes, "cpu")
    assert not losses_agree(lanes | {"ours": result([], (0.7, 0.60011))}, "cuda")


def test_on_a_gpu_fp32_is_set_against_trainer_in_fp32():
    report = report_of(bf16=True, gpu=True)
    assert report["ratios"]["train_fp32"] == 6.0 and report["ratios"]["train_bf16"] == 8.0
    assert report["ratios"]["memory"] == 4.0 and report["ratios"]["memory_bf16"] == 3.0
    assert report["ratios"]["eval_fp32"] == 5.0 and report["ratios"]["eval_bf16"] == 6.0


def test_a_lane_and_a_machine_without_a_gpu_are_reported_under_the_names_they_always_had():
    lanes = report_of(bf16=False)["lanes"]
    assert list(lanes["peft_layers"]) == [
        "precision", "step_seconds", "total_seconds", "samples_per_second", "real_tokens_per_second",
        "computed_tokens_per_second", "padding_share", "peak_memory_bytes", "optimizer_bytes", "adapter_bytes",
        "import_seconds", "start_seconds", "seconds_by_batch", "eval_samples_per_second", "eval_seconds",
    ]  # fmt: skip
    assert set(lanes["ours"]) - set(lanes["peft_layers"]) == {"torch_mm_flop_per_second", "gemm_share"}
    assert list(describe_machine(1)) == ["cpu", "cores", "threads", "system", "load_before"]


def test_rows_predicted_otherwise_are_counted():
    lanes = {"a": result([], predictions=[0, 1, 1]), "b": result([], predictions=[0, 0, 0])}
    assert predictions_differ(lanes) == {"a": 0, "b": 2}


def test_lanes_go_there_and_back():
    assert [there_and_back({"a": 0, "b": 0}, turn) for turn in (0, 1, 2)] == [["a", "b"], ["b", "a"], ["a", "b"]]


class Rows:
    def padded(self, rows):
        return 50


def report_of(bf16: bool, gpu: bool = False) -> dict:
    course = Course([[0, 1], [2, 3]], [30, 40], repeats=1, eval_rows=[4, 5, 6])
    products = [[{"seconds": 0.75, "flop": 3e9}], [{"seconds": 1.5, "flop": 6e9}]]
    random = {
        "trainer": result([[4.0], [8.0]], kind="trainer", eval_seconds=[3.0]),
        "peft_layers": result([[2.0], [2.0]], kind="peft_layers", eval_seconds=[1.0]),
        "ours": result([[1.0], [2.0]], eval_seconds=[1.0]),
    }
    random["ours"].products = products
    random["trainer"].sizes = {"peak_memory": 6_000_000, "optimizer": 800, "adapter": 400}
    if gpu:
        random["trainer_fp32"] = result([[6.0], [12.0]], kind="trainer", eval_seconds=[5.0])
        random["trainer_fp32"].sizes = {"peak_memory": 8_000_000, "optimizer": 800, "adapter": 400}
    grouped = {"grouped": result([[3.0], [3.0]], kind="trainer"), "ours_on_grouped": result([[1.0], [1.0]])}
    grouped["ours_on_grouped"].products = products
    if bf16:
        random["ours_bf16"] = result([[0.5], [1.0]], precision="bf16", eval_seconds=[0.5])
    entries = random | grouped
    lanes = {name: lane_figures(r, course, Rows()) for name, r in entries.items()}
    by_step = {"train_fp32": ratio_spread(random["trainer"], random["ours"])}
    return {"lanes": lanes, "ratios": all_ratios(random, grouped, lanes), "ratios_by_step": by_step}


def test_every_ratio_is_above_one_where_this_project_is_better():
    ratios = report_of(bf16=True)["ratios"]
    assert ratios == {
        "train_fp32": 4.0, "train_bf16": 8.0, "against_grouped": 3.0, "against_grouped_bf16": None,
        "against_peft_layers": pytest.approx(4 / 3), "memory": 3.0, "memory_bf16": 3.0, "eval_fp32": 3.0,
        "eval_bf16": 6.0, "start": 1.0, "gemm_share_fp32": 0.75,
    }  # fmt: skip
    without = report_of(bf16=False)["ratios"]
    assert [name for name, ratio in without.items() if ratio is None] == [
        "train_bf16", "against_grouped_bf16", "memory_bf16", "eval_bf16",
    ]  # fmt: skip


def test_padding_counts_for_the_lanes_that_compute_it():
    lanes = report_of(bf16=False)["lanes"]
    assert lanes["trainer"]["padding_share"] == pytest.approx(0.3) and lanes["ours"]["padding_share"] == 0.0
    assert lanes["trainer"]["computed_tokens_per_second"] == pytest.approx(100 / 12)
    assert (
        lanes["ours"]["computed_tokens_per_second"] == lanes["ours"]["real_tokens_per_second"] == pytest.approx(70 / 3)
    )
    assert lanes["ours"]["start_seconds"] == 4.0 and lanes["ours"]["samples_per_second"] == pytest.approx(4 / 3)


def test_the_table_shows_a_line_for_each_lane_and_ratio_and_a_dash_for_what_did_not_run():
    table = table_of(report_of(bf16=False))
    lines = {line.split()[0]: line.split() for line in table.splitlines() if line}
    assert {"trainer", "grouped", "peft_layers", "ours", "ours_on_grouped"} <= set(lines)
    assert lines["train_fp32"] == ["train_fp32", "4.00", "4.00", "4.00-4.00"]
    assert lines["train_bf16"] == ["train_bf16", "-"]
