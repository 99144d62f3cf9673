"""Exercise 13: against torch's clip_grad_norm_, which training/optimization.py calls."""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from exercises.judge import compare
from training.optimization import clip_gradients as by_the_project

TITLE = "Clip by the global norm"
CHAPTER = "docs/10-loop.md"
HINT = "one norm for all (the norm of the tensors' norms), one factor for all, and nothing at all below max_norm."
SEE = "training/optimization.py, clip_gradients"
Gradients = list[Tensor]


def right(gradients: Gradients, max_norm: float) -> float:
    model = nn.ParameterList([torch.zeros_like(gradient) for gradient in gradients])
    for parameter, gradient in zip(model, gradients):
        parameter.grad = gradient
    return float(by_the_project(model, max_norm))


def norm_of(gradients: Gradients) -> float:
    return torch.cat([gradient.flatten() for gradient in gradients]).norm().item()


def scaled(factor: Callable[[Gradients, Tensor, float], float], report: Callable = norm_of) -> Callable:
    """A clipping that multiplies each tensor by factor(all, this one, max_norm) and returns report(all before)."""

    def clip(gradients: Gradients, max_norm: float) -> float:
        before = [gradient.clone() for gradient in gradients]
        for gradient, old in zip(gradients, before):
            gradient.mul_(factor(before, old, max_norm))
        return report(before)

    return clip


def proper(gradients: Gradients, gradient: Tensor, most: float) -> float:
    return min(1.0, most / max(norm_of(gradients), 1e-12))


def clamped(gradients: Gradients, max_norm: float) -> float:
    before = norm_of(gradients)
    for gradient in gradients:
        gradient.clamp_(-max_norm, max_norm)
    return before


def after(gradients: Gradients, max_norm: float) -> float:
    right(gradients, max_norm)
    return norm_of(gradients)


def sum_of_norms(gradients: Gradients) -> float:
    return sum(gradient.norm().item() for gradient in gradients)


def squared(gradients: Gradients) -> float:
    return norm_of(gradients) ** 2


def by(measure: Callable[[Gradients], float]) -> Callable:
    return lambda gradients, one, most: min(1.0, most / max(measure(gradients), 1e-12))


MISTAKES = {
    "each tensor is clipped by itself: that turns the step; one factor for all keeps its direction": scaled(
        lambda gradients, one, most: min(1.0, most / max(one.norm().item(), 1e-12))
    ),
    "the values are clamped one by one (clip_grad_value_): that turns the step; scale all by one factor": clamped,
    "small gradients are made larger: below max_norm they must stay as they are": scaled(
        lambda gradients, one, most: most / norm_of(gradients)
    ),
    "the common norm is not the sum of the norms: 3, 4 and 12 give 13, not 19": scaled(by(sum_of_norms), sum_of_norms),
    "the root is missing: you take the sum of the squares for the norm": scaled(by(squared), squared),
    "the gradients are right; return the norm before clipping, not after": after,
    "the norm is right, and the gradients are as they were: `g = g * factor` makes a new tensor, mul_ does not": scaled(
        lambda gradients, one, most: 1.0
    ),
    "the gradients are not scaled by max_norm / norm but by 1 / norm: max_norm is missing": scaled(
        lambda gradients, one, most: 1 / norm_of(gradients) if norm_of(gradients) > most else 1.0
    ),
    "the largest tensor's norm is not the common one: all numbers count": scaled(
        by(lambda gradients: max(g.norm().item() for g in gradients)),
        lambda gradients: max(g.norm().item() for g in gradients),
    ),
}


def not_a_number(gradients: Gradients, max_norm: float) -> float:
    for gradient in gradients:
        gradient.fill_(math.nan)
    return 0.0


def check(clip_gradients: Callable) -> None:
    def result(answer: Callable) -> Callable:
        def of(gradients: Gradients, max_norm: float) -> dict:
            theirs = list(gradients)  # the tensors that the parameters hold, also where the list gets new ones
            return {"the norm returned": answer(gradients, max_norm), "the gradients": theirs}

        return of

    three = [torch.tensor([1.8, 2.4]), torch.tensor([[3.2], [-2.4]]), torch.tensor([0.0, 7.2, -9.6])]
    cases = {
        "clip_gradients(norms 3, 4 and 12, max_norm=2.0)": (three, 2.0),
        "clip_gradients(norms 3, 4 and 12, max_norm=20.0)": (three, 20.0),
        "clip_gradients(norms 0.4 and 0.3, max_norm=0.25)": ([torch.tensor([0.4]), torch.tensor([0.3])], 0.25),
    }
    compare(result(clip_gradients), result(right), cases, {text: result(m) for text, m in MISTAKES.items()}, 1e-4)
    zero = {"clip_gradients(all gradients zero, max_norm=1.0)": ([torch.zeros(3)], 1.0)}
    divided = {"with all gradients zero you divide by a norm of 0, and the gradients become NaN": result(not_a_number)}
    compare(result(clip_gradients), result(right), zero, divided)
