"""Every fast form beside its plain one: with dropout off, the same values and the same gradients, to rounding."""

import copy
import dataclasses

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


def classifier(train="lora", **options):
    torch.manual_seed(0)
    model = gpt2.GPT2ForSequenceClassification(CONFIG)
    if train == "head":
        model.requires_grad_(False)
        model.score.requires_grad_(True)
    if train != "lora":
        return scattered(model)
    settings = {"r": 4, "lora_dropout": 0.0, "target_modules": ("c_attn", "c_proj"), "task_type": "SEQ_CLS"}
    lora.apply_lora(model, lora.LoraConfig(**(settings | options)))
    return scattered(model)


def two_adapters():
    model = classifier()
    lora.apply_lora(model, lora.LoraConfig(r=2, target_modules=("c_fc", "c_attn"), task_type="SEQ_CLS"), "second")
    lora.set_adapter(model, ["default", "second"])
    return scattered(model)


def merged():
    model = classifier()
    lora.merge_lora(model)
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
}


def fast(model):
    for room in (gpt2, lora, dropout):
        room.use_fast(model)
    return model


def results(module, inputs, dtype, training=True):
    """name -> tensor: what comes out, and every gradient there is."""
    module.to(dtype).train(training)
    given = [
        x.detach().to(dtype).requires_grad_() if isinstance(x, torch.Tensor) and x.is_floating_point() else x
        for x in inputs
    ]
    output = module(*given)
    values = {"output": output} if isinstance(output, torch.Tensor) else {"logits": output.logits, "loss": output.loss}
    values = {name: value for name, value in values.items() if value is not None}
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


@pytest.mark.parametrize("name", [name for name in PAIRS if name.startswith("classifier")])
def test_in_evaluation_too(name):
    build, inputs = PAIRS[name]
    plain = build().eval()
    with torch.inference_mode():
        want, got = plain(*inputs).logits, fast(copy.deepcopy(plain))(*inputs).logits
    torch.testing.assert_close(got, want, rtol=0, atol=1e-12 * float(want.abs().max()))


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


def dropout_classifier(p=0.3, where=EVERY_DROPOUT):
    """A classifier with these dropouts on, adapters filled, in training mode and double precision."""
    torch.manual_seed(0)
    rates = {name: p if name in where else 0.0 for name in EVERY_DROPOUT}
    lora_dropout = rates.pop("lora_dropout")
    config = dataclasses.replace(CONFIG, **rates)
    model = gpt2.GPT2ForSequenceClassification(config)
    lora.apply_lora(
        model, lora.LoraConfig(r=4, lora_dropout=lora_dropout, target_modules=("c_attn", "c_proj"), task_type="SEQ_CLS")
    )
    return scattered(model).train()


def test_with_dropout_on_the_gradient_is_that_of_the_masks_drawn_in_the_forward_pass():
    """Along a random direction: the slope of the loss for one seed, against what backward says for that seed."""
    model, inputs = fast(dropout_classifier()), some_rows([9, 3, 1, 12, 5, 5, 2, 7, 4, 4])
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


def test_a_seed_fixes_the_masks_and_the_next_step_has_others():
    model, inputs = fast(dropout_classifier()), some_rows([9, 3, 1])
    torch.manual_seed(5)
    first, state = model(*inputs).logits, torch.get_rng_state()
    second = model(*inputs).logits
    torch.manual_seed(5)
    assert torch.equal(model(*inputs).logits, first) and not torch.equal(first, second)
    torch.set_rng_state(state)
    assert torch.equal(model(*inputs).logits, second)
