"""This project's lanes: as `train.py` runs, with peft's layers instead of its own, with its gains one at a time."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

import data
import gpt2
import gpt2.fast
import lora
import train
from benchmarks.speed.ladder import pieces_up_to
from benchmarks.speed.lane import Lane
from benchmarks.speed.matrices import time_products
from benchmarks.speed.parts import time_parts
from benchmarks.speed.plan import LORA, WEIGHT_DECAY
from gpt2.model import GPT2MLP, Conv1D
from tasks.classification import Classification
from tasks.model import build_model, put_on, use_plain
from training import dropout
from training.device import choose_place
from training.evaluation import predict
from training.heap import keep_heap
from training.optimization import build_optimizer, learning_rate_at, set_learning_rate

EVAL_BATCH = train.TrainConfig().per_device_eval_batch_size


class OwnLane(Lane):
    """`train.py`'s own functions in `train.py`'s order. Its evaluation of the base before training is left out."""

    trains = "lora"  # train.py's --train
    fast = True

    def run(self) -> None:
        plan = self.plan
        self.place = choose_place(plan.device, self.precision, fast=self.fast)
        keep_heap(self.place.device)
        directory = gpt2.resolve_model(plan.model)
        tokenizer = gpt2.Tokenizer.from_pretrained(directory)
        dataset = data.load_texts(data.Source(plan.dataset), data.TextRule())
        split = data.split_rows(dataset, **plan.split)
        self.task = data.prepare_task(dataset, split, tokenizer, tokenizer.eos_token_id, plan.max_length)
        self.build(directory)
        self.model.to(self.place.device)  # where `build` has not done it
        self.optimizer = build_optimizer(self.model, plan.learning_rate, WEIGHT_DECAY)
        self.scaler = self.place.grad_scaler()
        self.ready()
        for step, rows in enumerate(plan.schedule):
            self.before_step(**self.desk.wait_for_step(self))
            began = self.clock()
            loss = self.step(step, rows)
            self.desk.tell({"seconds": self.clock() - began, "loss": loss})
        self.desk.wait_for_step(self)

    def build(self, directory: Path) -> None:
        names = {"r": "lora_r"}
        adapter = {names.get(name, name): value for name, value in LORA.items()}
        adapter["target_modules"] = tuple(adapter["target_modules"])
        config = train.TrainConfig(model=self.plan.model, seed=self.plan.seed, train=self.trains, **adapter)
        self.model, _ = build_model(config, directory, Classification(self.task))
        put_on(self.model, replace(self.place, fast=self.fast))

    def before_step(self) -> None:
        """What a request for a step may ask for besides."""

    def step(self, step: int, rows: list[int]) -> float:
        plan = self.plan
        batches = self.task.micro_batches(rows, plan.batch_size)
        rate = learning_rate_at(step, len(plan.schedule), peak=plan.learning_rate, schedule="linear")
        set_learning_rate(self.optimizer, rate)
        self.model.train()
        return train.train_step(self.model, self.optimizer, self.scaler, batches, self.place, max_grad_norm=1.0)[0]

    def evaluate(self, rows: list[int]) -> dict[str, Any]:
        began = self.clock()
        logits = predict(self.model, self.task.eval_batches(rows, EVAL_BATCH), len(rows), self.place)
        return {"seconds": self.clock() - began, "predictions": logits.argmax(-1).tolist()}

    def products(self, tokens: int, rows: int) -> dict[str, float]:
        """The products of a step with so many real tokens and rows, through torch.mm alone: {"seconds", "flop"}."""
        blocks = [
            [getattr(layer, "base_layer", layer).weight.data for layer in (*attention_layers(b), *mlp_layers(b))]
            for b in self.model.transformer.h
        ]
        dtype = torch.bfloat16 if self.precision == "bf16" else torch.float32
        return time_products(blocks, tokens, rows, dtype, self.clock)


def attention_layers(block: nn.Module) -> list[nn.Module]:
    return [block.attn.c_attn, block.attn.c_proj]


def mlp_layers(block: nn.Module) -> list[nn.Module]:
    return [block.mlp.c_fc, block.mlp.c_proj]


class PlainLane(OwnLane):
    """The plain form: what `train.py --fast no` runs."""

    fast = False


class PeftLayersLane(OwnLane):
    """peft's LoRA layers, with their own dropout, on this project's fast GPT-2 and in its loop: what LoRA costs."""

    def build(self, directory: Path) -> None:
        import peft
        from transformers.pytorch_utils import Conv1D as TransformersConv1D

        torch.manual_seed(self.plan.seed)
        self.model = gpt2.GPT2ForSequenceClassification.from_pretrained(
            directory, id2label=self.task.dataset.id2label, pad_token_id=self.task.pad_token_id
        )
        for part in (gpt2, dropout):
            part.use_fast(self.model)
        for module in self.model.modules():
            if type(module) is Conv1D:
                module.__class__ = TransformersConv1D  # same attributes, same product; peft wraps no other
        peft.inject_adapter_in_model(peft.LoraConfig(**LORA, fan_in_fan_out=True), self.model)
        self.model.score.requires_grad_(True)
        if self.precision == "bf16":  # as gpt2.hold_frozen does it for this project's own classes
            for module in self.model.modules():
                if isinstance(module, TransformersConv1D | nn.Embedding):
                    module.to(torch.bfloat16)


class LadderLane(OwnLane):
    def parts(self, rung: str, rows: list[int]) -> dict[str, float]:
        """Seconds of each part of one step."""
        self.before_step(rung)
        return time_parts(lambda: self.step(0, rows), self.clock, self.plan.device)

    def before_step(self, rung: str) -> None:
        pieces = pieces_up_to(rung)
        use_plain(self.model)
        if "packed" in pieces:
            gpt2.use_fast(self.model)
        gpt2.fast.packed_block = packed_block if "pruned" in pieces else unpruned_block
        if "gelu" not in pieces:
            for module in self.model.modules():
                if type(module) is gpt2.fast.FastGPT2MLP:
                    module.__class__ = GPT2MLP
        for piece, part in (("lora", lora), ("dropout", dropout)):
            if piece in pieces:
                part.use_fast(self.model)


packed_block = gpt2.fast.packed_block


def unpruned_block(block: nn.Module, x: torch.Tensor, attend: Any, pooled: bool = False) -> torch.Tensor:
    x = packed_block(block, x, attend)
    return x[attend.rows.last] if pooled else x


class CostLane(OwnLane):
    """One way to train, to be weighed: its memory, its gradients and the file it leaves."""

    def __init__(self, *given: Any, trains: str):
        super().__init__(*given)
        self.trains = trains
        self.gradients: dict[str, int] = {}

    def build(self, directory: Path) -> None:
        self.start_memory = self.peak_memory()
        super().build(directory)
        for name, parameter in lora.trainable_parameters(self.model).items():
            parameter.register_post_accumulate_grad_hook(partial(self.weigh, name))

    def weigh(self, name: str, parameter: torch.Tensor) -> None:
        self.gradients[name] = parameter.grad.numel() * parameter.grad.element_size()

    def sizes(self) -> dict[str, int]:
        sizes = super().sizes() | {"start_memory": self.start_memory, "gradients": sum(self.gradients.values())}
        product = Path(self.trains)
        lora.save_adapter(self.model, product) if self.trains == "lora" else self.model.save_pretrained(product)
        return sizes | {"file": sum(path.stat().st_size for path in product.glob("*.safetensors"))}


LANES = {"ours": OwnLane, "plain": PlainLane, "peft_layers": PeftLayersLane, "ladder": LadderLane}
LANES |= {way: partial(CostLane, trains=way) for way in ("head", "lora", "full")}
