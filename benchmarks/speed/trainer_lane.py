"""The lane to compare with: the notebook's cells, with transformers, peft and Trainer as they are.

Trainer runs its own loop. A callback holds it before each step until the lane's turn comes, so a step's time is all of
Trainer's: fetching and padding the batch, forward, backward, clipping, AdamW, the schedule and its bookkeeping.
"""

from pathlib import Path
from typing import Any

import peft
import torch
import transformers as hf

import data
from benchmarks.speed.lane import Lane
from benchmarks.speed.plan import LORA, WEIGHT_DECAY


class TrainerLane(Lane):
    def run(self) -> None:
        plan = self.plan
        self.rows = self.tokenised()
        hf.set_seed(plan.seed)
        model = hf.AutoModelForSequenceClassification.from_pretrained(
            plan.model, num_labels=self.num_labels, pad_token_id=self.tokenizer.pad_token_id, dtype=torch.float32
        )
        self.model = peft.get_peft_model(model, peft.LoraConfig(**LORA, fan_in_fan_out=True, task_type="SEQ_CLS"))
        arguments = hf.TrainingArguments(
            str(Path("trainer").absolute()), seed=plan.seed,
            use_cpu=plan.device == "cpu", bf16=self.precision == "bf16",
            per_device_train_batch_size=plan.batch_size, per_device_eval_batch_size=plan.batch_size,
            max_steps=len(plan.schedule), learning_rate=plan.learning_rate, weight_decay=WEIGHT_DECAY,
            # The order of the rows is that of Trainer's own samplers, but drawn once, for all lanes.
            train_sampling_strategy="sequential",
            save_strategy="no", logging_strategy="no", report_to="none", disable_tqdm=True,
        )  # fmt: skip
        self.trainer = RecordingTrainer(
            self.model, arguments, hf.DataCollatorWithPadding(self.tokenizer),
            [self.rows[row] for batch in plan.schedule for row in batch], callbacks=[Turns(self)],
        )  # fmt: skip
        self.trainer.train()
        self.desk.wait_for_step(self)

    def tokenised(self) -> list[dict[str, Any]]:
        plan = self.plan
        vocabulary = [str(Path(plan.model) / name) for name in ("vocab.json", "merges.txt")]
        self.tokenizer = hf.GPT2TokenizerFast(*vocabulary, pad_token="<|endoftext|>")
        rows = data.load_texts(data.Source(plan.dataset), data.TextRule())
        self.num_labels = len(rows.label_names)
        ids = self.tokenizer(rows.texts, truncation=True, max_length=plan.max_length)["input_ids"]
        return [{"input_ids": x, "attention_mask": [1] * len(x), "labels": y} for x, y in zip(ids, rows.labels)]

    def evaluate(self, rows: list[int]) -> dict[str, Any]:
        began = self.clock()
        output = self.trainer.predict([self.rows[row] for row in rows])
        return {"seconds": self.clock() - began, "predictions": output.predictions.argmax(-1).tolist()}


class RecordingTrainer(hf.Trainer):
    def training_step(self, *args: Any, **kwargs: Any) -> Any:
        self.loss = super().training_step(*args, **kwargs)
        return self.loss


class Turns(hf.TrainerCallback):
    def __init__(self, lane: TrainerLane):
        self.lane = lane

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.lane.optimizer = _["optimizer"]
        self.lane.ready()
        self.wait()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        seconds = self.lane.clock() - self.began
        self.lane.desk.tell({"seconds": seconds, "loss": self.lane.trainer.loss.item()})
        if state.global_step < state.max_steps:
            self.wait()

    def wait(self) -> None:
        self.lane.desk.wait_for_step(self.lane)
        self.began = self.lane.clock()
