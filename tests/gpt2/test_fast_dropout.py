"""The fast forms with dropout on: seeded, of the plain form's distribution, and of one mind with the gradient."""

import copy

import pytest
import torch

from tests.test_plain_and_fast import EVERY_DROPOUT, LANGUAGE, dropout_classifier, fast, some_rows, some_texts


def dropout_language_model(*given):
    return dropout_classifier(*given, **LANGUAGE)


LENGTHS = [9, 3, 1, 12, 5, 5, 2, 7, 4, 4]
BOTH_HEADS = pytest.mark.parametrize(
    ("model", "inputs"),
    [
        (dropout_classifier, some_rows(LENGTHS)),
        (dropout_language_model, some_texts(LENGTHS)),
        (dropout_language_model, some_texts(LENGTHS, 3)),
    ],
    ids=["classifier", "language", "prompts"],
)


@BOTH_HEADS
def test_with_dropout_on_the_gradient_is_that_of_the_masks_drawn_in_the_forward_pass(model, inputs):
    """Along a random direction: the slope of the loss for one seed, against what backward says for that seed."""
    model = fast(model())
    parameters = [p for p in model.parameters() if p.requires_grad]
    direction = [torch.randn_like(p) for p in parameters]

    def loss(step):
        with torch.no_grad():
            for p, d in zip(parameters, direction):
                p.add_(d, alpha=step)
        torch.manual_seed(7)
        return model(*inputs).loss

    loss(0.0).backward()
    slope = sum((p.grad * d).sum() for p, d in zip(parameters, direction))
    with torch.no_grad():
        up, down = loss(1e-6), loss(-2e-6)
    assert slope.item() == pytest.approx(((up - down) / 2e-6).item(), rel=1e-6)


@pytest.mark.parametrize("where", [*EVERY_DROPOUT, EVERY_DROPOUT], ids=str)
def test_with_dropout_on_the_logits_have_the_distribution_of_the_plain_form(where):
    """Mean and spread over 2,000 draws of one row, within four standard errors; for each dropout alone, and all."""
    ids, n = torch.randint(0, 101, (1, 10), generator=torch.Generator().manual_seed(2)), 2000
    model = dropout_classifier(0.2, where).float()
    samples = []
    for form in (copy.deepcopy(model), fast(model)):
        torch.manual_seed(3)
        with torch.no_grad():
            samples.append(form(ids.expand(n, -1)).logits)
    a, b = samples
    error = ((a.var(0) + b.var(0)) / n).sqrt()
    assert ((a.mean(0) - b.mean(0)).abs() < 4 * error).all()
    squares = [(x - x.mean(0)) ** 2 for x in samples]
    error = ((squares[0].var(0) + squares[1].var(0)) / n).sqrt()
    assert ((a.var(0) - b.var(0)).abs() < 4 * error).all()
    assert a.std() > 0.01


@pytest.mark.parametrize("unasked", [0, 3], ids=["every token", "after a prompt"])
def test_with_dropout_on_the_loss_of_the_language_model_has_the_distribution_of_the_plain_form(unasked):
    """Of one row many times over, each with masks of its own: mean and spread over 400 sums of 5 rows."""
    ids, mask, _, labels, _ = some_texts([6], unasked)
    model, samples = dropout_language_model(0.2).float(), []
    for form in (copy.deepcopy(model), fast(model)):
        torch.manual_seed(3)
        with torch.no_grad():
            losses = [form(*(x.expand(5, -1) for x in (ids, mask)), None, labels.expand(5, -1), "sum").loss
                      for _ in range(400)]  # fmt: skip
        samples.append(torch.stack(losses))
    a, b = samples
    assert (a.mean() - b.mean()).abs() < 4 * ((a.var() + b.var()) / 400).sqrt()
    assert 0.75 < a.var() / b.var() < 1.33 and a.std() > 0.01


def test_a_seed_fixes_the_masks_and_the_next_step_has_others():
    model, inputs = fast(dropout_classifier()), some_rows([9, 3, 1])
    torch.manual_seed(5)
    first, state = model(*inputs).logits, torch.get_rng_state()
    second = model(*inputs).logits
    torch.manual_seed(5)
    assert torch.equal(model(*inputs).logits, first) and not torch.equal(first, second)
    torch.set_rng_state(state)
    assert torch.equal(model(*inputs).logits, second)
