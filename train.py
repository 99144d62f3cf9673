"""Teach a frozen GPT-2 a task with hand-written LoRA: to classify, or to write. The whole run, in numbered paragraphs.

The model is in gpt2/model.py, LoRA in lora/layer.py, what a task is in tasks/; forward, loss, backward, clip and step
are in `train_step`.
"""

import contextlib
import json
import math
import sys
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

import data
import gpt2
import lora
from tasks.config import TASKS, TrainConfig
from tasks.model import build_model, put_on, snapshots_of
from tasks.product import save_product
from tasks.settings import ROOT, default_directory, files_of, locate, recipe, retyped, settings_from, source_of
from tasks.steps import Epochs, naming
from training.device import Place, choose_place
from training.distributed import Ranks, run_together, sum_gradients
from training.errors import NonFiniteError, Stopped, run_door
from training.exact import MEANING, check_exact, draw_for_epoch
from training.files import write_atomically
from training.heap import keep_heap
from training.optimization import build_optimizer, clip_gradients, learning_rate_at, set_learning_rate
from training.progress import Progress
from training.report import describe_run, model_card, summary
from training.resume import run_of
from training.run import Run, look_ahead, open_run, write_config
from training.signals import StopRequest
from training.state import RunState, finite
from training.trainee import Trainee

__all__ = ["ROOT", "TrainConfig", "fit", "locate", "main", "read_settings", "recipe", "source_of", "train_step"]
EXAMPLES = """examples:
  python train.py                                      bundled, offline
  python train.py --preset seed                        the peft run's recipe
  python train.py --dataset mine.csv --text_column body --label_column topic
  python train.py --task language --dataset mine.txt   write like mine.txt
  python train.py --resume_from_checkpoint runs/tiny   go on where it stopped"""
LIGHTER = "a smaller --per_device_train_batch_size, --max_length or --lora_r, or with --gradient_checkpointing"


def main(config: TrainConfig) -> dict[str, Any]:
    """One run from start to finish; returns what results.json holds."""
    # 1. Where to compute.
    directory = gpt2.resolve_model(locate(config.model))
    shape = gpt2.read_config(directory)
    device, precision, fast = ("cpu", "fp32", False) if config.exact else (config.device, config.precision, config.fast)
    place = choose_place(device, precision, shape.n_embd, fast)
    print(place, *keep_heap(place.device), sep="\n")
    if place.ranks.is_main and not config.resume_from_checkpoint:
        look_ahead(config.output_dir, config.overwrite, files_of(config))
    if config.exact:
        check_exact(place.precision, place.ranks.size)
        print(MEANING)
    # 2. What to learn from; and `parts`, whose test rows are reported.
    tokenizer = gpt2.Tokenizer.from_pretrained(directory)
    max_length = min(config.max_length or shape.n_positions, shape.n_positions)
    task = TASKS[config.task].prepare(config, source_of(config), tokenizer, max_length)
    parts = [task, *([task.beside(locate(config.also_test), tokenizer)] if config.also_test else [])]
    print(*(part.describe() for part in parts), sep="\n")
    # 3. The frozen model, and LoRA on it.
    model, fingerprint = build_model(config, directory, task)
    model.transformer.gradient_checkpointing = config.gradient_checkpointing
    put_on(model, place, hold=config.train == "lora")  # else frozen weights are saved with the trained ones
    lora.print_trainable_parameters(model)
    record = task.record(config, fingerprint)
    with open_run_directory(config, place.ranks) as run:
        print(f"writing to {run.path}")
        if place.ranks.is_main and not config.resume_from_checkpoint:
            write_config(run.path, config, output_dir=str(run.path), precision=place.precision)
        if place.ranks.is_main and config.on_bad_row == "skip":
            write_rejected(run.path, parts)
        # 4. How good it is before, and how good one gets without a language model.
        size = config.per_device_eval_batch_size
        before = [finite(part.scores("test", model, size, place), "test loss before training") for part in parts]
        known = [task.baselines(part) for part in parts]
        # 5. Training.
        state = RunState({"the base model": fingerprint, "the rows of --dataset": record.dataset["fingerprint"]})
        optimizer = build_optimizer(model, config.learning_rate, config.weight_decay)
        epochs = Epochs(task.rows, config, place.ranks)
        fit(model, optimizer, schedule_of(config, epochs.total), epochs, task, config, place, run, state)
        # 6. How good it is after, and the files that keep it.
        after = [finite(part.scores("test", model, size, place), "test loss after training") for part in parts]
        results, *others = ({"before": b, "after": a, "baselines": k} for b, a, k in zip(before, after, known))
        results |= describe_run(config, state, place, lora.count_parameters(model), task.rows)
        if others:
            results["also_test"] = others[0] | {"dataset": config.also_test, "seen": parts[1].rows.seen}
        if config.on_bad_row == "skip":
            results["rejected"] = Counter(reason for part in parts for _, reason in part.rejected)
        if place.ranks.is_main:
            save_product(run.path, model, config.train, tokenizer, record, model_card(results, task))
            write_atomically(run.path / "results.json", json.dumps(results, indent=2, allow_nan=False) + "\n")
    print(summary(results, task))
    return results


def fit(
    model: nn.Module, optimizer: torch.optim.Optimizer, rate: Callable[[int], float], epochs: Epochs, task: Any,
    config: TrainConfig, place: Place, run: Run, state: RunState, forward: nn.Module | None = None,
) -> None:  # fmt: skip
    """The loop over optimizer steps. Ends with the best weights in the model; raises Stopped where a signal asks to.

    `rate(n)` is the learning rate of the n-th update, `epochs.step(n)` the batches of the n-th step, and `task` scores
    the model. `forward` is the model compiled, where it is.
    """
    ranks, parallel = place.ranks, place.ranks.parallel(model) if forward is None else forward
    scaler = place.grad_scaler()
    trainee = Trainee(lora.trainable_parameters(model), optimizer, scaler, place)
    torch.manual_seed(ranks.seed(config.seed))
    trainee.start(run, state, config)
    snapshots = snapshots_of(model, config, run.path, epochs.total, ranks)
    with StopRequest() as stop, Progress(epochs.total, state.step, config.logging_steps, place.fast) as progress:
        if state.unscored:
            assess(model, task, config, place, run, state, progress)
        snapshots.keep(state.step, state.best_step)
        for number in range(state.step, epochs.total):
            state.start_clock()
            step = epochs.step(number)
            if config.exact and step.begins_epoch:
                draw_for_epoch()
            learning_rate = rate(state.updates)
            set_learning_rate(optimizer, learning_rate)
            model.train()
            with naming(number + 1, step, task):
                loss, grad_norm, stepped = train_step(
                    parallel, optimizer, scaler, step.batches, place, config.max_grad_norm
                )
            state.finish_step(stepped, step.rows, step.tokens)
            run.log.write(step=state.step, loss=loss, learning_rate=learning_rate, grad_norm=grad_norm)
            progress.step(state.step, loss, step.batches, step.tokens)
            last = state.step == epochs.total
            state.unscored = last or due(config.eval_strategy, config.eval_steps, state.step, step.ends_epoch)
            if last:  # before anything that takes long: its work is not lost then
                trainee.save(run, state, config)
            is_best = False
            with contextlib.suppress(Stopped):  # broken off; a run that goes on makes up for it
                is_best = state.unscored and assess(model, task, config, place, run, state, progress)
            stopped_by = ranks.max(stop.signal or 0)  # all stop after the same step
            wanted = stopped_by or is_best or due(config.save_strategy, config.save_steps, state.step, step.ends_epoch)
            if wanted and not last:
                trainee.save(run, state, config)
            snapshots.keep(state.step, state.best_step)
            if stopped_by:
                raise Stopped(f"stopped after step {state.step}", stopped_by)
    state.kept_step = trainee.load_best(run, state) if config.load_best_model_at_end else state.step


def assess(
    model: nn.Module, task: Any, config: TrainConfig, place: Place, run: Run, state: RunState, progress: Progress
) -> bool:
    """Score the weights as they are; True if their checkpoint is to be kept as the best. A signal breaks it off."""
    part = "val" if task.rows.split.val else "test"
    scores = task.scores(part, model, config.per_device_eval_batch_size, place)
    is_best = state.note_score(scores, next(m for m in task.metrics if m.name == config.metric_for_best_model))
    run.log.write(step=state.step, part="validation" if part == "val" else "test", **scores)
    progress.evaluated(state.step, scores, task.metrics, task.samples(model, place))
    return is_best and config.load_best_model_at_end


def train_step(model, optimizer, scaler, batches: list[data.Batch], place: Place, max_grad_norm: float):
    """One optimizer step over one or more batches. Returns (mean loss in nats, gradient norm before clipping, stepped).

    The losses of all that counts (rows of a classifier, target tokens of a writer) are summed, in float32, and divided
    by their number in the whole step, on all processes. A mean per batch, averaged afterwards, would weigh what stands
    in a short batch more.
    """
    counted = place.ranks.sum(sum(batch.counted for batch in batches))
    total = 0.0
    for number, batch in enumerate(batches, start=1):
        batch = batch.to(place.device)
        with place.autocast(), sum_gradients(model, now=number == len(batches)):
            output = model(batch.input_ids, batch.attention_mask, labels=batch.labels, reduction="sum")
        loss = output.loss / counted
        scaler.scale(loss).backward()
        total = total + loss.detach()
    scaler.unscale_(optimizer)  # clipping needs the true gradients
    mean_loss, grad_norm = torch.stack([total, clip_gradients(model, max_grad_norm)]).tolist()  # waits for the GPU
    mean_loss = place.ranks.sum(mean_loss)
    if not scaler.is_enabled() and not math.isfinite(mean_loss + grad_norm):
        raise NonFiniteError(f"loss {mean_loss}, gradient norm {grad_norm}: no step was made; lower --learning_rate")
    scale = scaler.get_scale()
    scaler.step(optimizer)  # skipped where fp16 overflowed; the schedule must not move then
    scaler.update()
    optimizer.zero_grad(set_to_none=True)
    if scaler.is_enabled() and scaler.get_scale() < 1.0:
        raise NonFiniteError("fp16 overflows at every scale: loss or gradients are not finite; use bf16 or fp32")
    return mean_loss, grad_norm, scaler.get_scale() >= scale


def write_rejected(directory: Path, parts: list[Any]) -> None:
    """rejected.jsonl: file, line (of parquet and the hub: row) and reason of each row that was left out."""
    found = [data.place_of(where) | {"reason": reason} for part in parts for where, reason in part.rejected]
    write_atomically(directory / "rejected.jsonl", "".join(f"{json.dumps(row)}\n" for row in found))


def schedule_of(config: TrainConfig, total: int) -> Callable[[int], float]:
    """n -> the learning rate of update n of `total`."""
    form = {"schedule": config.lr_scheduler_type, "warmup_steps": config.warmup_steps}
    return lambda n: learning_rate_at(n, total, peak=config.learning_rate, **form)


def due(strategy: str, every: int, step: int, end_of_epoch: bool) -> bool:
    return end_of_epoch if strategy == "epoch" else strategy == "steps" and step % every == 0


def open_run_directory(config: TrainConfig, ranks: Ranks):
    """The run's directory, held against a second run: a new one, or that of the run to go on with."""
    resume = config.resume_from_checkpoint
    output_dir = str(run_of(Path(resume))) if resume else config.output_dir
    again = " ".join([f"{ranks.launcher} train.py --resume_from_checkpoint {{run}}", *retyped(config)])
    about = {"resume": bool(resume), "overwrite": config.overwrite, "reads": files_of(config), "again": again}
    return open_run(output_dir, default_directory(config), ranks, **about)


def read_settings(argv: list[str]) -> TrainConfig:
    """Flags over the preset, or, for a run to go on with, over the settings that run was started with."""
    return settings_from(argv, prog="train.py", description=__doc__.split(" The ")[0], epilog=EXAMPLES)


if __name__ == "__main__":
    entry = partial(run_together, main, lambda: read_settings(sys.argv[1:]))
    sys.exit(run_door(entry, lasting=True, lighter=LIGHTER))
