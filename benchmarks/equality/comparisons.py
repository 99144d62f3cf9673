"""What is compared with transformers + peft + Trainer, group by group, and the bits that are expected.

Each group is a function that takes a folder to write in and gives `Comparison`s. A bound of 0 means: the same bits, the
same names, the same dtypes. Any other bound comes with the reason why the bits cannot be the same.
"""

import dataclasses
import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import peft
import torch
import torch.nn.functional as F
from torch import Tensor

import lora
import train
from benchmarks.equality import side_by_side as pairs

RECIPES: dict[str, dict[str, Any]] = {
    "the notebook's LoRA": {"lora_dropout": 0.1, "target_modules": ["c_attn", "c_proj"], "lora_alpha": 32},
    "LoRA on every layer, r=3, alpha=5": {"target_modules": ["c_attn", "c_proj", "c_fc"], "r": 3, "lora_alpha": 5},
    "rsLoRA on c_fc": {"target_modules": ["c_fc"], "use_rslora": True, "r": 5, "lora_dropout": 0.2},
    "gaussian A": {"target_modules": ["c_attn"], "init_lora_weights": "gaussian", "lora_dropout": 0.1, "r": 1},
    "B not zero": {"target_modules": ["h.1.mlp.c_proj"], "init_lora_weights": False, "r": 16},
    "LoRA on lm_head and c_attn": {"target_modules": ["lm_head", "c_attn"], "lora_dropout": 0.1, "r": 4},
}
MAKERS = (pairs.their_model, pairs.our_model)
EXACT = train.TrainConfig(
    exact=True, per_device_train_batch_size=5, num_train_epochs=2, learning_rate=1e-2, eval_strategy="no",
    save_strategy="no", load_best_model_at_end=False, precision="fp32",
)  # fmt: skip


@dataclass(frozen=True)
class Comparison:
    """Two sets of named tensors, the reference's first."""

    name: str
    theirs: dict[str, Tensor]
    ours: dict[str, Tensor]
    bound: float = 0.0
    why: str = ""  # where bound > 0: why the bits are not the same

    @property
    def size(self) -> int:
        return sum(t.numel() for t in self.theirs.values())

    @property
    def bitwise(self) -> bool:
        return list(self.theirs) == list(self.ours) and all(
            t.dtype == self.ours[name].dtype and torch.equal(t, self.ours[name]) for name, t in self.theirs.items()
        )

    @property
    def max_abs_diff(self) -> float:
        """Infinite where names or shapes differ."""
        if {n: t.shape for n, t in self.theirs.items()} != {n: t.shape for n, t in self.ours.items()}:
            return float("inf")
        return max(float((t.double() - self.ours[n].double()).abs().max()) for n, t in self.theirs.items())

    @property
    def ok(self) -> bool:
        return self.bitwise if self.bound == 0 else self.max_abs_diff <= self.bound


def compare(name: str, theirs: Any, ours: Any, bound: float = 0.0, why: str = "") -> Comparison:
    """A Comparison of tensors, numbers, or lists or dicts of them."""
    return Comparison(name, named(theirs), named(ours), bound, why)


def named(values: Any) -> dict[str, Tensor]:
    if isinstance(values, Tensor):
        values = [values]
    items: Iterable[Any] = sorted(values.items()) if isinstance(values, Mapping) else enumerate(values)
    return {str(key): torch.as_tensor(value).detach().clone() for key, value in items}


def dtype_name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def moved(model: torch.nn.Module) -> torch.nn.Module:
    """`model` with every trainable tensor moved off its start, in the order in which the model lists them."""
    generator = torch.Generator().manual_seed(11)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_((torch.randn(parameter.shape, generator=generator) * 0.1).to(parameter.dtype))
    return model


def logits(model: torch.nn.Module, batch: dict[str, Tensor]) -> Tensor:
    with torch.no_grad():
        return model.eval()(**batch).logits


def step(model: torch.nn.Module, batch: dict[str, Tensor]) -> dict[str, Any]:
    """Loss, gradients of all that trains, and the random state after a forward and a backward pass in training mode."""
    model.train().zero_grad()
    torch.manual_seed(9)
    loss = model(**batch).loss
    loss.backward()
    gradients = [p.grad for p in model.parameters() if p.requires_grad]
    return {"loss": loss, "gradients": gradients, "random state afterwards": torch.get_rng_state()}


def compare_steps(name: str, theirs: torch.nn.Module, ours: torch.nn.Module, batch: dict) -> Iterator[Comparison]:
    expected, got = step(theirs, batch), step(ours, batch)
    for what in expected:
        yield compare(f"{name}: {what}", expected[what], got[what])


def the_frozen_model(work: Path) -> Iterator[Comparison]:
    """GPT-2 without LoRA: both heads, three kinds of padding, with dropout and without."""
    base = pairs.write_base(work)
    labels = {"ForSequenceClassification": torch.tensor([0, 1, 1, 0])}
    for kind, padding in itertools.product(("LMHeadModel", "ForSequenceClassification"), ("none", "right", "left")):
        theirs, ours = (make(base, kind, None) for make in MAKERS)
        batch = pairs.random_batch(pairs.SMALL, padding)
        name = f"{kind}, padding {padding}"
        yield compare(f"{name}: logits in evaluation", logits(theirs, batch), logits(ours, batch))
        left_out = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)
        left_out[0, 3:6] = -100
        yield from compare_steps(name, theirs, ours, batch | {"labels": labels.get(kind, left_out)})


def a_fresh_head(work: Path) -> Iterator[Comparison]:
    """The one thing that is drawn when a language model's file is read as a classifier."""
    base = pairs.write_base(work)
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        drawn = []
        for make in MAKERS:
            model = make(base, "ForSequenceClassification", None, seed=6, num_labels=3, dtype=dtype)
            drawn.append((model.score.weight, torch.get_rng_state()))
        name = f"fresh head, {dtype_name(dtype)}"
        yield compare(f"{name}: score drawn from a seed", drawn[0][0], drawn[1][0])
        yield compare(f"{name}: random state afterwards", drawn[0][1], drawn[1][1])


def lora_layers(work: Path) -> Iterator[Comparison]:
    """Every recipe: how it is drawn, what it computes, how it learns, what merging leaves."""
    base = pairs.write_base(work)
    batch = pairs.random_batch(pairs.SMALL, "right")
    for name, recipe in RECIPES.items():
        on_lm = "lm_head" in recipe["target_modules"]
        kind, task = ("LMHeadModel", "CAUSAL_LM") if on_lm else ("ForSequenceClassification", "SEQ_CLS")
        labels = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)
        labels = labels if on_lm else torch.tensor([0, 1, 1, 0])
        theirs = pairs.their_model(base, kind, recipe | {"task_type": task})
        state = torch.get_rng_state()
        ours = pairs.our_model(base, kind, recipe | {"task_type": task})
        yield compare(f"{name}: random state after the draws", state, torch.get_rng_state())
        yield compare(f"{name}: A, B and head drawn", adapter_of(theirs), lora.lora_state_dict(ours))
        moved(theirs), moved(ours)
        yield compare(f"{name}: logits in evaluation", logits(theirs, batch), logits(ours, batch))
        yield from compare_steps(name, theirs, ours, batch | {"labels": labels})
        if not on_lm:  # lm_head shares its weight with the embedding: peft changes both, this project refuses
            merged = theirs.merge_and_unload().state_dict(), lora.merge_and_unload(ours).state_dict()
            yield compare(f"{name}: all weights after merging", *merged)


def adapter_of(model: torch.nn.Module) -> dict[str, Tensor]:
    """peft's file tensors, without the copy of the frozen lm_head that it writes along with LoRA on that layer."""
    return peft.get_peft_model_state_dict(model, save_embedding_layers=False)


def two_adapters(work: Path) -> Iterator[Comparison]:
    """Two adapters on different layers: the second alone, both added up, both off."""
    base, kind = pairs.write_base(work), "LMHeadModel"
    one, two = ({"task_type": "CAUSAL_LM"} | RECIPES[name] for name in ("the notebook's LoRA", "rsLoRA on c_fc"))
    theirs = pairs.their_model(base, kind, one)
    theirs.add_adapter("two", peft.LoraConfig(**two))
    ours = pairs.our_model(base, kind, one)
    lora.apply_lora(ours, lora.LoraConfig(**two), "two")
    batch = pairs.random_batch(pairs.SMALL, "right")
    labels = {"labels": batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)}
    for names in (["two"], ["default", "two"]):
        theirs.base_model.set_adapter(names), lora.set_adapter(ours, names)
        moved(theirs), moved(ours)
        name = f"two adapters, active: {' + '.join(names)}"
        yield compare(f"{name}: logits in evaluation", logits(theirs, batch), logits(ours, batch))
        yield from compare_steps(name, theirs, ours, batch | labels)
    with theirs.disable_adapter(), lora.disable_lora(ours):
        yield compare("two adapters, both off: logits", logits(theirs, batch), logits(ours, batch))


def half_precision(work: Path) -> Iterator[Comparison]:
    """A bf16 or fp16 base with a float32 adapter, and float32 under autocast."""
    base = pairs.write_base(work)
    batch = pairs.random_batch(pairs.SMALL, "right")
    labels = {"labels": batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)}
    recipe = RECIPES["the notebook's LoRA"] | {"task_type": "CAUSAL_LM"}
    for dtype in (torch.bfloat16, torch.float16):
        theirs, ours = (make(base, "LMHeadModel", recipe, dtype=dtype) for make in MAKERS)
        name = f"{dtype_name(dtype)} base, float32 adapter"
        yield compare(f"{name}: A and B drawn", adapter_of(theirs), lora.lora_state_dict(ours))
        moved(theirs), moved(ours)
        yield compare(f"{name}: logits in evaluation", logits(theirs, batch), logits(ours, batch))
        yield from compare_steps(name, theirs, ours, batch | labels)
        merged = theirs.merge_and_unload().state_dict(), lora.merge_and_unload(ours).state_dict()
        yield compare(f"{name}: all weights after merging", *merged)
    for dtype in (torch.float32, torch.bfloat16):
        theirs, ours = (make(base, "LMHeadModel", recipe, dtype=dtype) for make in MAKERS)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            name = f"{dtype_name(dtype)} base under bf16 autocast"
            moved(theirs), moved(ours)
            yield compare(f"{name}: logits in evaluation", logits(theirs, batch), logits(ours, batch))
            yield from compare_steps(name, theirs, ours, batch | labels)


def compare_runs(name: str, theirs: pairs.Record, ours: pairs.Record) -> Iterator[Comparison]:
    for what in dataclasses.fields(pairs.Record):
        values = getattr(theirs, what.name), getattr(ours, what.name)
        yield compare(f"{name}: {what.name.replace('_', ' ')}", *values)


def whole_runs(work: Path) -> Iterator[Comparison]:
    """Two epochs with a short last batch, all dropouts on, by Trainer and by train.py's own loop in exact mode."""
    base = pairs.write_base(work)
    runs: dict[str, dict[str, Any]] = {
        "run, the notebook's LoRA": {},
        "run, c_fc too, cosine with warm-up, no clipping": {
            "target_modules": ("c_attn", "c_fc"), "lr_scheduler_type": "cosine", "warmup_steps": 3, "max_grad_norm": 0.0
        },
        "run, three labels, rsLoRA, constant rate, ends inside an epoch": {
            "use_rslora": True, "lr_scheduler_type": "constant", "max_steps": 7, "seed": 3, "max_grad_norm": 0.5
        },
        "run, head only": {"train": "head"},
        "run, all weights": {"train": "full", "learning_rate": 1e-3, "weight_decay": 0.1},
    }  # fmt: skip
    for name, changes in runs.items():
        task = pairs.random_task(pairs.SMALL, 23, labels=3 if "three labels" in name else 2)
        config = dataclasses.replace(EXACT, **changes)
        yield from compare_runs(name, pairs.train_theirs(base, task, config), pairs.train_ours(base, task, config))


def whole_runs_on_cuda(work: Path) -> Iterator[Comparison]:
    """One run on a GPU. It draws and adds in an order of its own, so a tolerance stands in for the bits."""
    base, task = pairs.write_base(work), pairs.random_task(pairs.SMALL, 23)
    theirs, ours = (make(base, task, EXACT, device="cuda") for make in (pairs.train_theirs, pairs.train_ours))
    for row in compare_runs("run on a GPU, the notebook's LoRA", theirs, ours):
        yield dataclasses.replace(row, bound=1e-3, why="kernels of a GPU may be chosen, and add up, differently")


def right_loss(outputs: Any, labels: Tensor, num_items_in_batch: Tensor) -> Tensor:
    """The mean over all rows of an optimizer step, whatever batches they come in."""
    return F.cross_entropy(outputs.logits, labels, reduction="sum") / num_items_in_batch


def accumulation(work: Path) -> Iterator[Comparison]:
    """Several batches per optimizer step, where Trainer's own result for this model is off and ours is not."""
    base, task = pairs.write_base(work), pairs.random_task(pairs.SMALL, 23)
    split = dataclasses.replace(EXACT, gradient_accumulation_steps=3, per_device_train_batch_size=3)
    told = pairs.train_theirs(base, task, split, compute_loss_func=right_loss)
    yield from compare_runs("accumulation, Trainer told the right loss", told, pairs.train_ours(base, task, split))
    # Against one large batch there must be no dropout: other shapes draw other masks.
    still = dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), 0.0)
    base = pairs.write_base(work / "still", **still)
    large = dataclasses.replace(EXACT, per_device_train_batch_size=9, lora_dropout=0.0, learning_rate=1e-3)
    split = dataclasses.replace(large, gradient_accumulation_steps=3, per_device_train_batch_size=3)
    theirs, ours = pairs.train_theirs(base, task, large), pairs.train_ours(base, task, split)
    why = "the rows of a step are added up in another order"
    for what, bound in (("losses", 2e-6), ("grad_norms", 1e-5), ("tensors", 3e-5)):
        name = f"accumulation, 3 batches of 3 against Trainer's one of 9: {what.replace('_', ' ')}"
        yield compare(name, getattr(theirs, what), getattr(ours, what), bound, why)


def a_head_on_a_half_base(work: Path) -> Iterator[Comparison]:
    """Deliberately not as in peft: what trains is float32, the classifier's head included."""
    base, batch = pairs.write_base(work), pairs.random_batch(pairs.SMALL, "right")
    recipe = RECIPES["the notebook's LoRA"] | {"task_type": "SEQ_CLS"}
    for dtype, bound in ((torch.bfloat16, 2**-8), (torch.float16, 2**-11)):
        both = (make(base, "ForSequenceClassification", recipe, dtype=dtype) for make in MAKERS)
        theirs, ours = (logits(model, batch) for model in both)
        scale = float(ours.abs().max())
        name = f"{dtype_name(dtype)} base: logits of the classifier"
        why = f"peft leaves the head in {dtype_name(dtype)}, here all that trains is float32"
        yield compare(name, theirs, ours, bound * scale, why)


def at_the_size_of_gpt2(work: Path) -> Iterator[Comparison]:
    """Two steps at the shape of the 124 M model. Minutes, and two gigabytes."""
    base, task = pairs.write_base(work, pairs.GPT2_124M), pairs.random_task(pairs.GPT2_124M, 8)
    config = dataclasses.replace(EXACT, per_device_train_batch_size=4, num_train_epochs=1, learning_rate=1e-3)
    theirs, ours = pairs.train_theirs(base, task, config), pairs.train_ours(base, task, config)
    yield from compare_runs("124 M, two steps", theirs, ours)


GROUPS = (the_frozen_model, a_fresh_head, lora_layers, two_adapters, half_precision, a_head_on_a_half_base)
RUNS = (whole_runs, accumulation)
