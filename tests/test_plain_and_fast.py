"""Every fast form beside its plain one: with dropout off, the same values and the same gradients, to rounding."""

import copy
import dataclasses
import functools

import pytest
import torch
from torch import nn

import gpt2
import lora
from gpt2.model import Conv1D
from lora.layer import LoraLayer
from training import dropout

CONFIG = gpt2.GPT2Config(
    vocab_size=101, n_positions=24, n_embd=32, n_layer=3, n_head=4, num_labels=3, eos_token_id=0,
    resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0,
)  # fmt: skip
BOUND = {torch.float64: 1e-12, torch.float32: 1e-5}

LENGTHS = {
    "one row": [6],
    "one token": [1],
    "rows of one token": [1, 1, 1],
    "equal lengths": [7] * 11,
    "one long row": [24, 2, 3, 1, 2, 4, 1, 3, 2, 2],
    "at n_positions": [24, 24, 24],
    "rising": list(range(1, 25)),
    "falling": list(range(20, 0, -1)),
}


def scattered(module):
    """`module` in double precision with no parameter left at zero or one."""
    torch.manual_seed(1)
    module.double()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    return module


def wrapped_layer(base, adapters=("a",), active=("a",)):
    torch.manual_seed(0)
    layer = LoraLayer(base)
    for i, name in enumerate(adapters):
        layer.add_adapter(name, r=2 + i, scaling=1.5 + i, dropout=0.0)
    layer.active_adapters = list(active)
    return scattered(layer)


def classifier(train="lora", cls=gpt2.GPT2ForSequenceClassification, **options):
    torch.manual_seed(0)
    model = cls(CONFIG)
    if train == "head":
        model.requires_grad_(False)
        model.score.requires_grad_(True)
    if train != "lora":
        return scattered(model)
    settings = {"r": 4, "lora_dropout": 0.0, "target_modules": ("c_attn", "c_proj"), "task_type": "SEQ_CLS"}
    lora.apply_lora(model, lora.LoraConfig(**(settings | options)))
    return scattered(model)


LANGUAGE = {"cls": gpt2.GPT2LMHeadModel, "task_type": "CAUSAL_LM"}
language = functools.partial(classifier, **LANGUAGE)


def two_adapters():
    model = classifier()
    lora.apply_lora(model, lora.LoraConfig(r=2, target_modules=("c_fc", "c_attn"), task_type="SEQ_CLS"), "second")
    lora.set_adapter(model, ["default", "second"])
    return scattered(model)


def merged():
    model = classifier()
    lora.merge_lora(model)
    return model


def twice(model):
    model.transformer.gradient_checkpointing = True
    return model


def trainable_base():
    model = classifier()
    model.requires_grad_(True)
    return model


def some_rows(lengths, dtype=None):
    """A right-padded batch, two columns wider than need be where there is room."""
    T = min(max(lengths) + 2, CONFIG.n_positions)
    generator = torch.Generator().manual_seed(sum(lengths))
    ids = torch.randint(0, 101, (len(lengths), T), generator=generator)
    mask = (torch.arange(T) < torch.tensor(lengths)[:, None]).long()
    labels = torch.randint(0, 3, (len(lengths),), generator=generator)
    return ids, mask, None, labels


def some_texts(lengths, unasked=0, reduction="sum"):
    """Such a batch with its next tokens for labels, but for the first `unasked`: one number, or one a row."""
    ids, mask, *_ = some_rows(lengths)
    steps = torch.arange(ids.shape[1])
    return ids, mask, None, ids.masked_fill((mask == 0) | (steps < torch.tensor(unasked).view(-1, 1)), -100), reduction


def some_vectors(*shape):
    return (torch.randn(*shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64).requires_grad_(),)


PAIRS = {
    "LoraLayer on Conv1D": (lambda: wrapped_layer(Conv1D(40, 24)), some_vectors(30, 24)),
    "LoraLayer on Conv1D, (B, T, in)": (lambda: wrapped_layer(Conv1D(40, 24)), some_vectors(3, 5, 24)),
    "LoraLayer on Linear": (lambda: wrapped_layer(nn.Linear(24, 40)), some_vectors(30, 24)),
    "LoraLayer on Linear without bias": (lambda: wrapped_layer(nn.Linear(24, 40, bias=False)), some_vectors(2, 9, 24)),
    "LoraLayer, one vector": (lambda: wrapped_layer(nn.Linear(24, 40)), some_vectors(24)),
    "LoraLayer, two adapters": (lambda: wrapped_layer(Conv1D(40, 24), "ab", "ab"), some_vectors(30, 24)),
    "LoraLayer, the other adapter": (lambda: wrapped_layer(Conv1D(40, 24), "ab", "b"), some_vectors(30, 24)),
    "LoraLayer, none active": (lambda: wrapped_layer(Conv1D(40, 24), "ab", ()), some_vectors(30, 24)),
    "GPT2MLP": (lambda: scattered(gpt2.model.GPT2MLP(CONFIG)), some_vectors(30, 32)),
    "GPT2MLP at large values": (
        lambda: scattered(gpt2.model.GPT2MLP(CONFIG)),
        tuple((x.detach() * 30).requires_grad_() for x in some_vectors(30, 32)),
    ),
    **{f"classifier, {name}": (classifier, some_rows(lengths)) for name, lengths in LENGTHS.items()},
    "classifier, two adapters": (two_adapters, some_rows([5, 9, 1])),
    "classifier, merged": (merged, some_rows([5, 9, 1])),
    "classifier, base trains too": (trainable_base, some_rows([5, 9, 1])),
    "classifier, c_fc and the MLP whole": (
        lambda: classifier(target_modules=("c_attn",), modules_to_save=("mlp",)),
        some_rows([5, 9, 1]),
    ),
    "classifier, --train full": (lambda: classifier("full"), some_rows([5, 9, 1, 24])),
    "classifier, --train head": (lambda: classifier("head"), some_rows([5, 9, 1, 24])),
    "classifier, no mask": (classifier, (some_rows([6, 6])[0],)),
    "classifier, last norm whole": (lambda: classifier(modules_to_save=("ln_f",)), some_rows([5, 9, 1])),
    **{f"language, {name}": (language, some_texts(lengths)) for name, lengths in LENGTHS.items()},
    "language, prompts": (language, some_texts([9, 20, 7, 24, 12], [[3], [15], [0], [23], [11]])),
    "language, rows without a target": (language, some_texts([4, 9, 1, 24, 6], 8)),
    "language, no target at all": (language, some_texts([4, 9, 1], 9)),
    "language, mean": (language, some_texts([5, 9, 1], 2, "mean")),
    "language, one loss a token": (language, some_texts([5, 9, 1], 2, "none")),
    "language, padding asked for": (language, (*some_rows([5, 9, 1])[:3], some_rows([5, 9, 1])[0], "sum")),
    "language, LoRA on all layers": (
        lambda: language(target_modules=("c_attn", "c_proj", "c_fc", "wte", "lm_head")),
        some_texts([5, 9, 1, 24], 2),
    ),
    "language, LoRA on the embedding": (lambda: language(target_modules=("wte", "wpe")), some_texts([5, 9, 1, 24])),
    "language, head whole": (lambda: language(modules_to_save=("lm_head",)), some_texts([5, 9, 1, 24])),
    "language, --train full": (lambda: language("full"), some_texts(range(1, 25))),
    "language, blocks computed twice": (lambda: twice(language()), some_texts([5, 9, 1, 24], 3)),
    "language, --train full, blocks computed twice": (lambda: twice(language("full")), some_texts([5, 9, 1], 3)),
    "language, no labels": (language, some_rows([5, 9, 1])[:2]),
    "language, no mask": (language, (some_rows([6, 6])[0], None, None, some_rows([6, 6])[0])),
}


def fast(model):
    for room in (gpt2, lora, dropout):
        room.use_fast(model)
    return model


def answers(module, inputs):
    """name -> tensor: what comes out. Asked for a loss, the fast language model gives that alone."""
    output = module(*inputs)
    if isinstance(output, torch.Tensor):
        return {"output": output}
    alone = isinstance(module, gpt2.GPT2LMHeadModel) and output.loss is not None
    values = {"loss": output.loss, "logits": None if alone else output.logits}
    return {name: value for name, value in values.items() if value is not None}


def results(module, inputs, dtype, training=True):
    """name -> tensor: what comes out, and every gradient there is."""
    module.to(dtype).train(training)
    given = [
        x.detach().to(dtype).requires_grad_() if isinstance(x, torch.Tensor) and x.is_floating_point() else x
        for x in inputs
    ]
    values = answers(module, given)
    total = sum(
        (value * torch.linspace(1, 2, value.numel(), dtype=dtype).view(value.shape)).sum() for value in values.values()
    )
    if total.requires_grad:
        total.backward()
    grads = {f"gradient of {name}": p.grad for name, p in module.named_parameters() if p.grad is not None}
    grads |= {f"gradient of input {i}": x.grad for i, x in enumerate(given) if getattr(x, "grad", None) is not None}
    return {name: tensor.detach() for name, tensor in (values | grads).items()}


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("name", PAIRS)
def test_the_fast_form_equals_the_plain_one_in_values_and_gradients(name, dtype):
    build, inputs = PAIRS[name]
    plain = build()
    want, got = (results(module, inputs, dtype) for module in (copy.deepcopy(plain), fast(copy.deepcopy(plain))))
    assert got.keys() == want.keys()
    for what, value in want.items():
        difference = (got[what] - value).abs().max() / value.abs().max().clamp_min(1e-3)
        assert difference <= BOUND[dtype], f"{what}: {difference:.1e}"


@pytest.mark.parametrize("name", [name for name in PAIRS if name.startswith(("classifier", "language"))])
def test_in_evaluation_too(name):
    build, inputs = PAIRS[name]
    plain = build().eval()
    with torch.inference_mode():
        want, got = answers(plain, inputs), answers(fast(copy.deepcopy(plain)), inputs)
    for what, value in want.items():
        torch.testing.assert_close(got[what], value, rtol=0, atol=1e-12 * float(value.abs().max()))


def test_disabled_adapters_leave_the_base_model():
    base, inputs = classifier("full").eval(), some_rows([5, 9, 1])
    tuned = fast(
        lora.apply_lora(copy.deepcopy(base), lora.LoraConfig(r=4, task_type="SEQ_CLS", init_lora_weights=False))
    )
    with torch.inference_mode():
        want = base(*inputs).logits
        assert (tuned(*inputs).logits - want).abs().max() > 1e-3
        with lora.disable_lora(tuned):
            torch.testing.assert_close(tuned(*inputs).logits, want, rtol=0, atol=1e-12)


def test_plain_and_back_leaves_the_model_as_it_was():
    model, inputs = classifier().eval(), some_rows([5, 9, 1])
    names, classes = list(model.state_dict()), {n: type(m) for n, m in model.named_modules()}
    want = model(*inputs).logits
    fast(fast(model))
    assert list(model.state_dict()) == names
    for room in (gpt2, lora, dropout):
        room.use_plain(model)
    assert {n: type(m) for n, m in model.named_modules()} == classes
    assert torch.equal(model(*inputs).logits, want)


def test_under_autocast_both_forms_agree_as_far_as_bf16_goes():
    build, inputs = PAIRS["classifier, rising"]
    plain = build().float()
    quick = fast(copy.deepcopy(plain))
    logits = []
    for model in (plain, quick):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            output = model(*inputs)
        output.loss.backward()
        logits.append(output.logits.detach().float())
    torch.testing.assert_close(*logits, rtol=0, atol=0.05 * float(logits[0].abs().max()))
    a, b = (torch.cat([p.grad.flatten() for p in m.parameters() if p.grad is not None]) for m in (plain, quick))
    assert torch.cosine_similarity(a, b, dim=0) > 0.99


EVERY_DROPOUT = ("embd_pdrop", "attn_pdrop", "resid_pdrop", "lora_dropout")


def dropout_classifier(p=0.3, where=EVERY_DROPOUT, cls=gpt2.GPT2ForSequenceClassification, task_type="SEQ_CLS"):
    """A classifier with these dropouts on, adapters filled, in training mode and double precision."""
    torch.manual_seed(0)
    rates = {name: p if name in where else 0.0 for name in EVERY_DROPOUT}
    lora_dropout = rates.pop("lora_dropout")
    config = dataclasses.replace(CONFIG, **rates)
    model, targets = cls(config), ("c_attn", "c_proj")
    lora.apply_lora(model, lora.LoraConfig(r=4, lora_dropout=lora_dropout, target_modules=targets, task_type=task_type))
    return scattered(model).train()
