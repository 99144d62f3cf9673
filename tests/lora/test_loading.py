"""Loading is all or nothing: nothing of a file is built before all of it is compared, and no error leaves a trace."""

import json
import struct

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

import gpt2
import lora
from lora import AdapterError, LoraConfig, apply_lora, lora_state_dict, save_adapter, trainable_parameters
from lora.layer import LoraLayer

pytestmark = pytest.mark.promise("P12")

CONFIG = LoraConfig(r=4, lora_alpha=8, lora_dropout=0.1, target_modules=("c_attn", "wte"), task_type="SEQ_CLS")
PREFIX = "base_model.model."
A = f"{PREFIX}transformer.h.1.attn.c_attn.lora_A.weight"
B = f"{PREFIX}transformer.h.1.attn.c_attn.lora_B.weight"
SCORE = f"{PREFIX}score.weight"


@pytest.fixture
def base(tiny_base):
    torch.manual_seed(3)
    return gpt2.GPT2ForSequenceClassification.from_pretrained(tiny_base)


@pytest.fixture
def adapter(base, tiny_base, tmp_path):
    model = gpt2.GPT2ForSequenceClassification.from_pretrained(tiny_base)
    save_adapter(apply_lora(model, CONFIG), tmp_path / "adapter")
    torch.manual_seed(8)
    return tmp_path / "adapter"


def edit_tensors(directory, **changes):
    path = directory / "adapter_model.safetensors"
    names = {"A": A, "B": B, "SCORE": SCORE}
    save_file(load_file(path) | {names[name]: t for name, t in changes.items()}, path, metadata={"format": "pt"})


def edit_config(directory, **changes):
    path = directory / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def everything(model):
    """All of a model, its tensors and modules by identity, and the random state."""
    return (
        [(path, id(module), module.training, type(module)) for path, module in model.named_modules()],
        [(path, id(p), p.requires_grad) for path, p in model.named_parameters()],
        {path: t.numpy().tobytes() for path, t in model.state_dict().items()},
        {
            path: (dict(m.scaling), list(m.active_adapters))
            for path, m in model.named_modules()
            if isinstance(m, LoraLayer)
        },
        {key: repr(value) for key, value in vars(model).items() if not key.startswith("_") or "lora" in key},
        torch.get_rng_state().tolist(),
    )


class Sizes(TorchDispatchMode):
    """Notes how many numbers the largest tensor has that takes new memory within it: no view, none on meta."""

    largest = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor) and result.device.type != "meta":
            known = {t.untyped_storage().data_ptr() for t in args if isinstance(t, torch.Tensor)}
            if result.untyped_storage().data_ptr() not in known:
                self.largest = max(self.largest, result.numel())
        return result


def refused(model, directory, name="default", limit=4 * 300):
    """The message of a refusal that changed nothing and made no tensor larger than those in the file."""
    before = everything(model)
    with pytest.raises(AdapterError) as caught, Sizes() as sizes:
        lora.load_adapter(model, directory, name)
    assert everything(model) == before
    assert "\n" not in str(caught.value) and sizes.largest <= limit
    return str(caught.value)


def test_a_rank_of_the_config_alone_is_refused_before_anything_of_that_size_is_made(base, adapter):
    for r in (1_000_000, 2**31 - 1, 2**31, 10**30):
        edit_config(adapter, r=r)
        assert f"r={r}" in (message := refused(base, adapter)) or "r must be a whole number" in message


@pytest.mark.parametrize("shape", [(10**9, 0), (0, 10**9), (10**9, 0, 4)])
@pytest.mark.parametrize("name", ["A", "B", "SCORE"])
def test_a_small_file_whose_header_claims_a_giant_shape_is_refused(base, adapter, name, shape):
    edit_tensors(adapter, **{name: torch.zeros(shape)})
    assert {"A": A, "B": B, "SCORE": SCORE}[name] in refused(base, adapter)
    edit_config(adapter, r=10**9)
    assert "says r=1000000000" in refused(base, adapter) or name == "SCORE"


@pytest.mark.parametrize("shape", [[10**9, 10**9], [2**63, 0], [2**62, 2**62, 0]])
def test_a_shape_that_no_memory_holds_is_refused(base, adapter, shape):
    header = json.dumps({A: {"dtype": "F32", "shape": shape, "data_offsets": [0, 0]}}).encode()
    (adapter / "adapter_model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header)
    assert "adapter_model.safetensors" in refused(base, adapter)


def test_a_dtype_that_torch_has_not_is_refused(base, adapter):
    path = adapter / "adapter_model.safetensors"
    header, content = {}, b""
    for name, t in load_file(path).items():
        raw = bytes(t.numel() * 6 // 8) if name == A else t.numpy().tobytes()
        at = [len(content), len(content) + len(raw)]
        header[name] = {"dtype": "F6_E2M3" if name == A else "F32", "shape": list(t.shape), "data_offsets": at}
        content += raw
    packed = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(packed)) + packed + content)
    assert "F6_E2M3" in refused(base, adapter)


def test_a_setting_that_is_there_twice_is_refused(base, adapter):
    path = adapter / "adapter_config.json"
    path.write_text(path.read_text().replace('"r": 4', '"r": 4, "r": 8'))
    assert "'r' is there twice" in refused(base, adapter)


@pytest.mark.parametrize("shape", [(10**9, 0), (2,), (2, 8, 4)])
def test_a_head_that_is_no_matrix_is_refused_before_a_model_for_it_is_built(adapter, shape):
    edit_tensors(adapter, SCORE=torch.zeros(shape))
    with pytest.raises(AdapterError, match="score.weight is .*, not .labels, width."):
        lora.head_shape(adapter)


def test_targets_that_match_nothing_are_refused(base, adapter):
    edit_config(adapter, target_modules=["q_proj"], r=10**9)
    assert "'q_proj' matches nothing" in refused(base, adapter)


def test_a_directory_where_a_file_should_be_is_named(base, adapter):
    for file in ("adapter_model.safetensors", "adapter_config.json"):
        (adapter / file).unlink()
        (adapter / file).mkdir()
        assert str(adapter / file) in refused(base, adapter)


def test_a_key_of_the_file_cannot_break_the_message_into_lines(base, adapter):
    path = adapter / "adapter_model.safetensors"
    save_file(load_file(path) | {"a\nb\x1b[2J": torch.zeros(1)}, path, metadata={"format": "pt"})
    assert "a\\nb\\x1b[2J" in refused(base, adapter)


def test_other_labels_are_not_taken_for_another_rank(tiny_base, adapter):
    model = gpt2.GPT2ForSequenceClassification.from_pretrained(tiny_base, num_labels=4)  # r is 4, too
    assert f"{SCORE} is (2, 32), this model needs (4, 32)" in refused(model, adapter)


def test_a_number_that_is_infinite_only_in_the_models_dtype_is_named(base, adapter):
    edit_tensors(adapter, B=torch.full((96, 4), 1e300, dtype=torch.float64))
    assert B in (message := refused(base, adapter)) and "float32" in message
    edit_tensors(adapter, B=torch.full((96, 4), 1e30, dtype=torch.float64))
    assert lora_state_dict(lora.load_adapter(base, adapter))[B].eq(1e30).all()


def test_a_variant_whose_tensors_are_half_is_not_filled_with_infinity(base, adapter):
    class Half(LoraLayer):
        def add_adapter(self, name, *how):
            super().add_adapter(name, *how)
            self.lora_B[name].half()

    edit_config(adapter, target_modules=["c_attn"])
    path = adapter / "adapter_model.safetensors"
    tensors = {key: t for key, t in load_file(path).items() if "wte" not in key}
    save_file(tensors | {B: torch.full((96, 4), 1e5)}, path)
    before = everything(base)
    with pytest.raises(AdapterError, match=r"lora_B\.weight, float32, holds values .* in torch.float16"):
        lora.load_adapter(base, adapter, layer=Half)
    assert everything(base) == before
    save_file(tensors | {B: torch.full((96, 4), 6e4)}, path)
    assert lora_state_dict(lora.load_adapter(base, adapter, layer=Half))[B].dtype == torch.float16


def test_float8_is_read_as_the_numbers_it_holds(base, adapter):
    values = torch.linspace(-2, 2, 96 * 4).view(96, 4).to(torch.float8_e4m3fn)
    edit_tensors(adapter, B=values)
    assert torch.equal(lora_state_dict(lora.load_adapter(base, adapter))[B], values.float())


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
@pytest.mark.parametrize("second", [False, True], ids=["first adapter", "second adapter"])
def test_an_exception_at_any_step_leaves_the_model_as_it_was(base, adapter, monkeypatch, error, second):
    """The n-th call of what loading is made of fails, for every n."""
    if second:
        apply_lora(base, LoraConfig(r=2, target_modules=("c_attn", "c_proj"), task_type="SEQ_CLS"), "first")
    before, counted = everything(base), {"calls": 0, "fails": 0}

    def failing(owner, name):
        function = getattr(owner, name)

        def call(*args, **kwargs):
            counted["calls"] += 1
            if counted["calls"] == counted["fails"]:
                raise error
            return function(*args, **kwargs)

        monkeypatch.setattr(owner, name, call)

    for owner, name in ((nn.Linear, "__init__"), (nn.ModuleDict, "__setitem__"), (nn.Module, "requires_grad_"),
                        (torch.Tensor, "copy_"), (nn.Parameter, "requires_grad_")):  # fmt: skip
        failing(owner, name)
    while True:
        counted["calls"], counted["fails"] = 0, counted["fails"] + 1
        try:
            lora.load_adapter(base, adapter, "new")
        except error:
            assert everything(base) == before, counted
        else:
            break
    assert counted["fails"] > 40
    assert set(lora_state_dict(base, "new")) == set(load_file(adapter / "adapter_model.safetensors"))


def test_applying_is_all_or_nothing_as_well(base, monkeypatch):
    before = everything(base)
    draw = nn.init.zeros_
    calls = iter([None, None])
    monkeypatch.setattr(nn.init, "zeros_", lambda t: draw(t) if next(calls, "over") is None else 1 / 0)
    with pytest.raises(ZeroDivisionError):
        apply_lora(base, LoraConfig(target_modules=("c_attn", "c_proj")))
    assert everything(base) == before
    assert len(trainable_parameters(base)) == len(list(base.parameters()))


def test_a_refused_adapter_leaves_hooks_and_modes_alone(base, adapter):
    class Recorder(list):
        def note(self, module, inputs, output):
            self.append(output)

    seen = Recorder()
    base.transformer.h[0].attn.c_attn.register_forward_hook(seen.note)
    handle = base.transformer.wte.register_forward_hook(seen.note)
    base(torch.tensor([[1, 2]]))  # what the hook's owner holds now cannot be copied by copy.deepcopy
    base.transformer.h[1].train()
    edit_config(adapter, r=3)
    refused(base, adapter)
    handle.remove()
    base(torch.tensor([[1, 2]]))
    assert len(seen) == 3
