"""A variant of LoRA is one class, given where an adapter is put in: nothing else of lora/ has to know it."""

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

import gpt2
import lora
from lora.layer import LoraLayer
from lora.targets import lora_layer


class MagnitudeLora(LoraLayer):
    """rsLoRA (by LoraConfig's use_rslora) whose update has a learned size m for each output: h = W0 x + m s B A x."""

    def __init__(self, base_layer: nn.Module):
        super().__init__(base_layer)
        self.lora_magnitude = nn.ParameterDict()

    def add_adapter(self, name: str, r: int, scaling: float, dropout: float, init: bool | str = True) -> None:
        super().add_adapter(name, r, scaling, dropout, init)
        self.lora_magnitude[name] = nn.Parameter(torch.ones_like(self.lora_B[name].weight[:, 0]))

    def forward(self, x: Tensor) -> Tensor:  # (..., in) -> (..., out)
        h = self.base_layer(x)
        for name in self.adapters_in_use():
            A, B, m = self.lora_A[name], self.lora_B[name], self.lora_magnitude[name]
            h = h + m * B(A(self.lora_dropout[name](x))) * self.scaling[name]
        return h

    def delta_weight(self, name: str) -> Tensor:
        delta, m = super().delta_weight(name), self.lora_magnitude[name]
        return delta * (m if self.transposed else m[:, None])


CONFIG = lora.LoraConfig(r=4, lora_alpha=8, target_modules=("c_attn", "c_proj"), task_type="SEQ_CLS", use_rslora=True)
IDS = torch.tensor([[5, 17, 80, 3, 42], [7, 7, 9, 1, 0]])
LABELS = torch.tensor([1, 0])
M = "base_model.model.transformer.h.1.attn.c_attn.lora_magnitude"


def base(tiny_base):
    torch.manual_seed(3)
    return gpt2.GPT2ForSequenceClassification.from_pretrained(tiny_base)


def logits(model):
    with torch.no_grad():
        return model.eval()(IDS).logits


def train(model, steps=8):
    """The loss before each step; the model is tuned afterwards."""
    optimizer = torch.optim.AdamW(lora.trainable_parameters(model.train()).values(), lr=0.02)
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = model(IDS, labels=LABELS).loss
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


@pytest.fixture
def tuned(tiny_base):
    model = lora.apply_lora(base(tiny_base), CONFIG, layer=MagnitudeLora)
    train(model)
    return model


def test_it_begins_as_the_base_and_all_it_has_trains(tiny_base, capsys):
    model = base(tiny_base)
    plain = logits(model)
    lora.apply_lora(model, CONFIG, layer=MagnitudeLora)
    assert torch.equal(logits(model), plain)
    trains = lora.trainable_parameters(model)
    ours = [name for name in trains if ".lora_magnitude." in name]
    assert len(ours) == 6 and len(trains) == 3 * 6 + 1
    lora.print_trainable_parameters(model)
    assert f"trainable params: {sum(p.numel() for p in trains.values()):,d} " in capsys.readouterr().out
    before = {name: trains[name].clone() for name in ours}
    losses = train(model)
    assert losses[-1] < losses[0] / 2
    for name in ours:
        assert trains[name].grad.any() and not torch.equal(trains[name], before[name]), name


def test_it_goes_through_a_file_to_the_bit(tuned, tiny_base, tmp_path):
    lora.save_adapter(tuned, tmp_path)
    assert torch.equal(load_file(tmp_path / "adapter_model.safetensors")[M], lora.lora_state_dict(tuned)[M])
    loaded = lora.load_adapter(base(tiny_base), tmp_path, is_trainable=True, layer=MagnitudeLora)
    assert list(lora.lora_state_dict(loaded)) == list(lora.lora_state_dict(tuned))
    assert torch.equal(logits(loaded), logits(tuned))
    assert list(lora.trainable_parameters(loaded)) == list(lora.trainable_parameters(tuned))


def test_a_file_of_it_is_refused_where_plain_lora_is_meant_and_the_other_way_round(tuned, tiny_base, tmp_path):
    lora.save_adapter(tuned, tmp_path / "variant")
    with pytest.raises(lora.AdapterError, match="not part of this model: .*lora_magnitude"):
        lora.load_adapter(base(tiny_base), tmp_path / "variant")
    lora.save_adapter(lora.apply_lora(base(tiny_base), CONFIG), tmp_path / "plain")
    with pytest.raises(lora.AdapterError, match="missing: .*lora_magnitude"):
        lora.load_adapter(base(tiny_base), tmp_path / "plain", layer=MagnitudeLora)


def test_it_is_merged_and_comes_apart_to_the_bit(tuned):
    answers, weights = logits(tuned), {name: t.clone() for name, t in tuned.state_dict().items()}
    lora.merge_lora(tuned)
    torch.testing.assert_close(logits(tuned), answers, rtol=0, atol=1e-5)
    lora.unmerge_lora(tuned)
    assert all(torch.equal(t, weights[name]) for name, t in tuned.state_dict().items())
    merged = lora.merge_and_unload(tuned)
    torch.testing.assert_close(logits(merged), answers, rtol=0, atol=1e-5)
    assert not any(isinstance(module, LoraLayer) for module in merged.modules())


def test_it_is_disabled_switched_and_deleted(tuned, tiny_base):
    plain, answers = logits(base(tiny_base)), logits(tuned)
    with lora.disable_lora(tuned):
        assert torch.equal(logits(tuned), plain)
    assert torch.equal(logits(tuned), answers) and not torch.equal(answers, plain)
    lora.apply_lora(tuned, CONFIG, "second", layer=MagnitudeLora)
    lora.set_adapter(tuned, "second")
    magnitudes = [name for name in lora.trainable_parameters(tuned) if ".lora_magnitude." in name]
    assert len(magnitudes) == 6 and all(name.endswith(".second") for name in magnitudes)
    lora.delete_adapter(tuned, "second")
    assert not any("second" in name for name, _ in tuned.named_parameters())
    lora.delete_adapter(tuned, "default")
    assert torch.equal(logits(tuned), plain) and type(tuned.transformer.h[0].attn.c_attn).__name__ == "Conv1D"


def test_the_fast_form_leaves_it_as_it_is(tuned):
    answers = logits(tuned)
    lora.use_fast(tuned), gpt2.use_fast(tuned)
    assert type(tuned.transformer.h[0].attn.c_attn) is MagnitudeLora
    torch.testing.assert_close(logits(tuned), answers, rtol=0, atol=1e-5)


def test_one_model_can_mix_it_with_plain_lora(tiny_base):
    def choose(layer):
        return MagnitudeLora(layer) if MagnitudeLora.wraps(layer) else lora_layer(layer)

    config = lora.LoraConfig(target_modules=("wte", "c_attn"), task_type="SEQ_CLS")
    model = lora.apply_lora(base(tiny_base), config, layer=choose)
    assert type(model.transformer.wte).__name__ == "LoraEmbedding"
    losses = train(model)
    assert losses[-1] < losses[0] / 2


def test_a_layer_it_does_not_go_on_and_one_that_is_wrapped_otherwise_are_refused(tiny_base):
    model = base(tiny_base)
    with pytest.raises(lora.AdapterError, match="wte' is a Embedding; MagnitudeLora does not go on a Embedding"):
        lora.apply_lora(model, lora.LoraConfig(target_modules=("wte",)), layer=MagnitudeLora)
    lora.apply_lora(model, CONFIG)
    with pytest.raises(lora.AdapterError, match="wrapped as LoraLayer already, not MagnitudeLora"):
        lora.apply_lora(model, CONFIG, "second", layer=MagnitudeLora)
    assert list(model.peft_config) == ["default"]
