"""Exercise 5: bits, not tolerances; then twice, never and again."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from exercises.judge import Wrong, difference, shown
from gpt2.model import Conv1D

TITLE = "Unmerge, exactly"
CHAPTER = "docs/03-merging.md"
HINT = "keep the tensor itself, and give layer.weight.data a new one; `+=` would change the kept one as well."
SEE = "lora/layer.py, LoraLayer.merge and unmerge"


def check(merge: Callable, unmerge: Callable) -> None:
    for make in (lambda: nn.Linear(24, 40), lambda: Conv1D(40, 24)):
        torch.manual_seed(0)
        layer = make()
        first, second = (torch.randn_like(layer.weight) * 3 for _ in range(2))
        parameter, W0 = layer.weight, layer.weight.detach().clone()
        unmerge_of_nothing(unmerge, layer, W0)
        merge(layer, first.clone())
        judge_merged(layer, parameter, W0, first)
        unmerge(layer)
        judge_unmerged(layer, parameter, W0, first)
        judge_again(merge, unmerge, layer, W0, (first, second))


def unmerge_of_nothing(unmerge: Callable, layer: nn.Module, W0: Tensor) -> None:
    try:
        unmerge(layer)
    except AttributeError as error:
        raise Wrong(f"unmerge of a layer that was never merged must do nothing; it raised: {error}") from None
    if not torch.equal(layer.weight, W0):
        raise Wrong("unmerge of a layer that was never merged changed its weight")


def judge_merged(layer: nn.Module, parameter: nn.Parameter, W0: Tensor, delta: Tensor) -> None:
    if not isinstance(layer.weight, Tensor):
        raise Wrong(f"after merge, layer.weight is {shown(layer.weight)}")
    if layer.weight is not parameter:
        raise Wrong("merge put a new Parameter in: an optimizer or a tied embedding still holds the old one; set .data")
    if torch.equal(layer.weight, W0):
        raise Wrong("merge left the weight as it was: W + delta makes a new tensor, and it must go into layer.weight")
    if found := difference(layer.weight, W0 + delta):
        raise Wrong(f"the weight after merge: {found}")


def judge_unmerged(layer: nn.Module, parameter: nn.Parameter, W0: Tensor, delta: Tensor) -> None:
    weight = layer.weight.detach()
    if torch.equal(weight, W0) and layer.weight is parameter:
        return
    if layer.weight is not parameter:
        raise Wrong("unmerge put a new Parameter in: an optimizer or a tied embedding holds the old one; set .data")
    if torch.equal(weight, W0 + delta):
        raise Wrong("after unmerge the weight is still merged: is what you kept the weight itself, and no copy of it?")
    if not difference(weight, W0, 1e-4):
        off = int((weight != W0).sum())
        raise Wrong(f"subtracting rounds: {off} of {W0.numel()} values are not what they were; keep W0 instead")
    raise Wrong(f"the weight after unmerge: {difference(weight, W0)}")


def judge_again(merge: Callable, unmerge: Callable, layer: nn.Module, W0: Tensor, deltas: tuple) -> None:
    first, second = deltas
    merge(layer, second.clone())
    if found := difference(layer.weight, W0 + second):
        raise Wrong(f"merged a second time, after unmerge, with another delta: {found}")
    merge(layer, second.clone())
    if not difference(layer.weight, W0 + 2 * second):
        raise Wrong("merging twice adds the update twice: a merged layer must be left alone")
    if found := difference(layer.weight, W0 + second):
        raise Wrong(f"merge of a merged layer must do nothing: {found}")
    unmerge(layer)
    if not torch.equal(layer.weight, W0):
        raise Wrong("merged twice and unmerged once, the weight is not W0: the second merge kept the merged weight")
    unmerge(layer)
    if not torch.equal(layer.weight, W0):
        raise Wrong("a second unmerge changed the weight: there was nothing to take back")
