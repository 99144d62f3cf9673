"""The same model and the same training run twice: by transformers + peft + Trainer, and by this project.

`tests/parity` and `benchmarks/equality/equivalence.py` compare what comes out. Everything random is drawn from a given
seed, on both sides by the libraries' own code; nothing is copied from the one side to the other but the base's file.
"""

import dataclasses
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import peft
import tokenizers
import torch
import transformers as hf
from torch import Tensor, nn

import data
import gpt2
import lora
import train
from tasks.classification import Classification
from tasks.model import build_model
from tasks.steps import Epochs
from training.device import choose_place
from training.log import read_metrics
from training.run import Run
from training.state import RunState

PAD = 0  # the id of <|endoftext|>; no text holds it


@dataclass(frozen=True)
class Shape:
    """The size of a random GPT-2. By default heads of 11: kernels that agree at even sizes may not there."""

    n_layer: int = 2
    n_embd: int = 55
    n_head: int = 5
    vocab_size: int = 301
    n_positions: int = 40


SMALL, GPT2_124M = Shape(), Shape(12, 768, 12, 50257, 64)


@dataclass
class Record:
    """What a training run left behind, step by step."""

    losses: list[float] = field(default_factory=list)
    grad_norms: list[float] = field(default_factory=list)
    learning_rates: list[float] = field(default_factory=list)
    random_states: list[Tensor] = field(default_factory=list)  # before each forward pass in training
    tensors: dict[str, Tensor] = field(default_factory=dict)  # what was trained, at the end

    def add(self, entries: list[dict[str, Any]]) -> None:
        for entry in entries:
            if "grad_norm" in entry:
                self.losses.append(entry["loss"])
                self.grad_norms.append(entry["grad_norm"])
                self.learning_rates.append(entry["learning_rate"])

    def watch(self, model: nn.Module) -> None:
        """Note the random state before every forward pass in training mode."""
        model.register_forward_pre_hook(
            lambda module, _: self.random_states.append(torch.get_rng_state()) if module.training else None
        )


def write_base(directory: Path, shape: Shape = SMALL, **changes: Any) -> Path:
    """A random GPT-2 in transformers' own files. No bias stays at zero and no norm at one: nothing can hide there."""
    torch.manual_seed(0)
    ends = dict.fromkeys(("pad_token_id", "bos_token_id", "eos_token_id"), PAD)
    model = hf.GPT2LMHeadModel(hf.GPT2Config(**dataclasses.asdict(shape), **ends, **changes))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.02)
    model.save_pretrained(directory)
    return directory


def random_batch(shape: Shape, padding: str = "none", rows: int = 4, seed: int = 1) -> dict[str, Tensor]:
    """`rows` texts of different lengths: "none" cuts all to one length, "right" and "left" pad."""
    generator = torch.Generator().manual_seed(seed)
    width = shape.n_positions // 2
    ids = torch.randint(1, shape.vocab_size, (rows, width), generator=generator)
    mask = torch.ones_like(ids)
    for row in range(1, rows if padding != "none" else 0):
        gap = (row * width) // (rows + 1)
        mask[row, width - gap :] = 0
    mask = mask.flip(1) if padding == "left" else mask
    return {"input_ids": ids.masked_fill(mask == 0, PAD), "attention_mask": mask}


def random_task(shape: Shape, rows: int, labels: int = 2, seed: int = 2) -> data.Task:
    """Rows of random tokens, the first two to choose and to test, all others to train."""
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(2, shape.n_positions, (rows + 2,), generator=generator).tolist()
    ids = [torch.randint(1, shape.vocab_size, (n,), generator=generator).tolist() for n in lengths]
    names = [f"label {i}" for i in range(labels)]
    dataset = data.TextDataset("random rows", [str(row) for row in ids], [row[0] % labels for row in ids], names)
    return data.Task(dataset, data.Split(list(range(2, rows + 2)), [0], [1]), ids, shape.n_positions, 0, 0, PAD)


def their_model(base: Path, kind: str, recipe: dict[str, Any] | None, seed: int = 5, **changes: Any) -> nn.Module:
    """transformers' model from `base`, with peft's LoRA unless `recipe` is None."""
    hf.set_seed(seed)
    model = getattr(hf, f"GPT2{kind}").from_pretrained(base, pad_token_id=PAD, **changes)
    model.config.use_cache = False  # as Trainer sets it: with a cache k and v are copied, which rounds differently
    return model if recipe is None else peft.get_peft_model(model, peft.LoraConfig(**recipe))


def our_model(base: Path, kind: str, recipe: dict[str, Any] | None, seed: int = 5, **changes: Any) -> nn.Module:
    """This project's model from the same file, with this project's LoRA."""
    torch.manual_seed(seed)
    model = getattr(gpt2, f"GPT2{kind}").from_pretrained(base, pad_token_id=PAD, **changes)
    return model if recipe is None else lora.apply_lora(model, lora.LoraConfig(**recipe))


def lora_recipe(config: train.TrainConfig) -> dict[str, Any]:
    """The arguments of peft's LoraConfig that train.py's settings stand for."""
    names = {"r": "lora_r"} | {n: n for n in ("lora_alpha", "lora_dropout", "use_rslora")}
    recipe = {name: getattr(config, setting) for name, setting in names.items()}
    return recipe | {"target_modules": list(config.target_modules), "fan_in_fan_out": True, "task_type": "SEQ_CLS"}


def train_theirs(base: Path, task: data.Task, config: train.TrainConfig, device: str = "cpu", **trainer: Any) -> Record:
    """`config` carried out by Trainer (and peft, for `train="lora"`); `trainer` goes to Trainer itself."""
    record = Record()
    recipe = lora_recipe(config) if config.train == "lora" else None
    labels = len(task.dataset.label_names)
    model = their_model(base, "ForSequenceClassification", recipe, config.seed, num_labels=labels)
    if config.train == "head":
        model.transformer.requires_grad_(False)
    record.watch(model)
    rows = [
        {"input_ids": list(task.ids[i]), "attention_mask": [1] * len(task.ids[i]), "labels": task.dataset.labels[i]}
        for i in task.split.train
    ]
    same = ("per_device_train_batch_size", "gradient_accumulation_steps", "num_train_epochs", "max_steps", "seed")
    same += ("learning_rate", "weight_decay", "warmup_steps", "lr_scheduler_type", "max_grad_norm")
    flags = {name: getattr(config, name) for name in same}
    with tempfile.TemporaryDirectory() as directory:
        arguments = hf.TrainingArguments(
            directory, **flags, logging_steps=1, save_strategy="no", report_to="none", disable_tqdm=True,
            use_cpu=device == "cpu",
        )  # fmt: skip
        words = tokenizers.Tokenizer(tokenizers.models.BPE(vocab={"<|endoftext|>": PAD}, merges=[]))
        tokenizer = hf.PreTrainedTokenizerFast(tokenizer_object=words, pad_token="<|endoftext|>")
        collator = hf.DataCollatorWithPadding(tokenizer)
        runner = hf.Trainer(model, arguments, collator, rows, **trainer)
        runner.remove_callback(hf.PrinterCallback)
        runner.train()
    record.add(runner.state.log_history)
    tensors = model.state_dict() if recipe is None else peft.get_peft_model_state_dict(model)
    record.tensors = {name: tensor.detach().cpu().clone() for name, tensor in tensors.items()}
    return record


def train_ours(base: Path, task: data.Task, config: train.TrainConfig, device: str = "cpu") -> Record:
    """`config` carried out by train.py's own code."""
    record = Record()
    model, _ = build_model(dataclasses.replace(config, model=str(base)), base, Classification(task))
    record.watch(model)
    place = choose_place(device, "fp32")
    model.to(place.device)
    with tempfile.TemporaryDirectory() as directory:
        optimizer = train.build_optimizer(model, config.learning_rate, config.weight_decay)
        epochs, learned = Epochs(task, config, place.ranks), Classification(task)
        rate = train.schedule_of(config, epochs.total)
        train.fit(model, optimizer, rate, epochs, learned, config, place, Run(Path(directory)), RunState({}))
        record.add(read_metrics(Path(directory)))
    tensors = lora.lora_state_dict(model) if config.train == "lora" else model.state_dict()
    record.tensors = {name: tensor.detach().cpu().clone() for name, tensor in tensors.items()}
    return record
