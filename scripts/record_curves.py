"""Short runs of the bundled base with one bug each, for exercise 15; their losses go to exercises/curves.json.

    python scripts/record_curves.py

The runs are alike but for the bug: the same base, rows, order and seed. Which letter has which bug stands in CURVES.
"""

import dataclasses
import json
import random
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import data  # noqa: E402
import gpt2  # noqa: E402
import train  # noqa: E402
from tasks.classification import Classification  # noqa: E402
from tasks.model import use_fast  # noqa: E402
from training.device import choose_place  # noqa: E402
from training.errors import run_door  # noqa: E402
from training.evaluation import evaluate  # noqa: E402
from training.files import write_atomically  # noqa: E402
from training.optimization import build_optimizer, clip_gradients, learning_rate_at, set_learning_rate  # noqa: E402
from training.settings import check_range, option, parse  # noqa: E402


@dataclass(frozen=True)
class RecordConfig:
    model: str = option("assets/gpt2-tiny", "model directory", group="what")
    dataset: str = option("data/messages/messages.tsv", "file", group="what")
    steps: int = option(60, "optimizer steps of each run", group="what")
    eval_steps: int = option(5, "held-out loss every so many steps", group="what")
    held_out: int = option(256, "rows for it", group="what")
    batch_size: int = option(128, "messages a step: with few of them the curves are all noise", group="what")
    output: str = option("exercises/curves.json", "file to write", group="files")

    def __post_init__(self) -> None:
        check_range(self, ("steps", "eval_steps", "held_out", "batch_size"), 1)


@dataclass(frozen=True)
class Bug:
    """A run's departures from the right loop; the defaults are the right loop."""

    learning_rate: float = 2e-3
    schedule: float = 1.0  # the share of the steps after which the learning rate is 0
    mask_forgotten: bool = False  # at evaluation
    same_batch: bool = False
    shuffled_labels: bool = False


CURVES = {
    "A": Bug(schedule=1 / 3),
    "B": Bug(same_batch=True),
    "C": Bug(learning_rate=2e-5),
    "D": Bug(),
    "E": Bug(learning_rate=0.1),
    "F": Bug(shuffled_labels=True),
    "G": Bug(mask_forgotten=True),
}


def main(config: RecordConfig) -> None:
    settings = dataclasses.replace(train.recipe("tiny"), per_device_train_batch_size=config.batch_size)
    directory, task = gpt2.resolve_model(train.locate(config.model)), task_of(config.model, config.dataset)
    curves = {}
    for letter, bug in CURVES.items():
        model, _ = train.build_model(settings, directory, Classification(task))
        curves[letter] = run(model, task, bug, settings, config)
        print(f"{letter}: held-out loss {curves[letter]['held_out'][-1]:.3f} after {config.steps} steps", flush=True)
    record = {"steps": config.steps, "eval_steps": config.eval_steps, "curves": curves}
    write_atomically(Path(config.output), json.dumps(record) + "\n")
    print(f"written to {config.output}")


def task_of(model: str, dataset: str) -> data.Task:
    """A file of messages, divided by the defaults of train.TrainConfig: each part has its share of both labels."""
    usual, directory = train.TrainConfig(), gpt2.resolve_model(train.locate(model))
    tokenizer = gpt2.Tokenizer.from_pretrained(directory)
    texts = data.load_texts(data.Source(train.locate(dataset)), data.TextRule())
    split = data.split_rows(texts, usual.split, usual.test_size, usual.val_size, usual.split_seed)
    length = gpt2.read_config(directory).n_positions
    return data.prepare_task(texts, split, tokenizer, tokenizer.eos_token_id, length)


def run(model, task: data.Task, bug: Bug, settings: train.TrainConfig, config: RecordConfig) -> dict[str, list[float]]:
    """The training loss of each step, and the held-out loss before the first and after every `eval_steps`."""
    use_fast(model)
    labels = list(task.dataset.labels)
    if bug.shuffled_labels:
        random.Random(settings.seed).shuffle(labels)
    optimizer = build_optimizer(model, bug.learning_rate, settings.weight_decay)
    losses, held_out = [], [held_out_loss(model, task, bug, config.held_out)]
    for step in range(config.steps):
        rows = rows_of(task, 0 if bug.same_batch else step, settings)
        batch = task.batch(rows)
        batch.labels.copy_(batch.labels.new_tensor([labels[row] for row in rows]))
        set_learning_rate(optimizer, rate(step, config.steps, bug))
        model.train()
        loss = F.cross_entropy(model(batch.input_ids, batch.attention_mask).logits, batch.labels)
        loss.backward()
        clip_gradients(model, settings.max_grad_norm)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        losses.append(round(loss.item(), 4))
        if (step + 1) % config.eval_steps == 0:
            held_out.append(held_out_loss(model, task, bug, config.held_out))
    return {"train": losses, "held_out": held_out}


def rate(step: int, steps: int, bug: Bug) -> float:
    total = max(1, round(steps * bug.schedule))
    return learning_rate_at(step, total, peak=bug.learning_rate, schedule="linear")


def rows_of(task: data.Task, step: int, settings: train.TrainConfig) -> list[int]:
    """The rows of a step, through as many epochs as it takes."""
    size, n = settings.per_device_train_batch_size, len(task.split.train)
    epoch, at = divmod(step, -(-n // size))
    order = data.epoch_order(n, settings.seed, epoch)
    return [task.split.train[i] for i in order[at * size : (at + 1) * size]]


def held_out_loss(model, task: data.Task, bug: Bug, most: int) -> float:
    """Without the mask the classifier takes the last column for each row's last token, which is padding mostly."""
    rows = task.split.val[:most]
    batches = task.eval_batches(rows, most)  # all in one, so that the short ones are padded far
    if bug.mask_forgotten:
        batches = ((at, dataclasses.replace(b, attention_mask=torch.ones_like(b.input_ids))) for at, b in batches)
    scores: dict[str, Any] = evaluate(model, batches, task.labels(rows), choose_place("cpu", "fp32"))
    return round(scores["loss"], 4)


if __name__ == "__main__":
    words = {"prog": "scripts/record_curves.py", "description": __doc__.split("\n\n")[0]}
    sys.exit(run_door(lambda: main(parse(RecordConfig, sys.argv[1:], **words)), lasting=True))
