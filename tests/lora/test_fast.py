"""The fast LoRA layer on its own: masks, trained bases, other dtypes, merging, and models that are not GPT-2."""

import copy

import pytest
import torch
from torch import nn

import lora
from gpt2.model import Conv1D
from lora.fast import FastLoraLayer
from lora.layer import LoraLayer


def layer_on(base, r=4, scaling=2.0, dropout=0.0, dtype=torch.float64):
    torch.manual_seed(0)
    layer = LoraLayer(base)
    layer.add_adapter("a", r, scaling, dropout)
    layer.active_adapters = ["a"]
    layer.to(dtype)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.copy_(torch.randn_like(parameter))
    return layer


def faster(layer):
    layer = copy.deepcopy(layer)
    lora.use_fast(layer)
    assert type(layer) is FastLoraLayer
    return layer


def test_the_gradients_are_those_of_the_mask_that_the_forward_pass_drew():
    """A is the identity and B too, so the mask can be read off the output; then the gradients follow by hand."""
    n = 6
    layer = faster(layer_on(nn.Linear(n, n), r=n, dropout=0.5))
    with torch.no_grad():
        layer.lora_A["a"].weight.copy_(torch.eye(n))
        layer.lora_B["a"].weight.copy_(torch.eye(n))
    x = torch.randn(40, n, dtype=torch.float64, requires_grad=True)
    y = layer(x)
    mask = ((y - layer.base_layer(x)) / (2.0 * x)).detach().round()  # 0 or 1/(1-p) = 2
    assert set(mask.unique().tolist()) == {0.0, 2.0}
    g = torch.randn_like(y)
    y.backward(g)
    W, xd = layer.base_layer.weight, (x * mask).detach()
    torch.testing.assert_close(x.grad, g @ W + 2.0 * g * mask)
    torch.testing.assert_close(layer.lora_A["a"].weight.grad, 2.0 * g.T @ xd)
    torch.testing.assert_close(layer.lora_B["a"].weight.grad, 2.0 * g.T @ xd)


@pytest.mark.parametrize("base", [nn.Linear(12, 20), Conv1D(20, 12)], ids=["linear", "conv1d"])
@pytest.mark.parametrize("trains", ["weight", "bias", "lora_A", "lora_B", "x alone"])
def test_what_trains_gets_its_gradient_and_nothing_else_does(base, trains):
    plain = layer_on(copy.deepcopy(base))
    plain.requires_grad_(False)
    for name, parameter in plain.named_parameters():
        parameter.requires_grad_(trains in name)
    grads = []
    for layer in (plain, faster(plain)):
        x = torch.linspace(-1, 1, 60, dtype=torch.float64).view(5, 12).requires_grad_(trains == "x alone")
        layer(x).square().sum().backward()
        grads.append({n: p.grad for n, p in layer.named_parameters() if p.grad is not None} | {"x": x.grad})
    assert grads[0].keys() == grads[1].keys()
    for name, want in grads[0].items():
        assert (want is None) == (grads[1][name] is None), name
        if want is not None:
            torch.testing.assert_close(grads[1][name], want, rtol=1e-12, atol=1e-12)


def test_one_gradcheck_for_all():
    layer = faster(layer_on(Conv1D(5, 3), r=2))
    names = [name for name, _ in layer.named_parameters()]
    values = [p.detach().clone().requires_grad_() for p in layer.parameters()]
    x = torch.randn(2, 4, 3, dtype=torch.float64, requires_grad=True)
    call = lambda x, *values: torch.func.functional_call(layer, dict(zip(names, values)), (x,))  # noqa: E731
    assert torch.autograd.gradcheck(call, (x, *values))


@pytest.mark.parametrize("base_dtype", [torch.bfloat16, torch.float16])
def test_a_half_base_with_a_float32_adapter_is_computed_as_the_plain_form_does(base_dtype):
    plain = layer_on(nn.Linear(12, 20), dtype=torch.float32)
    plain.base_layer.to(base_dtype)
    x = torch.randn(7, 12).to(base_dtype)
    y = faster(plain)(x)
    assert torch.equal(y, plain(x)) and y.dtype == base_dtype


def test_a_base_that_needs_its_own_output_gets_an_error_instead_of_a_wrong_gradient():
    class Tanh(nn.Linear):
        def forward(self, x):
            return super().forward(x).tanh()

    layer = faster(layer_on(Tanh(3, 3)))
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        layer(torch.randn(2, 3, dtype=torch.float64)).sum().backward()


def test_merging_and_back_to_the_bit():
    layer = faster(layer_on(Conv1D(20, 12)))
    x = torch.randn(7, 12, dtype=torch.float64)
    y, W0 = layer(x), layer.base_layer.weight.clone()
    layer.merge()
    torch.testing.assert_close(layer(x), y, rtol=1e-12, atol=1e-12)  # a float64 base is not rounded to float32
    layer.unmerge()
    assert torch.equal(layer.base_layer.weight, W0) and torch.equal(layer(x), y)


def test_the_input_is_never_written_to():
    for base in (nn.Linear(8, 8), Conv1D(8, 8)):
        layer = faster(layer_on(base))
        x = torch.randn(4, 8, dtype=torch.float64)
        before = x.clone()
        layer(x), layer(x)
        assert torch.equal(x, before)


def test_any_model_of_linear_layers_and_its_files(tmp_path):
    def build():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(6, 9), nn.ReLU(), nn.Linear(9, 2))
        return lora.apply_lora(model, lora.LoraConfig(r=2, target_modules=("0", "2"), init_lora_weights=False))

    plain, fast = build(), build()
    lora.use_fast(fast)
    assert list(fast.state_dict()) == list(plain.state_dict())
    lora.save_adapter(plain, tmp_path / "plain")
    lora.save_adapter(fast, tmp_path / "fast")
    for name in ("adapter_model.safetensors", "adapter_config.json"):
        assert (tmp_path / "plain" / name).read_bytes() == (tmp_path / "fast" / name).read_bytes()
    x = torch.randn(5, 6)
    torch.testing.assert_close(fast(x), plain(x))
    lora.remove_lora(fast)
    assert type(fast[0]) is nn.Linear


@pytest.mark.parametrize("base", [nn.Linear(12, 20), Conv1D(20, 12)], ids=["linear", "conv1d"])
@pytest.mark.parametrize("state", ["one adapter", "two adapters", "merged", "none active", "half base", "no bias"])
def test_the_bare_function_for_few_rows_computes_what_the_layer_does(base, state):
    if state == "no bias":
        base = nn.Linear(12, 20, bias=False)
    layer = faster(layer_on(copy.deepcopy(base), dropout=0.3)).eval()
    if state == "two adapters":
        layer.add_adapter("b", 3, 0.5, 0.0)
        layer.double().active_adapters = ["a", "b"]
        nn.init.normal_(layer.lora_B["b"].weight)
    if state == "merged":
        layer.merge()
    if state == "none active":
        layer.active_adapters = []
    dtype = torch.bfloat16 if state == "half base" else torch.float64
    layer.base_layer.to(dtype)
    for x in (torch.randn(1, 12, dtype=dtype), torch.randn(5, 12, dtype=dtype)):
        with torch.inference_mode():
            torch.testing.assert_close(layer.for_few_rows()(x), layer(x), rtol=0, atol=1e-13)
