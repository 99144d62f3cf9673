"""What six bugs do to a loss curve: a short run with each of them beside one without, on the bundled base.

    pip install -r requirements-extras.txt
    python scripts/draw_bugs.py --output docs/images/bugs.svg

Every run has the same weights to start from, the same rows and the same draws. `train_with` is the loop, and each bug
is one condition in it.
"""

import sys
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from draw_run import GREY, ORANGE, load_pyplot, write_picture
from record_curves import task_of

import data
import gpt2
import lora
import train
from tasks.model import use_fast
from training.device import Place, choose_place
from training.errors import run_door
from training.evaluation import evaluate
from training.optimization import build_optimizer, clip_gradients, learning_rate_at, set_learning_rate
from training.settings import check_range, option, parse

NONE = "no bug"
NOT_CLEARED = "gradients never cleared"
EARLY_OPTIMIZER = "optimizer built before LoRA"
PER_BATCH = "schedule moved by every batch"
SUMMED = "losses of the batches summed"
CLIPPED_SCALED = "clipped before unscaling"
LEFT_IN_EVAL = "model left in eval mode"
BUGS = (NOT_CLEARED, EARLY_OPTIMIZER, PER_BATCH, SUMMED, CLIPPED_SCALED, LEFT_IN_EVAL)

MODEL, DATASET = "assets/gpt2-tiny", "data/messages/messages.tsv"
ADAPTER = lora.LoraConfig(
    r=8, lora_alpha=16, lora_dropout=0.1, target_modules=("wte", "c_attn", "c_proj", "c_fc"), task_type="SEQ_CLS"
)


@dataclass(frozen=True)
class BugsConfig:
    steps: int = option(120, "optimizer steps of each run", group="what")
    batch_size: int = option(8, "rows per forward pass", group="what")
    accumulation: int = option(4, "forward passes per step", group="what")
    learning_rate: float = option(1e-3, "peak learning rate", group="what", short="lr")
    seed: int = option(42, "new weights, order of rows, dropout", group="what")
    output: str = option("bugs.svg", "picture to write (.svg, .png, .pdf)", group="files")

    def __post_init__(self) -> None:
        check_range(self, ("steps", "batch_size", "accumulation"), 1)
        check_range(self, ("learning_rate", "seed"), 0)


@dataclass(frozen=True)
class Run:
    losses: list[float]  # as the loop sees them
    norms: list[float]  # of the gradients, before clipping
    scores: dict[str, Any]  # of the validation rows, at the end


def main(config: BugsConfig) -> None:
    pyplot = load_pyplot("bugs")
    task, place = task_of(MODEL, DATASET), choose_place("cpu", "fp32")
    runs = {}
    print("| | loss, first step | loss, last 10 steps | gradient norm, last 10 | validation loss | validation F1 |")
    print("|---|---|---|---|---|---|")
    for bug in (NONE, *BUGS):
        runs[bug] = train_with(bug, task, config, place)
        print(row(bug, runs[bug]), flush=True)
    figure, axes = pyplot.subplots(2, 3, figsize=(9, 4.6), sharex=True, layout="constrained")
    for panel, bug in zip(axes.flat, BUGS):
        draw(panel, bug, runs[bug].losses, runs[NONE].losses)
    write_picture(figure, config.output)


def train_with(bug: str, task: data.Task, config: BugsConfig, place: Place) -> Run:
    """The loop of train.py, with one bug in it."""
    torch.manual_seed(config.seed)
    model = gpt2.GPT2ForSequenceClassification.from_pretrained(
        train.locate(MODEL), id2label=task.dataset.id2label, pad_token_id=task.pad_token_id
    )
    optimizer = build_optimizer(model, config.learning_rate, weight_decay=0.01)
    lora.apply_lora(model, ADAPTER)
    use_fast(model)
    if bug != EARLY_OPTIMIZER:
        optimizer = build_optimizer(model, config.learning_rate, weight_decay=0.01)
    scaler = torch.amp.GradScaler("cpu", enabled=bug == CLIPPED_SCALED)
    model.train(bug != LEFT_IN_EVAL)
    rows_per_step, losses, norms, updates = config.batch_size * config.accumulation, [], [], 0
    for step in range(config.steps):
        rows = rows_of(step, rows_per_step, task, config.seed)
        batches, total = task.micro_batches(rows, config.batch_size), 0.0
        for batch in batches:
            rate = learning_rate_at(updates, config.steps, peak=config.learning_rate, schedule="linear")
            set_learning_rate(optimizer, rate)
            logits = model(batch.input_ids, batch.attention_mask).logits
            loss = F.cross_entropy(logits, batch.labels, reduction="sum") / len(rows)
            if bug == SUMMED:
                loss = F.cross_entropy(logits, batch.labels)
            scaler.scale(loss).backward()
            total += loss.item()
            updates += bug == PER_BATCH
        if bug != CLIPPED_SCALED:
            scaler.unscale_(optimizer)
        losses.append(total)
        norms.append(float(clip_gradients(model, 1.0)))
        scaler.step(optimizer)
        scaler.update()
        updates += bug != PER_BATCH
        if bug != NOT_CLEARED:
            optimizer.zero_grad()
    scores = evaluate(model, task.eval_batches(task.split.val, 64), task.labels(task.split.val), place)
    return Run(losses, norms, scores)


def rows_of(step: int, size: int, task: data.Task, seed: int) -> list[int]:
    """The training rows of a step, in the order of train.py; the short rest of an epoch is left out."""
    epoch, at = divmod(step, len(task.split.train) // size)
    order = data.epoch_order(len(task.split.train), seed, epoch)
    return [task.split.train[i] for i in order[at * size : (at + 1) * size]]


def row(bug: str, run: Run) -> str:
    last = min(10, len(run.losses))
    loss, norm = sum(run.losses[-last:]) / last, sum(run.norms[-last:]) / last
    cells = f"{run.losses[0]:.2f} | {loss:.2f} | {norm:,.1f} | {run.scores['loss']:.2f} | {run.scores['f1']:.2f}"
    return f"| {bug} | {cells} |"


def draw(axes: Any, bug: str, losses: list[float], right: list[float]) -> None:
    """The buggy run in colour over the right one in grey."""
    steps = range(1, len(right) + 1)
    axes.plot(steps, right, color=GREY, linewidth=1.8, label=NONE)
    axes.plot(steps, losses, color=ORANGE, linewidth=1.2)
    axes.set_title(bug, fontsize=9)
    axes.set_ylim(0, 1 if max(losses) < 1.5 else 3)
    axes.label_outer()


if __name__ == "__main__":
    words = {"prog": "scripts/draw_bugs.py", "description": __doc__.split("\n\n")[0]}
    sys.exit(run_door(lambda: main(parse(BugsConfig, sys.argv[1:], **words))))
