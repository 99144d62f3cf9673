"""Writing as a user sees it: what the cache changes (nothing but the time), when a text ends, what a setting does."""

import copy
import dataclasses

import pytest
import torch

import gpt2
from gpt2.fast_step import FEW, fast_step
from gpt2.generation import choose

CONFIG = gpt2.GPT2Config(
    vocab_size=101, n_positions=32, n_embd=32, n_layer=3, n_head=4, layer_norm_epsilon=1e-3, eos_token_id=None
)
PROMPT = torch.tensor([[5, 17, 80, 3, 42]])
TEXT = torch.randint(0, 101, (2, 32), generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def plain():
    """A fresh model has nearly flat logits and says one token for ever; larger weights, of positions most, help."""
    torch.manual_seed(0)
    model = gpt2.GPT2LMHeadModel(CONFIG).double().eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.add_(torch.randn_like(parameter) * (1.0 if "wpe" in name else 0.1 if "bias" in name else 0.3))
    return model


@pytest.fixture(scope="module")
def fast(plain):
    model = copy.deepcopy(plain)
    gpt2.use_fast(model)
    return model


@pytest.fixture(params=["plain", "fast"])
def model(request):
    return request.getfixturevalue(request.param)


def write(model, prompt=PROMPT, seed=None, **settings):
    return gpt2.generate_ids(model, prompt, gpt2.GenerationConfig(**{"max_new_tokens": 12} | settings), seed)


def ending_at(model, token):
    """`model`, its weights shared, with this end token."""
    other = copy.copy(model)
    other.config = dataclasses.replace(model.config, eos_token_id=token)
    return other


# The cache


@pytest.mark.parametrize("pieces", [[1] * 32, [7] + [1] * 25, [5, 4, 1, 9, 13], [31, 1], [32]], ids=str)
def test_a_text_fed_in_pieces_gets_the_logits_of_the_whole_text(plain, model, pieces):
    with torch.no_grad():
        want = plain(TEXT).logits
        cache, got = gpt2.KeyValueCache(CONFIG), []
        for piece in TEXT.split(pieces, dim=1):
            got.append(model(piece, cache=cache).logits)
    assert cache.length == 32
    torch.testing.assert_close(torch.cat(got, dim=1), want, rtol=0, atol=1e-12 * float(want.abs().max()))


def test_padding_on_the_left_stays_hidden_behind_a_cache(plain):
    mask = torch.ones_like(TEXT)
    mask[0, :4] = 0
    cache, got = gpt2.KeyValueCache(CONFIG), []
    with torch.no_grad():
        want = plain(TEXT, mask).logits
        for end in (6, 9, 10, 32):
            got.append(plain(TEXT[:, cache.length : end], mask[:, :end], cache=cache).logits)
    torch.testing.assert_close(torch.cat(got, dim=1), want, rtol=0, atol=1e-12 * float(want.abs().max()))
    assert (want - plain(TEXT).logits)[0, 5:].abs().max() > 1e-2


def test_what_is_kept_is_never_copied(plain):
    cache = gpt2.KeyValueCache(CONFIG, capacity=9)
    with torch.no_grad():
        plain(TEXT[:, :6], cache=cache)
        where = [(block.keys.data_ptr(), block.values.data_ptr()) for block in cache.blocks]
        plain(TEXT[:, 6:9], cache=cache)
    assert [(block.keys.data_ptr(), block.values.data_ptr()) for block in cache.blocks] == where
    assert cache.blocks[0].keys.shape == (2, 4, 9, 8)


def test_one_token_more_than_there_are_positions_is_refused(plain):
    cache = gpt2.KeyValueCache(CONFIG)
    with torch.no_grad():
        plain(TEXT, cache=cache)
        with pytest.raises(ValueError, match="33 tokens, but this model has 32 positions"):
            plain(TEXT[:, :1], cache=cache)
    assert cache.length == 32


def test_one_token_more_than_the_cache_has_room_for_is_refused(plain):
    cache = gpt2.KeyValueCache(CONFIG, capacity=4)
    with torch.no_grad(), pytest.raises(ValueError, match="5 tokens, but the cache has room for 4"):
        plain(TEXT[:, :5], cache=cache)
    assert cache.length == 0


@pytest.mark.parametrize("rows", [1, 2, FEW, FEW + 1])
def test_a_step_of_the_fast_form_gives_the_logits_of_the_plain_one(plain, fast, rows):
    text = torch.randint(0, 101, (rows, 20), generator=torch.Generator().manual_seed(2))
    step, cache = fast_step(fast), gpt2.KeyValueCache(CONFIG)
    with torch.inference_mode():
        want = plain(text).logits
        for at, piece in zip([0, 1, 7, *range(8, 20)], text.split([1, 6, *[1] * 13], dim=1)):
            got, end = step(piece, cache), at + piece.shape[1]
            assert cache.length == end
            torch.testing.assert_close(got, want[:, end - 1], rtol=0, atol=1e-12 * float(want.abs().max()))


def test_only_the_fast_form_writes_without_its_modules(plain, fast):
    calls = []
    for model in (plain, fast):
        layer = model.transformer.h[0].attn.c_attn
        hook = layer.register_forward_hook(lambda *_: calls.append(1))
        write(model)
        hook.remove()
        calls.append("next")
    assert calls == [*[1] * 12, "next", 1, "next"]


# What is written


def test_each_token_is_the_likeliest_after_all_before_it(plain, model):
    ids = write(model, max_new_tokens=27)
    with torch.no_grad():
        logits = plain(ids).logits
    assert torch.equal(ids[:, :5], PROMPT) and ids.shape == (1, 32)
    assert torch.equal(ids[:, 5:], logits[:, 4:-1].argmax(-1))
    assert len(set(ids[0, 5:].tolist())) > 10


def test_a_seed_draws_the_same_text_again_and_leaves_other_random_numbers_alone(model):
    torch.manual_seed(3)
    state = torch.get_rng_state()
    first = write(model, do_sample=True, seed=7)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(write(model, do_sample=True, seed=7), first)
    assert not torch.equal(write(model, do_sample=True, seed=8), first)
    torch.manual_seed(7)
    assert torch.equal(write(model, do_sample=True), first)


def test_several_texts_are_drawn_at_once_and_differ(model):
    ids = write(model, do_sample=True, seed=1, num_return_sequences=5)
    assert ids.shape == (5, 17) and torch.equal(ids[:, :5], PROMPT.expand(5, -1))
    assert len({tuple(row) for row in ids.tolist()}) == 5


def test_drawing_from_one_token_is_greedy(model):
    want = write(model)
    assert torch.equal(write(model, do_sample=True, top_k=1, seed=1), want)
    assert torch.equal(write(model, do_sample=True, top_p=1e-9, seed=1), want)
    assert torch.equal(write(model, do_sample=True, temperature=1e-4, seed=1), want)
    assert torch.equal(
        write(model, do_sample=True, top_k=1000, top_p=1.0, seed=1), write(model, do_sample=True, seed=1)
    )


def test_a_large_penalty_says_nothing_twice_not_even_what_the_prompt_said(model):
    ids = write(model, repetition_penalty=1e6, max_new_tokens=27)[0].tolist()
    assert len(set(ids)) == 32 < 32 + len(write(model, max_new_tokens=27)[0]) - 5
    assert len(set(write(model, max_new_tokens=27)[0].tolist())) < 32


def test_a_penalty_makes_what_was_said_less_likely_on_either_side_of_zero():
    config = gpt2.GenerationConfig(max_new_tokens=1, repetition_penalty=2.0)
    for scores in ([-1.0, -1.5, -2.5], [3.0, 2.0, 1.0], [0.5, 0.3, -1.0]):
        assert choose(torch.tensor([scores]), torch.tensor([[0, 0]]), config, None).item() == 1


# Where it ends


def test_it_ends_at_the_end_token_and_says_so(model):
    whole = write(model)[0].tolist()
    end = whole[9]
    cut = whole.index(end, 5) + 1
    writing = gpt2.generate(ending_at(model, end), PROMPT, gpt2.GenerationConfig(max_new_tokens=12))
    assert writing.ended is None
    steps = [tokens.tolist() for tokens in writing]
    assert [*PROMPT[0].tolist(), *(token for (token,) in steps)] == writing.ids[0].tolist() == whole[:cut]
    assert writing.ended == "end token"


def test_an_end_token_in_the_prompt_ends_nothing(model):
    assert write(ending_at(model, 17)).shape == (1, 17)


def test_a_text_that_ends_early_waits_for_the_others_behind_end_tokens(model):
    free = write(model, do_sample=True, seed=1, num_return_sequences=3)
    end = free[1, 7].item()
    first = [row.index(end) if end in row else 12 for row in free[:, 5:].tolist()]
    assert min(first) < max(first)
    ids = write(ending_at(model, end), do_sample=True, seed=1, num_return_sequences=3)[:, 5:].tolist()
    for row, at, unended in zip(ids, first, free[:, 5:].tolist()):
        assert row[: at + 1] == unended[: at + 1] and set(row[at:]) <= {end}


@pytest.mark.parametrize(
    "new, length, ended", [(5, 10, "max_new_tokens"), (27, 32, "max_new_tokens"), (28, 32, "n_positions")]
)
def test_it_ends_at_what_was_asked_for_or_at_the_last_position(model, new, length, ended):
    writing = gpt2.generate(model, PROMPT, gpt2.GenerationConfig(max_new_tokens=new))
    assert len(list(writing)) == length - 5
    assert writing.ids.shape == (1, length) and writing.ended == ended
    assert list(writing) == []


def test_a_reader_who_stops_reading_can_go_on_later(model):
    want = write(model)
    writing = gpt2.generate(model, PROMPT, gpt2.GenerationConfig(max_new_tokens=12))
    for tokens in writing:
        if writing.ids.shape[1] == 9:
            assert tokens.item() == want[0, 8]
            break
    assert torch.equal(writing.ids, want[:, :9])
    assert len(list(writing)) == 8 and torch.equal(writing.ids, want)


def test_writing_in_training_mode_drops_nothing_out_keeps_no_graph_and_leaves_the_mode(plain):
    dropping = copy.deepcopy(plain).train()
    dropping.transformer.h[1].eval()
    before = [module.training for module in dropping.modules()]
    gradients = []
    dropping.transformer.h[0].register_forward_pre_hook(lambda *_: gradients.append(torch.is_grad_enabled()))
    assert torch.equal(write(dropping), write(plain))
    assert gradients == [False] * 12
    next(iter(gpt2.generate(dropping, PROMPT, gpt2.GenerationConfig(max_new_tokens=12))))  # given up after one step
    assert [module.training for module in dropping.modules()] == before and torch.is_grad_enabled()


@pytest.mark.parametrize(
    "prompt, message",
    [(torch.ones(1, 0), "empty"), (torch.ones(1, 32), "leaves nothing"), (torch.ones(1, 40), "leaves nothing"),
     (torch.ones(2, 3), r"\(1, P\), not \(2, 3\)"), (torch.ones(3), r"\(1, P\), not \(3,\)")],
)  # fmt: skip
def test_a_prompt_that_cannot_be_continued_is_refused(plain, prompt, message):
    with pytest.raises(ValueError, match=message):
        gpt2.generate(plain, prompt.long(), gpt2.GenerationConfig(max_new_tokens=1))


@pytest.mark.parametrize(
    "settings",
    [{"max_new_tokens": 0}, {"max_new_tokens": 2.0}, {"num_return_sequences": True}, {"top_k": 0}, {"top_k": "20"},
     {"temperature": 0}, {"temperature": float("nan")}, {"temperature": float("inf")}, {"temperature": None},
     {"top_p": 0.0}, {"top_p": 1.5}, {"repetition_penalty": -1.0}, {"repetition_penalty": True}, {"do_sample": 1}],
    ids=str,
)  # fmt: skip
def test_a_setting_that_means_nothing_is_refused_by_name(settings):
    (name,) = settings
    with pytest.raises(ValueError, match=f"^{name} must be"):
        gpt2.GenerationConfig(**{"max_new_tokens": 1, "do_sample": True} | settings)


@pytest.mark.parametrize("settings", [{"temperature": 0.5}, {"top_k": 2}, {"top_p": 0.5}, {"num_return_sequences": 2}])
def test_what_only_drawing_reads_is_refused_where_nothing_is_drawn(settings):
    with pytest.raises(ValueError, match="do_sample"):
        gpt2.GenerationConfig(max_new_tokens=1, **settings)
