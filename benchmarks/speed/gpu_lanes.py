"""The lanes of scripts/gpu_report.py, all in one process: what they learn from, and how each is built.

A process for each, as compare.py has, would spend the GPU's minutes on imports. Trainer, which has a loop of its own,
runs in a thread that stands still between its steps.

    trainer       transformers + peft + Trainer in bf16
    peft_layers   peft's LoRA layers on this project's fast GPT-2, in its loop
    plain, fast   this project's two forms
"""

import gc
import os
import queue
import shutil
import threading
from array import array
from pathlib import Path
from typing import Any

import peft
import torch
import transformers as hf
from torch.utils.data import BatchSampler, DataLoader

import data
import gpt2
from benchmarks.speed.lane import Lane
from benchmarks.speed.own_lanes import OwnLane, PeftLayersLane, PlainLane
from benchmarks.speed.plan import LORA, WEIGHT_DECAY, Plan
from benchmarks.speed.trainer_lane import RecordingTrainer
from benchmarks.speed.workload import BUNDLED, ROOT, SPLIT
from training.device import choose_place
from training.files import atomic_directory
from training.optimization import build_optimizer

OURS = {"peft_layers": PeftLayersLane, "plain": PlainLane, "fast": OwnLane}
KINDS = ("trainer", *OURS)
PRECISION = "bf16"
LEARNING_RATE = 2e-5
Rows = list[int]


def write_base(work: Path, tiny: bool) -> Path:
    """A GPT-2 of 124 M random weights and a tokenizer, made by the first who needs it.

    GPT-2's own tokenizer where GPT2_TOKENIZER_DIR has it, else the bundled one, which makes more tokens of a text.
    """
    base = work / "base"
    if not base.exists():
        torch.manual_seed(0)
        config = gpt2.GPT2Config(n_embd=64, n_layer=2, n_head=2) if tiny else gpt2.GPT2Config()
        with atomic_directory(base) as directory:
            gpt2.GPT2LMHeadModel(config).save_pretrained(directory)
            for name in ("vocab.json", "merges.txt"):
                shutil.copyfile(tokenizer_directory() / name, directory / name)
    return base


def tokenizer_directory() -> Path:
    return Path(os.environ.get("GPT2_TOKENIZER_DIR") or BUNDLED)


def messages_file() -> Path:
    return Path(os.environ.get("SMS_SPAM_FILE") or ROOT / "data" / "messages" / "messages.tsv")


def messages_task(base: Path, rows: int | None = None) -> data.Task:
    """The SMS Spam Collection where SMS_SPAM_FILE has it, else the bundled messages; the first `rows` of them."""
    texts = data.load_texts(data.Source(str(messages_file().absolute())), data.TextRule())
    texts = data.TextDataset(texts.name, texts.texts[:rows], texts.labels[:rows], texts.label_names)
    tokenizer = gpt2.Tokenizer.from_pretrained(base)
    length = gpt2.read_config(base).n_positions
    return data.prepare_task(texts, data.split_rows(texts, **SPLIT), tokenizer, tokenizer.eos_token_id, length)


def random_task(base: Path, lengths: list[int]) -> data.Task:
    """Rows of random tokens, as long as asked for, with random labels."""
    config, generator = gpt2.read_config(base), torch.Generator().manual_seed(0)
    size = gpt2.Tokenizer.from_pretrained(base).vocab_size
    ids = [array("i", torch.randint(size, (n,), generator=generator).tolist()) for n in lengths]
    labels = torch.randint(2, (len(ids),), generator=generator).tolist()
    texts = data.TextDataset("random tokens", [""] * len(ids), labels, ["ham", "spam"])
    split = data.Split(list(range(len(ids))), [], [])
    return data.Task(texts, split, ids, config.n_positions, 0, 0, config.eos_token_id)


def build_lane(
    kind: str, base: Path, task: data.Task, schedule: list[Rows], device: str
) -> "OwnLane | HeldTrainerLane":
    """A lane that is ready for its first step. `schedule` are the batches of all its steps; ours may take fewer."""
    plan = Plan(
        model=str(base), dataset=task.dataset.name, split=SPLIT, max_length=task.max_length,
        batch_size=max(map(len, schedule)), schedule=schedule, learning_rate=LEARNING_RATE, seed=42,
        threads=torch.get_num_threads(), device=device,
    )  # fmt: skip
    if kind == "trainer":
        return HeldTrainerLane(plan, task)
    lane = OURS[kind](plan, PRECISION, None)
    lane.place, lane.task = choose_place(device, PRECISION, fast=kind != "plain"), task
    lane.build(base)
    lane.model.to(lane.place.device)
    lane.optimizer = build_optimizer(lane.model, plan.learning_rate, WEIGHT_DECAY)
    lane.scaler = lane.place.grad_scaler()
    return lane


def close_lane(lane: "OwnLane | HeldTrainerLane") -> None:
    """Give back the GPU memory of a lane that nobody holds any more."""
    if isinstance(lane, HeldTrainerLane):
        lane.end_training()
        lane.trainer = None
    lane.model = lane.optimizer = None
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


class HeldTrainerLane(Lane):
    """transformers, peft and Trainer as they are, in bf16; Trainer is held after each step until the next is asked."""

    def __init__(self, plan: Plan, task: data.Task):
        super().__init__(plan, PRECISION, None)
        self.task, self.asked, self.told, self.began = task, queue.Queue(), queue.Queue(), False
        hf.set_seed(plan.seed)
        model = hf.AutoModelForSequenceClassification.from_pretrained(
            plan.model, num_labels=2, pad_token_id=task.pad_token_id, dtype=torch.float32
        )
        self.model = peft.get_peft_model(model, peft.LoraConfig(**LORA, fan_in_fan_out=True, task_type="SEQ_CLS"))
        arguments = hf.TrainingArguments(
            str(Path(plan.model).with_name("trainer")), use_cpu=plan.device == "cpu", bf16=True, seed=plan.seed,
            per_device_eval_batch_size=plan.batch_size, max_steps=len(plan.schedule),
            learning_rate=plan.learning_rate, weight_decay=WEIGHT_DECAY,
            save_strategy="no", logging_strategy="no", report_to="none", disable_tqdm=True,
        )  # fmt: skip
        rows = [
            {"input_ids": list(ids), "attention_mask": [1] * len(ids), "labels": label}
            for ids, label in zip(task.ids, task.dataset.labels)
        ]
        files = [str(Path(plan.model) / name) for name in ("vocab.json", "merges.txt")]
        collate = hf.DataCollatorWithPadding(hf.GPT2TokenizerFast(*files, pad_token="<|endoftext|>"))
        self.trainer = ScheduledTrainer(self.model, arguments, collate, rows, callbacks=[Turns(self)])
        self.trainer.schedule = plan.schedule
        self.optimizer: Any = None  # Trainer makes it when it begins

    def step(self, step: int, rows: Rows) -> torch.Tensor:
        """Step number `step`, which must be the next of the schedule; the loss stays on the device."""
        assert rows == self.plan.schedule[step], "Trainer takes its batches in the order of the schedule"
        if not self.began:
            self.began = True
            threading.Thread(target=self._train, daemon=True).start()
        self.asked.put("step")
        return self._answer()

    def _train(self) -> None:
        try:
            self.trainer.train()
            self.told.put(None)
        except BaseException as error:
            self.told.put(error)
            raise

    def _answer(self) -> Any:
        said = self.told.get()
        if isinstance(said, BaseException):
            raise said
        return said

    def end_training(self) -> None:
        if self.began:
            self.asked.put("end")
            self._answer()
            self.began = False

    def evaluate(self, rows: Rows) -> dict[str, Any]:
        began = self.clock()
        output = self.trainer.predict([self.trainer.train_dataset[row] for row in rows])
        return {"seconds": self.clock() - began, "predictions": output.predictions.argmax(-1).tolist()}


class ScheduledTrainer(RecordingTrainer):
    schedule: list[Rows]

    def get_train_dataloader(self) -> DataLoader:
        batches = GivenBatches(self.schedule)
        given = {"batch_sampler": batches, "collate_fn": self.data_collator}
        loader = DataLoader(self.train_dataset, **given, pin_memory=not self.args.use_cpu)
        return self.accelerator.prepare(loader)


class GivenBatches(BatchSampler):
    """Batches that are known beforehand, of any size."""

    def __init__(self, batches: list[Rows]):
        super().__init__([row for rows in batches for row in rows], len(batches[0]), False)
        self.batches = batches

    def __iter__(self):
        return iter(self.batches)

    def __len__(self) -> int:
        return len(self.batches)


class Turns(hf.TrainerCallback):
    def __init__(self, lane: HeldTrainerLane):
        self.lane = lane

    def on_train_begin(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        self.lane.optimizer = given["optimizer"]
        self.lane.asked.get()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.lane.told.put(self.lane.trainer.loss)
        # After the last step too: what Trainer does at its end belongs to no step.
        control.should_training_stop = self.lane.asked.get() == "end"
