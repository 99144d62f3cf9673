"""How fast a model of GPT-2's size learns to write and writes, beside transformers, peft and Trainer's own step.

    python benchmarks/speed/writing.py                      training, then generation; some ten minutes on two cores
    python benchmarks/speed/writing.py --what generation

Random weights of GPT-2's shape (124 M), the bundled messages as texts, LoRA r 8 on c_attn and c_proj, fp32. All lanes
stand in one process and take a step each in turn; what is compared is the time of a real token. `Trainer, packed`
trains on the same tokens concatenated into full rows, as people do who want no padding: its texts see one another.
Of Trainer there is its training_step alone, with clipping and AdamW as it sets them up: its bookkeeping is given away.
"""

import contextlib
import json
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402

import data  # noqa: E402
import gpt2  # noqa: E402
import lora  # noqa: E402
import train  # noqa: E402
from benchmarks.machine import describe_machine, versions  # noqa: E402
from benchmarks.speed.plan import LORA  # noqa: E402
from tasks.language import Windows  # noqa: E402
from tasks.model import put_on  # noqa: E402
from training.device import choose_place  # noqa: E402
from training.errors import run_door  # noqa: E402
from training.files import write_atomically  # noqa: E402
from training.heap import keep_heap  # noqa: E402
from training.settings import check_range, option, parse  # noqa: E402

SHAPES = {"124M": {}, "tiny": {"n_layer": 2, "n_embd": 64, "n_head": 2, "vocab_size": 8192}}
BLOCK = 256  # tokens of a row, where texts are concatenated
RATE = 1e-4


@dataclass(frozen=True)
class WritingConfig:
    what: tuple[str, ...] = option(
        ("training", "generation"), "what to time", group="what", choices=("training", "generation")
    )
    shape: str = option("124M", "of the model", group="what", choices=tuple(SHAPES))
    rounds: int = option(9, "turns of each lane", group="what")
    rows: int = option(32, "texts of a training step", group="what")
    new_tokens: int = option(64, "tokens to write", group="what")
    json: str | None = option(None, "write all that was measured to this file", group="what")

    def __post_init__(self) -> None:
        check_range(self, ("rounds", "rows", "new_tokens"), 1)


def main(config: WritingConfig) -> dict[str, Any]:
    import transformers as hf

    keep_heap(torch.device("cpu"))
    found: dict[str, Any] = {"machine": describe_machine(torch.get_num_threads()), "versions": versions()}
    with tempfile.TemporaryDirectory() as name:
        base = Path(name)
        torch.manual_seed(0)
        shape = {"bos_token_id": 8191, "eos_token_id": 8191} | SHAPES[config.shape]
        hf.GPT2LMHeadModel(hf.GPT2Config(**shape)).save_pretrained(base)
        for what in config.what:
            seconds = take_turns(LANES[what](base, config), config.rounds)
            found[what] = {lane: {"seconds a token": times} for lane, times in seconds.items()}
            print(table(what, seconds))
    if config.json:
        write_atomically(Path(config.json), json.dumps(found, indent=1) + "\n")
    return found


def take_turns(lanes: dict[str, Callable[[int], int]], rounds: int) -> dict[str, list[float]]:
    """lane -> seconds a token of each round but the first; a lane takes the number of a round and tells its tokens."""
    seconds: dict[str, list[float]] = {lane: [] for lane in lanes}
    for number in range(rounds + 1):
        for lane in list(lanes) if number % 2 else reversed(list(lanes)):
            began = time.perf_counter()
            tokens = lanes[lane](number)
            if number:
                seconds[lane].append((time.perf_counter() - began) / tokens)
    return seconds


def table(what: str, seconds: dict[str, list[float]]) -> str:
    """Medians, and by how much `ours` is faster than each, round by round."""
    lines = [
        f"{what}, medians of {len(seconds['ours'])} rounds",
        "",
        "| | tokens/s | ours is faster |",
        "|---|---|---|",
    ]
    for lane, times in seconds.items():
        ratio = statistics.median(other / own for other, own in zip(times, seconds["ours"]))
        lines.append(f"| {lane} | {1 / statistics.median(times):,.0f} | {ratio:.2f} |")
    return "\n".join([*lines, ""])


def training_lanes(base: Path, config: WritingConfig) -> dict[str, Callable[[int], int]]:
    documents = data.load_documents(data.Source(str(ROOT / "data/messages/messages.tsv")), data.TextRule())
    tokenizer = gpt2.Tokenizer(ROOT / "assets" / "gpt2-tiny")
    order = random.Random(0).sample(range(len(documents.items)), (config.rounds + 1) * config.rows)
    windows = Windows.of(documents, data.Split(order, [], []), 0, tokenizer, 1024)
    steps = [list(range(n * config.rows, (n + 1) * config.rows)) for n in range(config.rounds + 1)]
    trainer = TrainerSteps(base)

    def padded(number: int) -> int:
        trainer.step(windows.micro_batches(steps[number], config.rows)[0])
        return windows.tokens(steps[number])

    def packed(number: int) -> int:
        ids = [token for row in steps[number] for token in windows.windows[row].ids]
        blocks = [ids[start : start + BLOCK] for start in range(0, len(ids) // BLOCK * BLOCK, BLOCK)] or [ids]
        batch = data.collate(blocks, 8191)
        trainer.step(data.Batch(batch.input_ids, batch.attention_mask, batch.input_ids))
        return sum(map(len, blocks))

    model, place = our_model(base), choose_place("cpu", "fp32")
    optimizer, scaler = train.build_optimizer(model, RATE, 0.01), place.grad_scaler()

    def ours(number: int) -> int:
        model.train()
        train.train_step(model, optimizer, scaler, windows.micro_batches(steps[number], config.rows), place, 1.0)
        return windows.tokens(steps[number])

    return {"ours": ours, "Trainer + peft, padded": padded, "Trainer + peft, packed": packed}


class TrainerSteps:
    """Trainer's training_step on a peft model, and what follows it in Trainer's loop."""

    def __init__(self, base: Path):
        import transformers as hf

        self.model = their_model(base)
        arguments = hf.TrainingArguments(tempfile.mkdtemp(), use_cpu=True, report_to="none", learning_rate=RATE)
        self.trainer = hf.Trainer(self.model, arguments)
        self.trainer.create_optimizer_and_scheduler(num_training_steps=1000)

    def step(self, batch: data.Batch) -> None:
        inputs = {"input_ids": batch.input_ids, "attention_mask": batch.attention_mask, "labels": batch.labels}
        self.trainer.training_step(self.model, inputs, num_items_in_batch=torch.tensor(batch.counted))
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.trainer.optimizer.step()
        self.trainer.lr_scheduler.step()
        self.model.zero_grad()


def generation_lanes(base: Path, config: WritingConfig) -> dict[str, Callable[[int], int]]:
    ours, theirs = our_model(base).eval(), their_model(base).eval()
    size = SHAPES[config.shape].get("vocab_size", 50257)
    prompts = [torch.randint(0, size, (1, 8)) for _ in range(config.rounds + 1)]
    how = gpt2.GenerationConfig(max_new_tokens=config.new_tokens)
    ours.config = ours.config.replace(eos_token_id=None)  # all tokens are written, on both sides
    flags = {"do_sample": False, "max_new_tokens": config.new_tokens, "min_new_tokens": config.new_tokens}

    def write(number: int) -> int:
        return gpt2.generate_ids(ours, prompts[number], how).numel() - 8

    def generate(number: int) -> int:
        with torch.inference_mode(), contextlib.redirect_stderr(None):
            mask = torch.ones_like(prompts[number])
            return theirs.generate(prompts[number], attention_mask=mask, pad_token_id=8191, **flags).numel() - 8

    return {"ours": write, "transformers' generate + peft": generate}


def our_model(base: Path) -> torch.nn.Module:
    torch.manual_seed(1)
    model = gpt2.GPT2LMHeadModel.from_pretrained(base)
    lora.apply_lora(model, lora.LoraConfig(**LORA, task_type="CAUSAL_LM", init_lora_weights=False))
    return put_on(model, choose_place("cpu", "fp32"))


def their_model(base: Path) -> torch.nn.Module:
    import peft
    import transformers as hf

    torch.manual_seed(1)
    model = hf.GPT2LMHeadModel.from_pretrained(base)
    config = peft.LoraConfig(**LORA, fan_in_fan_out=True, task_type="CAUSAL_LM", init_lora_weights=False)
    return peft.get_peft_model(model, config)


LANES = {"training": training_lanes, "generation": generation_lanes}

if __name__ == "__main__":
    words = {"prog": "benchmarks/speed/writing.py", "description": __doc__.split("\n\n")[0]}
    sys.exit(run_door(lambda: main(parse(WritingConfig, sys.argv[1:], **words))))
