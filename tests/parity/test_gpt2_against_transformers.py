"""This project's GPT-2 beside transformers': same weights, same numbers, and on a CPU the same bits."""

import pytest
import torch
from safetensors.torch import load_file

import gpt2

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
transformers = pytest.importorskip("transformers", reason="needs pip install -r requirements-dev.txt")

# blocks, width, heads, vocabulary
SIZES = {"tiny": (2, 32, 2, 211), "odd": (3, 120, 5, 1009), "124M": (12, 768, 12, 50257)}
CLASSES = ["GPT2Model", "GPT2LMHeadModel", "GPT2ForSequenceClassification"]


def their_config(size, **changes):
    n_layer, n_embd, n_head, vocab = SIZES[size]
    shape = {"n_layer": n_layer, "n_embd": n_embd, "n_head": n_head, "vocab_size": vocab, "n_positions": 64}
    ends = {name: vocab - 1 for name in ("pad_token_id", "bos_token_id", "eos_token_id")}
    return transformers.GPT2Config(**shape, **ends, use_cache=False, **changes)


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """pair(name, size): their model and ours of class `name`, read from one random checkpoint of theirs."""
    made = {}

    def build(name, size="tiny"):
        if (name, size) not in made:
            directory = tmp_path_factory.mktemp("theirs")
            torch.manual_seed(0)
            theirs = getattr(transformers, name)(their_config(size)).eval()
            with torch.no_grad():
                for parameter in theirs.parameters():  # no bias may hide at zero, no norm at one
                    parameter.add_(torch.randn_like(parameter) * 0.02)
            theirs.save_pretrained(directory)
            made[name, size] = theirs, getattr(gpt2, name).from_pretrained(directory)
        return made[name, size]

    return build


def batch(vocab, padded):
    """3 rows of up to 20 tokens; the last id of the vocabulary pads and also ends the third text."""
    ids = torch.randint(0, vocab - 1, (3, 20), generator=torch.Generator().manual_seed(1))
    mask = torch.ones_like(ids)
    if padded in (True, "right", "both"):
        mask[1, 7:], mask[2, 15:] = 0, 0
    if padded in ("left", "both"):
        mask[0, :6], mask[1, :2] = 0, 0
    return ids.masked_fill(mask == 0, vocab - 1), mask


def outputs(model, ids, mask):
    with torch.no_grad():
        got = model(input_ids=ids, attention_mask=mask)
    logits = getattr(got, "logits", None)
    return got.last_hidden_state if logits is None else logits


@pytest.mark.parametrize("padded", ["no", "right", "left", "both"])
@pytest.mark.parametrize("size", ["tiny", "odd"])
@pytest.mark.parametrize("name", CLASSES)
def test_outputs_are_the_same_bits_at_small_sizes(pair, name, size, padded):
    theirs, ours = pair(name, size)
    ids, mask = batch(SIZES[size][3], padded)
    expected, got = outputs(theirs, ids, mask), outputs(ours, ids, mask)
    assert torch.equal(expected, got)


@pytest.mark.parametrize("padded", [False, True])
def test_outputs_without_a_mask_equal_those_with_a_mask_of_ones(pair, padded):
    theirs, ours = pair("GPT2LMHeadModel")
    ids, _ = batch(SIZES["tiny"][3], padded)
    assert torch.equal(outputs(theirs, ids, None), outputs(ours, ids, None))


@pytest.mark.slow
@pytest.mark.parametrize("name", CLASSES)
def test_outputs_are_the_same_bits_at_the_size_of_gpt2(pair, name):
    theirs, ours = pair(name, "124M")
    for padded in (False, True):
        ids, mask = batch(50257, padded)
        assert torch.equal(outputs(theirs, ids, mask), outputs(ours, ids, mask))


def test_one_row_of_the_124m_classifier_gives_the_same_bits():
    torch.manual_seed(0)
    theirs = transformers.GPT2ForSequenceClassification(their_config("124M")).eval()
    with torch.device("meta"):
        ours = gpt2.GPT2ForSequenceClassification(gpt2.GPT2Config(n_positions=64)).eval()
    ours.load_state_dict(theirs.state_dict(), assign=True)
    ids, mask = batch(50257, padded=True)
    assert torch.equal(outputs(theirs, ids[1:2], mask[1:2]), outputs(ours, ids[1:2], mask[1:2]))


def test_lm_loss_with_labels_left_out_is_the_same_bits(pair):
    theirs, ours = pair("GPT2LMHeadModel")
    ids, mask = batch(SIZES["tiny"][3], padded=True)
    labels = ids.masked_fill(mask == 0, -100)
    labels[0, 3:6] = -100
    expected = theirs(input_ids=ids, attention_mask=mask, labels=labels).loss
    assert torch.equal(expected, ours(ids, mask, labels=labels).loss)


@pytest.mark.parametrize("padded", ["no", "right", "left", "both"])
@pytest.mark.parametrize("size", ["tiny", "odd"])
def test_a_steps_lm_loss_and_gradients_are_the_same_bits_with_dropout_on(pair, size, padded):
    """Of a step of several batches Trainer tells the model how many targets all of them have; here train.py divides."""
    ids, mask = batch(SIZES[size][3], padded)
    labels, items = ids.masked_fill(mask == 0, -100), torch.tensor(83)
    labels[0, :9] = -100  # a prompt
    labels[1] = -100
    theirs, ours = pair("GPT2LMHeadModel", size)
    losses, gradients, states = [], [], []
    for model, loss_of in (
        (theirs, lambda: theirs(input_ids=ids, attention_mask=mask, labels=labels, num_items_in_batch=items).loss),
        (ours, lambda: ours(ids, mask, labels=labels, reduction="sum").loss / items),
    ):
        model.train().zero_grad()
        torch.manual_seed(9)
        loss = loss_of()
        loss.backward()
        losses.append(loss.detach())
        gradients.append({name: p.grad for name, p in model.named_parameters()})
        states.append(torch.get_rng_state())
        model.eval()
    assert torch.equal(*losses) and torch.equal(*states) and losses[0] > 0
    assert list(gradients[0]) == list(gradients[1])
    assert all(torch.equal(gradients[0][name], gradients[1][name]) for name in gradients[0])


def test_classifier_loss_and_gradients_are_the_same_bits_with_dropout_on(pair):
    ids, mask = batch(SIZES["tiny"][3], padded=True)
    losses, gradients, states = [], [], []
    for model in pair("GPT2ForSequenceClassification"):
        model.train().zero_grad()
        torch.manual_seed(9)
        loss = model(input_ids=ids, attention_mask=mask, labels=torch.tensor([0, 1, 1])).loss
        loss.backward()
        losses.append(loss.detach())
        gradients.append({name: p.grad for name, p in model.named_parameters()})
        states.append(torch.get_rng_state())
        model.eval()
    assert torch.equal(*losses) and torch.equal(*states)
    assert list(gradients[0]) == list(gradients[1])
    assert all(torch.equal(gradients[0][name], gradients[1][name]) for name in gradients[0])


def test_a_text_that_ends_in_the_pad_token_is_where_the_two_part(pair):
    """transformers looks for the last token that is no pad; here the mask decides, so that the end of text counts."""
    theirs, ours = pair("GPT2ForSequenceClassification")
    pad = SIZES["tiny"][3] - 1
    ids = torch.tensor([[5, 17, 80, pad]])
    expected = theirs.score(theirs.transformer(ids).last_hidden_state[:, -1])
    torch.testing.assert_close(ours(ids, torch.ones_like(ids)).logits, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", CLASSES)
@pytest.mark.parametrize("size", ["tiny", "odd"])
def test_the_same_seed_draws_the_same_weights_from_a_config(name, size):
    torch.manual_seed(4)
    theirs = getattr(transformers, name)(their_config(size)).state_dict()
    torch.manual_seed(4)
    n_layer, n_embd, n_head, vocab = SIZES[size]
    config = gpt2.GPT2Config(vocab_size=vocab, n_positions=64, n_embd=n_embd, n_layer=n_layer, n_head=n_head)
    ours = getattr(gpt2, name)(config).state_dict()
    assert list(theirs) == list(ours)
    assert all(torch.equal(theirs[key], ours[key]) for key in theirs)


def test_a_fresh_head_on_a_language_models_file_is_the_same_draw(tiny_base):
    torch.manual_seed(5)
    theirs = transformers.GPT2ForSequenceClassification.from_pretrained(tiny_base, num_labels=3)
    state = torch.get_rng_state()
    torch.manual_seed(5)
    ours = gpt2.GPT2ForSequenceClassification.from_pretrained(tiny_base, num_labels=3)
    assert torch.equal(theirs.score.weight, ours.score.weight)
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize("name", CLASSES)
def test_transformers_reads_what_we_save_and_nothing_is_left_over(pair, tmp_path, name):
    theirs, ours = pair(name)
    ours.save_pretrained(tmp_path)
    read, info = getattr(transformers, name).from_pretrained(tmp_path, output_loading_info=True)
    assert not any(info[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    read.config.use_cache = False
    for key, tensor in theirs.state_dict().items():
        assert torch.equal(read.state_dict()[key], tensor)
    for padded in (False, True):
        ids, mask = batch(SIZES["tiny"][3], padded)
        read.config.pad_token_id = SIZES["tiny"][3] - 1
        assert torch.equal(outputs(read.eval(), ids, mask), outputs(ours, ids, mask))


def test_the_saved_file_holds_the_tensors_of_theirs(pair, tmp_path):
    for which, model in zip(("theirs", "ours"), pair("GPT2LMHeadModel")):
        model.save_pretrained(tmp_path / which)
    theirs, ours = (load_file(tmp_path / which / "model.safetensors") for which in ("theirs", "ours"))
    assert set(theirs) == set(ours)
    assert all(torch.equal(theirs[key], ours[key]) for key in theirs)


@pytest.mark.parametrize("change", [{"n_inner": 48}, {"layer_norm_epsilon": 1e-2}])
def test_the_fields_that_change_the_numbers_are_read(tmp_path, change):
    torch.manual_seed(0)
    theirs = transformers.GPT2LMHeadModel(their_config("tiny", **change)).eval()
    theirs.save_pretrained(tmp_path)
    ids, mask = batch(SIZES["tiny"][3], padded=True)
    ours = gpt2.GPT2LMHeadModel.from_pretrained(tmp_path)
    assert torch.equal(outputs(theirs, ids, mask), outputs(ours, ids, mask))


def test_the_tokenizers_agree(tiny_base, messages):
    theirs = transformers.GPT2TokenizerFast(str(tiny_base / "vocab.json"), str(tiny_base / "merges.txt"))
    texts = [text for _, text in messages] + ["", "  two  spaces ", "naïve 日本語 😀\n"]
    assert [theirs(text)["input_ids"] for text in texts] == gpt2.Tokenizer(tiny_base).encode_batch(texts)
