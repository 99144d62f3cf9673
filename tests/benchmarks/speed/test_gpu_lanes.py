"""The lanes on a GPU, with a stand-in for it: what a timer waits for, whose memory is counted, what is profiled."""

import importlib.util
import types

import pytest
import torch

from benchmarks.speed import own_lanes, parts
from benchmarks.speed.lane import Lane
from benchmarks.speed.own_lanes import LANES
from benchmarks.speed.plan import Plan
from benchmarks.speed.workload import SPLIT
from training.device import Place

NOW = "benchmarks.speed.lane.time.perf_counter"


class Gpu:
    """Works off a queue: what it was asked for is only done once somebody waits."""

    def __init__(self):
        self.now, self.queue, self.peak = 0.0, 0.0, 900

    def synchronize(self):
        self.now, self.queue = self.now + self.queue, 0.0

    def reset_peak_memory_stats(self):
        self.peak = 100


class Desk:
    """Asks for every step at once; while it waits, other work comes into the queue."""

    def __init__(self, gpu):
        self.gpu, self.told = gpu, []

    def tell(self, value):
        self.told.append(value)

    def wait_for_step(self, lane):
        self.gpu.queue += 3.0
        return {}


@pytest.fixture
def gpu(monkeypatch):
    gpu = Gpu()
    for name in ("synchronize", "reset_peak_memory_stats"):
        monkeypatch.setattr(torch.cuda, name, getattr(gpu, name))
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda: gpu.peak)
    monkeypatch.setattr(NOW, lambda: gpu.now)
    monkeypatch.setattr(own_lanes, "choose_place", lambda device, precision, fast: Place(CPU[device], precision, ""))
    threads = torch.get_num_threads()
    yield gpu
    torch.set_num_threads(threads)


CPU = {"cuda": torch.device("cpu")}  # the stand-in's real place; a lane that asks for another device finds none


@pytest.fixture
def plan(tiny_base, messages_file):
    return Plan(
        model=str(tiny_base), dataset=str(messages_file), split=SPLIT, max_length=64, batch_size=4,
        schedule=[[0, 1, 2, 3], [4, 5, 6, 7]], learning_rate=1e-3, seed=42, threads=1, device="cuda",
    )  # fmt: skip


def test_a_step_and_an_evaluation_are_timed_until_the_gpu_is_done_and_nothing_before_them_counts(
    plan, gpu, monkeypatch
):
    def later(answer, seconds):
        def call(*_, **__):
            gpu.queue += seconds
            return answer

        return call

    monkeypatch.setattr(own_lanes.train, "train_step", later((0.5, 1.0, True), 5.0))
    monkeypatch.setattr(own_lanes, "predict", later(torch.tensor([[0.0, 1.0]]), 7.0))
    lane = LANES["ours"](plan, "fp32", Desk(gpu))
    lane.run()
    assert lane.desk.told[1:] == [{"seconds": 5.0, "loss": 0.5}] * 2
    gpu.queue += 2.0
    assert lane.evaluate([8]) == {"seconds": 7.0, "predictions": [1]}


def test_the_peak_is_that_of_the_gpu_s_tensors_from_the_first_step_on(plan, gpu):
    lane = LANES["ours"](plan, "fp32", Desk(gpu))
    lane.run()
    assert gpu.peak == 100 and lane.sizes()["peak_memory"] == 100
    gpu.peak = 250
    assert lane.sizes()["peak_memory"] == 250


def test_on_a_cpu_nobody_waits_for_a_gpu_and_the_process_is_weighed(plan, monkeypatch):
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: pytest.fail("asked for a GPU"))
    lane = Lane(Plan(**(vars(plan) | {"device": "cpu"})), "fp32", None)
    assert lane.clock() < lane.clock() and lane.peak_memory() > 10e6


@pytest.mark.skipif(not importlib.util.find_spec("peft"), reason="pip install -r requirements-dev.txt")
@pytest.mark.filterwarnings("ignore")  # of what peft asks transformers
def test_trainer_is_timed_until_the_gpu_is_done_and_told_where_to_compute(plan, gpu, monkeypatch):
    from benchmarks.speed import trainer_lane

    lane = trainer_lane.TrainerLane(plan, "bf16", Desk(gpu))
    lane.trainer = types.SimpleNamespace(loss=torch.tensor(0.5))
    turns = trainer_lane.Turns(lane)
    turns.wait()
    gpu.queue += 5.0
    turns.on_step_end(None, types.SimpleNamespace(global_step=1, max_steps=1), None)
    assert lane.desk.told == [{"seconds": 5.0, "loss": 0.5}]

    def arguments(*_, **given):
        raise InterruptedError(given)

    monkeypatch.setattr(trainer_lane.hf, "TrainingArguments", arguments)
    for device, on_cpu in (("cuda", False), ("cpu", True)):
        lane.plan = Plan(**(vars(plan) | {"device": device}))
        with pytest.raises(InterruptedError) as stopped:
            lane.run()
        (given,) = stopped.value.args
        assert given["use_cpu"] is on_cpu and given["bf16"] is True
    assert set(lane.rows[0]) == {"input_ids", "attention_mask", "labels"}


@pytest.mark.skipif(not importlib.util.find_spec("peft"), reason="pip install -r requirements-dev.txt")
def test_in_bf16_peft_s_layers_stand_on_weights_held_as_ours_are(plan, gpu):
    held, ours = (LANES[kind](plan, "bf16", Desk(gpu)) for kind in ("peft_layers", "ours"))
    held.run(), ours.run()
    dtypes = [{name.replace(".default", ""): p.dtype for name, p in x.model.named_parameters()} for x in (held, ours)]
    layer = "transformer.h.0.attn.c_attn."
    for end in ("base_layer.weight", "lora_A.weight", "lora_B.weight"):
        assert dtypes[0][layer + end] == dtypes[1][layer + end]
    assert dtypes[0][layer + "base_layer.weight"] == torch.bfloat16
    assert dtypes[0][layer + "lora_A.weight"] == torch.float32


def test_the_plain_lane_leaves_the_classes_as_they_are_written(plan, gpu):
    lane = LANES["plain"](plan, "bf16", Desk(gpu))
    lane.run()
    assert not [m for m in lane.model.modules() if type(m).__name__.startswith("Fast")]
    assert {p.dtype for p in lane.model.parameters()} == {torch.float32}


def event(name, start, end, kind="CUDA", annotation=False, children=()):
    return types.SimpleNamespace(
        name=name, device_type=getattr(torch.autograd.DeviceType, kind), is_user_annotation=annotation,
        time_range=types.SimpleNamespace(start=start, end=end), cpu_children=children,
    )  # fmt: skip


def test_kernels_are_counted_once_and_a_gpu_with_two_streams_is_busy_once():
    events = [
        event("gemm", 0, 4_000_000), event("dropout", 3_000_000, 5_000_000), event("gemm", 8_000_000, 9_000_000),
        event("Optimizer.step", 0, 9_000_000, annotation=True), event("aten::mm", 0, 9_000_000, "CPU"),
    ]  # fmt: skip
    recorded = types.SimpleNamespace(events=lambda: events)
    work = parts.work_of(recorded, "cuda")
    assert work == {"count": 3, "busy_seconds": 6.0, "top": [["gemm", 2, 5.0], ["dropout", 1, 2.0]]}
    assert parts.work_of(recorded, "cuda", most=1)["top"] == [["gemm", 2, 5.0]]


def test_on_a_cpu_the_operators_that_call_no_other_stand_for_kernels():
    with torch.profiler.profile(activities=parts.activities("cpu")) as recorded:
        torch.nn.functional.linear(torch.ones(2, 3), torch.ones(4, 3), torch.ones(4))
    names = [name for name, *_ in parts.work_of(recorded, "cpu")["top"]]
    assert "aten::addmm" in names or "aten::copy_" in names
    assert "aten::linear" not in names and parts.work_of(recorded, "cpu")["busy_seconds"] > 0


def test_on_a_gpu_the_parts_of_a_step_are_the_seconds_of_kernels(monkeypatch):
    assert torch.profiler.ProfilerActivity.CUDA in parts.activities("cuda")
    assert torch.profiler.ProfilerActivity.CUDA not in parts.activities("cpu")
    average = types.SimpleNamespace(
        key="aten::_flash_attention_forward", input_shapes=[], self_device_time_total=2e6, self_cpu_time_total=9e6
    )

    class Recorded:
        def __init__(self, activities, record_shapes):
            assert activities == parts.activities("cuda")

        def __enter__(self):
            return types.SimpleNamespace(key_averages=lambda group_by_input_shape: [average])

        def __exit__(self, *_):
            pass

    monkeypatch.setattr(parts, "profile", Recorded)
    clock = iter([10.0, 15.0])
    assert parts.time_parts(lambda: None, lambda: next(clock), "cuda") == {"attention": 2.0, parts.OUTSIDE: 3.0}
