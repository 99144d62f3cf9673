"""How the next token is drawn: what each setting makes of logits that can be followed by hand."""

import pytest
import torch

import gpt2
from gpt2.generation import choose


@pytest.fixture
def chances(monkeypatch):
    """chances(logits, said): how likely each token is to be drawn after the tokens `said`."""
    drawn = []
    monkeypatch.setattr(torch, "multinomial", lambda p, **_: drawn.append(p) or p.argmax(-1, keepdim=True))

    def ask(logits, said=(), **settings):
        how = gpt2.GenerationConfig(max_new_tokens=1, do_sample=True, **settings)
        choose(torch.tensor([logits]), torch.tensor([said], dtype=torch.long), how, None)
        return drawn.pop()[0].tolist()

    return ask


def softmax(*logits):
    return pytest.approx(torch.tensor(logits).softmax(-1).tolist(), rel=1e-6)


THREE = [0.5, 0.3, 0.2]
LOGITS = torch.tensor(THREE).log().tolist()


def test_without_settings_a_token_is_as_likely_as_the_model_says(chances):
    assert chances(LOGITS) == pytest.approx(THREE)
    assert chances(LOGITS, (0, 1)) == pytest.approx(THREE)


def test_the_penalty_makes_what_was_said_less_likely_on_either_side_of_zero(chances):
    assert chances([2.0, -2.0, 0.5], (0, 1, 1), repetition_penalty=2.0) == softmax(1.0, -4.0, 0.5)


def test_logits_are_divided_by_the_temperature(chances):
    assert chances([2.0, -2.0, 0.5], temperature=0.5) == softmax(4.0, -4.0, 1.0)


def test_top_k_leaves_the_likeliest_and_those_as_likely_as_the_last_of_them(chances):
    assert chances(LOGITS, top_k=2) == pytest.approx([0.625, 0.375, 0])
    assert chances([1.0, 3.0, 3.0, 2.0], top_k=1) == pytest.approx([0, 0.5, 0.5, 0])
    assert chances(LOGITS, top_k=9) == pytest.approx(THREE)


@pytest.mark.parametrize(
    ("top_p", "left"), [(0.1, [1, 0, 0]), (0.45, [1, 0, 0]), (0.55, [0.625, 0.375, 0]), (0.85, THREE), (1.0, THREE)]
)
def test_top_p_leaves_the_fewest_likeliest_that_reach_it_and_one_at_least(chances, top_p, left):
    assert chances(LOGITS, top_p=top_p) == pytest.approx(left)
    assert chances(LOGITS[::-1], top_p=top_p) == pytest.approx(left[::-1])


def test_the_settings_work_one_after_the_other(chances):
    settings = {"repetition_penalty": 4.0, "temperature": 0.5, "top_k": 2, "top_p": 0.99}
    p = torch.tensor([1.0, 3.6]).softmax(-1).tolist()  # 2 / 4 / 0.5 and 1.8 / 0.5
    assert chances([2.0, 1.8, 0.0], (0,), **settings) == pytest.approx([*p, 0])


def test_greedy_takes_the_likeliest_after_the_penalty():
    logits, said = torch.tensor([[2.0, 1.8, 0.0]]), torch.tensor([[0]])
    for penalty, token in ((1.0, 0), (1.5, 1)):
        how = gpt2.GenerationConfig(max_new_tokens=1, repetition_penalty=penalty)
        assert choose(logits, said, how, None).tolist() == [token]
