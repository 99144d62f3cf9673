"""Exercise 7: the count on a model the project wrapped; the wrapping by counts, at a small shape and at GPT-2's."""

from collections.abc import Callable

import torch
from torch import nn

import gpt2
from exercises.judge import Wrong, agree, shown
from lora import LoraConfig, apply_lora
from lora.layer import LoraLayer

TITLE = "Wrap, freeze and count"
CHAPTER = "docs/05-wrapping.md"
HINT = "model.requires_grad_(False) comes first, for everything made after it trains by default."
SEE = "lora/inject.py, apply_lora"
SMALL = gpt2.GPT2Config(n_layer=2, n_embd=16, n_head=2, vocab_size=50, n_positions=16)
TARGETS = ["c_attn", "c_proj"]
IDS = torch.tensor([[3, 1, 4, 1, 5], [9, 2, 6, 5, 3]])


def check(wrap: Callable, count_parameters: Callable) -> None:
    judge_counts(count_parameters)
    model, plain = small_model(), small_model()
    returned = wrap(model, list(TARGETS), 4, 8.0)
    if returned is not model:
        raise Wrong(f"return the model that came in, changed; got {shown(returned)}")
    judge_what_trains(model, "a small GPT-2", SMALL, r=4)
    judge_layers(model, plain)
    config = gpt2.GPT2Config()
    with torch.device("meta"):  # 124 million parameters that take no memory
        real = gpt2.GPT2ForSequenceClassification(config)
    judge_what_trains(wrap(real, list(TARGETS), 8, 32.0), "GPT-2's shape", config, r=8)


def small_model() -> nn.Module:
    torch.manual_seed(1)
    return gpt2.GPT2ForSequenceClassification(SMALL).eval()


def by_the_project(r: int) -> nn.Module:
    config = LoraConfig(r=r, lora_alpha=8, target_modules=tuple(TARGETS), task_type="SEQ_CLS")
    return apply_lora(small_model(), config)


def counts(model: nn.Module, unit: Callable = torch.Tensor.numel) -> tuple[int, int]:
    train = [unit(p) for p in model.parameters() if p.requires_grad]
    return sum(train), sum(unit(p) for p in model.parameters())


def judge_counts(count_parameters: Callable) -> None:
    model = by_the_project(r=4)
    train, total = counts(model)
    score = SMALL.n_embd * SMALL.num_labels
    mistakes = {
        "you counted tensors, not the numbers in them: add up numel()": counts(model, lambda p: 1),
        "the second number is all parameters, those that train included": (train, total - train),
        "the other way round: first those that train, then all": (total, train),
        "you counted A and B alone: the copy of the head trains too": (train - score, total),
        "the trainable head is counted twice (as peft once did): only the copy trains": (train + score, total),
        "all parameters train, by your count: look at requires_grad": (total, total),
        "the head stands in `all` once: the frozen original is there beside the copy": (train, total - score),
    }
    got = count_parameters(model)
    got = tuple(got) if isinstance(got, list) else got
    agree("count_parameters(a small GPT-2 with LoRA)", got, (train, total), mistakes)


def judge_what_trains(model: nn.Module, where: str, config: gpt2.GPT2Config, r: int) -> None:
    """By the two counts, each mistake's being its own."""
    D, inner, L, score = config.n_embd, config.inner_size, config.n_layer, config.n_embd * config.num_labels
    sides = {"c_attn": D + 3 * D, "attn.c_proj": D + D, "mlp.c_proj": inner + D, "c_fc": D + inner}
    sizes = {name: r * L * side for name, side in sides.items()}
    lora = sum(sizes.values()) - sizes["c_fc"]
    base = (config.vocab_size + config.n_positions + 2) * D + score + L * block_size(D, inner)
    trains, total = counts(model)
    expected = (lora + score, base + lora + score)
    mistakes = {
        "nothing trains: you froze after wrapping, A and B with the rest": (0, expected[1]),
        "nothing is frozen: the base model trains as well": (expected[1], expected[1]),
        "A and B are frozen, only the head trains: freeze before you wrap": (score, expected[1]),
        "the head is frozen: it starts at random, and must learn": (lora, expected[1]),
        "the head is frozen, and there is no copy of it": (lora, base + lora),
        "the original head trains beside its copy: it is counted twice": (lora + 2 * score, expected[1]),
        "the head trains in place: peft keeps the original beside the copy that trains": (lora + score, base + lora),
        "c_proj is wrapped in the MLP alone: attention has one as well": without(expected, sizes["attn.c_proj"]),
        "c_proj is wrapped in attention alone: the MLP has one as well": without(expected, sizes["mlp.c_proj"]),
        "c_proj is not wrapped at all": without(expected, sizes["attn.c_proj"] + sizes["mlp.c_proj"]),
        "c_attn is not wrapped": without(expected, sizes["c_attn"]),
        "c_fc is wrapped too: it is not among the targets": without(expected, -sizes["c_fc"]),
        "no layer is wrapped": without(expected, lora),
    }
    agree(f"(trainable, all) after wrap, at {where}", (trains, total), expected, mistakes)


def block_size(D: int, inner: int) -> int:
    return 4 * D + (D + 1) * 3 * D + (D + 1) * D + (D + 1) * inner + (inner + 1) * D


def without(expected: tuple[int, int], size: int) -> tuple[int, int]:
    return expected[0] - size, expected[1] - size


def judge_layers(model: nn.Module, plain: nn.Module) -> None:
    """What the counts do not show: the factor, that the layers take part, and that nothing has changed yet."""
    layers = [module for module in model.modules() if isinstance(module, LoraLayer)]
    if any("default" not in layer.lora_A for layer in layers):
        raise Wrong('the adapter must be called "default"')
    factors = {layer.scaling["default"] for layer in layers}
    mistakes = {
        "the factor of the layers is lora_alpha: divide it by r": {8.0},
        "the factor of the layers is 1: lora_alpha / r is missing": {1.0},
        "the factor of the layers is upside down": {0.5},
    }
    agree("the scaling of the layers", factors, {2.0}, mistakes)
    if any(layer.active_adapters != ["default"] for layer in layers):
        raise Wrong('an adapter that is not active does nothing: active_adapters = ["default"] on each LoraLayer')
    if getattr(model.score, "active_adapters", None) != ["default"]:
        raise Wrong('the copy of the head is not active: active_adapters = ["default"] on its wrapper')
    if not torch.equal(model(IDS).logits, plain(IDS).logits):
        raise Wrong("the logits have changed: B starts at zero and the head's copy is exact, so they must not")
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    for _ in range(2):
        model.zero_grad()
        model(IDS, labels=torch.tensor([0, 1])).loss.backward()
        with torch.no_grad():
            for parameter in (p for p in model.parameters() if p.grad is not None):
                parameter -= parameter.grad
    still = [n for n, p in model.named_parameters() if p.requires_grad and torch.equal(p, before[n])]
    if still:
        raise Wrong(f"{still[0]} has requires_grad and did not move in two steps: is it part of the forward?")
