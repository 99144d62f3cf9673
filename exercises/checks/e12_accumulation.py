"""Exercise 12: the loss and the gradients beside those of one large batch."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from exercises.judge import Wrong, compare

TITLE = "Accumulate gradients"
CHAPTER = "docs/10-loop.md"
HINT = 'count the rows of all batches first; then reduction="sum" and one division by that number.'
SEE = "train.py, train_step"
Batches = list[tuple[Tensor, Tensor]]


def whole(model: Callable, batches: Batches) -> float:
    x, labels = (torch.cat(parts) for parts in zip(*batches))
    loss = F.cross_entropy(model(x), labels)
    loss.backward()
    return loss.item()


def weighed(weigh: Callable[[Tensor, Batches, int], Tensor], report: Callable | None = None) -> Callable:
    """A loop that backwards weigh(losses of the rows, all batches, rows of all) and returns `report`'s or the sum."""

    def accumulate(model: Callable, batches: Batches) -> float:
        rows, losses = sum(len(labels) for _, labels in batches), []
        for x, labels in batches:
            loss = weigh(F.cross_entropy(model(x), labels, reduction="none"), batches, rows)
            loss.backward()
            losses.append(loss.item())
        return report(losses) if report else sum(losses)

    return accumulate


def cleared(model: nn.Module, batches: Batches) -> float:
    """zero_grad inside the loop, everything else right."""
    rows, total = sum(len(labels) for _, labels in batches), 0.0
    for x, labels in batches:
        model.zero_grad()
        loss = F.cross_entropy(model(x), labels, reduction="sum") / rows
        loss.backward()
        total += loss.item()
    return total


MISTAKES = {
    "that is the mean of means: the short batch's rows count more": weighed(lambda each, b, n: each.mean() / len(b)),
    "nothing is divided by the number of batches: the gradient is several times too large": weighed(
        lambda each, b, n: each.mean()
    ),
    "the gradient is several times too large: means are added up; only the returned loss is an average": weighed(
        lambda each, b, n: each.mean(), lambda losses: sum(losses) / len(losses)
    ),
    "you added up the rows and never divided by their number": weighed(lambda each, b, n: each.sum()),
    "you divide by the rows of the first batch times the batches: the last one has fewer": weighed(
        lambda each, b, n: each.sum() / (len(b[0][1]) * len(b))
    ),
    "divided twice: the mean of each batch, and by all rows as well": weighed(lambda each, b, n: each.mean() / n),
    "the gradients are right; the loss returned is that of the last batch alone": weighed(
        lambda each, b, n: each.sum() / n, lambda losses: losses[-1]
    ),
    "the gradients are right; the loss returned is divided by the number of batches once more": weighed(
        lambda each, b, n: each.sum() / n, lambda losses: sum(losses) / len(losses)
    ),
}


def check(accumulate: Callable) -> None:
    def result(answer: Callable) -> Callable:
        def of(batches: Batches) -> dict:
            torch.manual_seed(7)
            model = Spy(nn.Linear(6, 3))
            loss = answer(model, batches)
            if model.most_rows > max(len(labels) for _, labels in batches) and answer is accumulate:
                raise Wrong("all rows went through the model at once: then there is nothing to accumulate")
            gradients = {f"the gradient of {name}": p.grad for name, p in model.model.named_parameters()}
            if any(gradient is None for gradient in gradients.values()):
                raise Wrong("the parameters have no gradient: loss.backward() is missing")
            return {"the loss": loss, **gradients}

        return of

    def rows(*sizes: int) -> tuple[Batches]:
        return ([(torch.randn(n, 6), torch.randint(3, (n,))) for n in sizes],)

    cases = {"accumulate(model, batches of 4, 4 and 1 rows)": rows(4, 4, 1), "accumulate(model, one batch)": rows(3)}
    mistakes = {
        "only the last batch's gradient is left: zero_grad has no place between the batches": cleared,
        **MISTAKES,
    }
    compare(result(accumulate), result(whole), cases, {text: result(mistake) for text, mistake in mistakes.items()})


class Spy(nn.Module):
    """A model that remembers the largest batch."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model, self.most_rows = model, 0

    def forward(self, x: Tensor) -> Tensor:
        self.most_rows = max(self.most_rows, len(x))
        return self.model(x)
