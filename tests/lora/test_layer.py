"""The LoRA layer: the formula by hand, its start at zero, dropout, merging to the bit, several adapters in a model."""

import math

import pytest
import torch
from torch import nn

import gpt2
import lora
from gpt2.model import Conv1D
from lora.layer import LoraLayer

# 4 x 4, rank 1, whole numbers: W0 is (out, in).
W0 = torch.tensor([[1.0, 2, 0, -1], [0, 1, 3, 0], [2, 0, 0, 1], [1, 1, 1, 1]])
BIAS = torch.tensor([1.0, 0, -1, 2])
A = torch.tensor([[1.0, 0, 2, -1]])
B = torch.tensor([[1.0], [-2], [0], [3]])
X = torch.tensor([3.0, 1, 2, 5])  # W0 x + b = (1, 7, 10, 13);  A x = 2;  B A x = (2, -4, 0, 6)


def base_layer(kind, n_in=4, n_out=4):
    """A plain layer of either kind."""
    return nn.Linear(n_in, n_out) if kind == "linear" else Conv1D(n_out, n_in)


def by_hand(kind, scaling, **options):
    """The layer of the example above with adapter "a"."""
    base = base_layer(kind)
    with torch.no_grad():
        base.weight.copy_(W0 if kind == "linear" else W0.T)
        base.bias.copy_(BIAS)
    return filled(base, A, B, r=1, scaling=scaling, **options)


def filled(base, a, b, r, scaling, dropout=0.0):
    layer = LoraLayer(base)
    layer.add_adapter("a", r, scaling, dropout)
    layer.active_adapters = ["a"]
    with torch.no_grad():
        layer.lora_A["a"].weight.copy_(a)
        layer.lora_B["a"].weight.copy_(b)
    return layer


def random_layer(kind, seed=0, dropout=0.0, dtype=torch.float32):
    torch.manual_seed(seed)
    base = base_layer(kind, 24, 40).to(dtype)
    return filled(base, torch.randn(8, 24), torch.randn(40, 8), r=8, scaling=2.0, dropout=dropout)


both_kinds = pytest.mark.parametrize("kind", ["linear", "conv1d"])


@both_kinds
@pytest.mark.parametrize(
    ("scaling", "expected"), [(1.0, [3, 3, 10, 19]), (2.0, [5, -1, 10, 25]), (0.5, [2, 5, 10, 16])]
)
def test_h_is_w0_x_plus_scaling_times_b_a_x(kind, scaling, expected):
    assert by_hand(kind, scaling)(X).tolist() == expected


@both_kinds
def test_merged_weights_give_the_same_h_from_the_base_layer_alone(kind):
    layer = by_hand(kind, 2.0)
    layer.merge()
    assert layer.base_layer(X).tolist() == [5, -1, 10, 25]
    assert layer(X).tolist() == [5, -1, 10, 25]


@both_kinds
def test_delta_weight_lies_as_the_base_weight_lies(kind):
    layer = random_layer(kind)
    assert layer.delta_weight("a").shape == layer.base_layer.weight.shape
    assert by_hand(kind, 1.0).delta_weight("a").tolist() == ((B @ A) if kind == "linear" else (B @ A).T).tolist()


@both_kinds
@pytest.mark.parametrize("init", [True, "gaussian"])
def test_a_fresh_adapter_changes_nothing(kind, init):
    torch.manual_seed(0)
    base, x = base_layer(kind, 24, 40), torch.randn(5, 24)
    expected = base(x)
    layer = LoraLayer(base)
    layer.add_adapter("a", 8, 4.0, 0.0, init)
    layer.active_adapters = ["a"]
    assert torch.equal(layer(x), expected)
    assert layer.lora_A["a"].weight.any() and not layer.lora_B["a"].weight.any()


@both_kinds
def test_a_starts_uniform_within_one_over_the_root_of_in(kind):
    torch.manual_seed(0)
    layer = LoraLayer(base_layer(kind, 256, 64))
    layer.add_adapter("a", 16, 1.0, 0.0)
    weight, bound = layer.lora_A["a"].weight, 1 / math.sqrt(256)  # not 1/sqrt(r) = 0.25
    assert weight.shape == (16, 256)
    assert 0.98 * bound < weight.abs().max() <= bound
    assert weight.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.05)


def test_gaussian_a_starts_with_spread_one_over_r():
    torch.manual_seed(0)
    layer = LoraLayer(nn.Linear(256, 64))
    layer.add_adapter("a", 16, 1.0, 0.0, "gaussian")
    assert layer.lora_A["a"].weight.std().item() == pytest.approx(1 / 16, rel=0.05)


@both_kinds
def test_as_first_gradient_is_exactly_zero_and_bs_is_not(kind):
    torch.manual_seed(0)
    layer = LoraLayer(base_layer(kind, 24, 40))
    layer.add_adapter("a", 8, 4.0, 0.0)
    layer.active_adapters = ["a"]
    layer(torch.randn(5, 24)).square().sum().backward()
    assert not layer.lora_A["a"].weight.grad.any()
    assert layer.lora_B["a"].weight.grad.any()


@both_kinds
def test_dropout_acts_in_training_only(kind):
    layer, x = random_layer(kind, dropout=0.5), torch.randn(5, 24)
    assert not torch.equal(layer(x), layer(x))
    layer.eval()
    expected = layer.base_layer(x) + 2.0 * (x @ layer.lora_A["a"].weight.T @ layer.lora_B["a"].weight.T)
    assert torch.equal(layer(x), layer(x))
    torch.testing.assert_close(layer(x), expected)


@both_kinds
def test_dropout_reaches_as_input_and_not_the_base(kind):
    layer, x = random_layer(kind, dropout=0.5), torch.randn(5, 24)
    torch.manual_seed(7)
    got = layer(x)
    torch.manual_seed(7)
    dropped = nn.functional.dropout(x, 0.5)
    expected = layer.base_layer(x) + 2.0 * (dropped @ layer.lora_A["a"].weight.T @ layer.lora_B["a"].weight.T)
    torch.testing.assert_close(got, expected)


def test_without_dropout_nothing_is_drawn():
    layer, x = random_layer("linear", dropout=0.0), torch.randn(5, 24)
    state = torch.get_rng_state()
    layer.train()(x)
    assert torch.equal(torch.get_rng_state(), state)


def test_merging_into_a_float64_base_rounds_nothing_to_float32():
    layer, x = random_layer("linear").double().eval(), torch.randn(5, 24, dtype=torch.float64)
    h = layer(x)
    layer.merge()
    torch.testing.assert_close(layer.base_layer(x), h, rtol=1e-13, atol=1e-13)


@both_kinds
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_unmerge_puts_the_weight_back_to_the_bit(kind, dtype):
    layer = random_layer(kind, dtype=dtype)
    x = torch.randn(5, 24, dtype=dtype)
    before, plain = layer.base_layer.weight.detach().clone(), layer(x)
    layer.merge()
    assert not torch.equal(layer.base_layer.weight, before)
    layer.merge()  # a second time adds nothing
    layer.unmerge()
    assert torch.equal(layer.base_layer.weight, before)
    assert torch.equal(layer(x), plain)
    layer.unmerge()
    assert torch.equal(layer.base_layer.weight, before)


@both_kinds
def test_merging_a_bfloat16_base_rounds_once(kind):
    layer = random_layer(kind, dtype=torch.bfloat16)
    exact = layer.base_layer.weight.float() + layer.delta_weight("a")
    layer.merge()
    assert layer.base_layer.weight.dtype == torch.bfloat16
    assert torch.equal(layer.base_layer.weight, exact.to(torch.bfloat16))


def test_two_adapters_merged_into_a_bfloat16_base_are_rounded_once_together():
    layer = random_layer("conv1d", dtype=torch.bfloat16)
    layer.add_adapter("b", 4, 0.3, 0.0, False)
    layer.active_adapters = ["a", "b"]
    exact = layer.base_layer.weight.float() + layer.delta_weight("a") + layer.delta_weight("b")
    layer.merge()
    assert torch.equal(layer.base_layer.weight, exact.to(torch.bfloat16))


@both_kinds
def test_on_a_bfloat16_base_the_adapter_computes_in_float32_and_the_output_is_bfloat16(kind):
    layer, x = random_layer(kind, dtype=torch.bfloat16), torch.randn(5, 24, dtype=torch.bfloat16)
    assert layer.lora_A["a"].weight.dtype == layer.lora_B["a"].weight.dtype == torch.float32
    update = x.float() @ layer.lora_A["a"].weight.T @ layer.lora_B["a"].weight.T * 2.0
    got = layer(x)
    assert got.dtype == torch.bfloat16
    torch.testing.assert_close(got, (layer.base_layer(x) + update).to(torch.bfloat16))


def test_merging_keeps_the_parameter_object_so_that_tied_weights_stay_tied():
    layer = random_layer("linear")
    parameter = layer.base_layer.weight
    layer.merge()
    assert layer.base_layer.weight is parameter
    layer.unmerge()
    assert layer.base_layer.weight is parameter


def test_a_damaged_adapter_does_not_reach_the_weights():
    layer = random_layer("linear")
    before = layer.base_layer.weight.detach().clone()
    with torch.no_grad():
        layer.lora_B["a"].weight[0, 0] = float("nan")
    with pytest.raises(ValueError, match="not finite"):
        layer.merge()
    assert torch.equal(layer.base_layer.weight, before) and layer.merged_adapters == []


IDS = torch.tensor([[5, 17, 80, 3, 42]])


@pytest.fixture
def model(tiny_base):
    """A language model with adapters "one" on c_attn and "two" on c_attn and c_fc, both away from zero."""
    model = gpt2.GPT2LMHeadModel.from_pretrained(tiny_base)
    lora.apply_lora(model, lora.LoraConfig(r=4, lora_alpha=4, init_lora_weights=False), "one")
    targets = ("c_attn", "c_fc")
    lora.apply_lora(model, lora.LoraConfig(r=2, lora_alpha=6, target_modules=targets, init_lora_weights=False), "two")
    return model


def logits(model):
    with torch.no_grad():
        return model(IDS).logits


def test_a_second_adapter_waits_until_it_is_set(model):
    assert lora.active_adapters(model) == ["one"]
    assert {name.split(".")[-2] for name in lora.trainable_parameters(model)} == {"one"}
    one = logits(model)
    lora.set_adapter(model, "two")
    assert {name.split(".")[-2] for name in lora.trainable_parameters(model)} == {"two"}
    assert not torch.equal(logits(model), one)
    lora.set_adapter(model, "one")
    assert torch.equal(logits(model), one)


def test_an_adapter_whose_layers_come_earlier_in_the_model_does_not_push_in_front(tiny_base):
    model = gpt2.GPT2LMHeadModel.from_pretrained(tiny_base)
    lora.apply_lora(model, lora.LoraConfig(target_modules=("c_fc",), init_lora_weights=False), "late")
    late = logits(model)
    lora.apply_lora(model, lora.LoraConfig(target_modules=("c_attn",), init_lora_weights=False), "early")
    assert lora.active_adapters(model) == ["late"]
    assert torch.equal(logits(model), late)


def test_two_active_adapters_add_up_in_the_layer():
    layer = by_hand("linear", 1.0)
    layer.add_adapter("b", 1, 2.0, 0.0)
    with torch.no_grad():
        layer.lora_A["b"].weight.copy_(torch.tensor([[0.0, 1, 0, 0]]))  # A x = 1
        layer.lora_B["b"].weight.copy_(torch.tensor([[1.0], [1], [1], [-1]]))
    layer.active_adapters = ["a", "b"]
    assert layer(X).tolist() == [5, 5, 12, 17]
    layer.merge()
    assert layer(X).tolist() == [5, 5, 12, 17]


@pytest.mark.parametrize("names", ["two", ["one", "two"]])
def test_adapters_on_different_layers_merge_and_unmerge(model, names):
    lora.set_adapter(model, names)
    before = logits(model)
    lora.merge_lora(model)
    torch.testing.assert_close(logits(model), before, rtol=0, atol=1e-5)
    with pytest.raises(lora.AdapterError, match="unmerge_lora"):
        lora.set_adapter(model, "one")
    with pytest.raises(lora.AdapterError, match="unmerge_lora"):
        lora.delete_adapter(model, "two")
    lora.unmerge_lora(model)
    assert torch.equal(logits(model), before)


def test_a_deleted_adapter_is_gone_and_the_other_one_stays(model, tiny_base):
    plain = logits(gpt2.GPT2LMHeadModel.from_pretrained(tiny_base))
    one = logits(model)
    lora.set_adapter(model, ["one", "two"])
    lora.delete_adapter(model, "two")
    assert lora.active_adapters(model) == ["one"] and torch.equal(logits(model), one)
    assert not any(".two." in name for name in model.state_dict())
    lora.delete_adapter(model, "one")
    assert lora.active_adapters(model) == [] and torch.equal(logits(model), plain)


def test_an_unknown_adapter_is_told_with_those_there_are_and_nothing_switches(model):
    for call in (lora.set_adapter, lora.delete_adapter):
        with pytest.raises(lora.AdapterError, match="one, two"):
            call(model, "three")
    with pytest.raises(lora.AdapterError, match="one, two"):
        lora.set_adapter(model, ["two", "three"])
    assert lora.active_adapters(model) == ["one"]
