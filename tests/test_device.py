"""What a GPU would be asked for: torch's meta device has shapes and no numbers, so none can be read from it."""

import contextlib

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

import data
import gpt2
import gpt2.fast
import lora
import train
from training import dropout
from training.device import Place
from training.evaluation import predict
from training.optimization import build_optimizer

META = torch.device("meta")
CONFIG = gpt2.GPT2Config(vocab_size=101, n_positions=16, n_embd=32, n_layer=3, n_head=4, eos_token_id=0)


class Watch(TorchDispatchMode):
    """Counts what is fetched from the device, and refuses operators that mix it with the CPU."""

    def __init__(self):
        super().__init__()
        self.fetched = 0

    def __torch_dispatch__(self, operator, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        leaves = tree_flatten((args, kwargs))[0]
        tensors = [x for x in leaves if isinstance(x, torch.Tensor)]
        if operator.overloadpacket in (torch.ops.aten._to_copy, torch.ops.aten.to, torch.ops.aten.copy_):
            target = next((x for x in leaves if isinstance(x, torch.device)), args[0].device)
            if tensors[-1].device == META and target != META:
                self.fetched += 1
                return torch.zeros_like(tensors[-1], device=target)
        elif any(x.device == META for x in tensors):
            strangers = [x for x in tensors if x.device != META and x.ndim > 0]
            assert not strangers, f"{operator} mixes the device with {[tuple(x.shape) for x in strangers]} of the CPU"
        return operator(*args, **kwargs)


@pytest.fixture
def place(monkeypatch):
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: contextlib.nullcontext())  # torch has none for meta
    monkeypatch.setattr(torch, "is_autocast_enabled", lambda _: False)
    return Place(META, "fp32", "as if it were a GPU")


FORMS = pytest.mark.parametrize("form", ["plain", "fast", "fast, attention by the kernel"], indirect=True)


@pytest.fixture
def form(request, monkeypatch):
    monkeypatch.setattr(gpt2.fast, "flash_works", lambda *_: "kernel" in request.param)
    return request.param


def classifier(form):
    torch.manual_seed(0)
    model = gpt2.GPT2ForSequenceClassification(CONFIG)
    lora.apply_lora(model, lora.LoraConfig(r=4, lora_dropout=0.1, task_type="SEQ_CLS"))
    if form != "plain":
        for part in (gpt2, lora, dropout):
            part.use_fast(model)
    return model.to(META)


def batches(*lengths):
    return [data.collate([[7] * n for n in rows], 0, [n % 2 for n in rows]) for rows in lengths]


@pytest.mark.parametrize("checkpointing", [False, True])
@FORMS
def test_a_training_step_reads_from_the_device_once(place, form, checkpointing):
    model = classifier(form)
    model.transformer.gradient_checkpointing = checkpointing
    optimizer, scaler = build_optimizer(model, 1e-3, 0.01), torch.amp.GradScaler("cpu", enabled=False)
    seen = []
    model.score.modules_to_save["default"].weight.register_hook(lambda grad: seen.append(grad.device))
    with Watch() as watch:
        loss, norm, _ = train.train_step(model.train(), optimizer, scaler, batches([5, 2, 9], [3, 1]), place, 1.0)
    assert watch.fetched == 1 and (loss, norm) == (0.0, 0.0)
    assert seen == [META, META]  # both passes were really made there


@FORMS
def test_an_evaluation_reads_the_logits_of_each_batch_and_nothing_else(place, form):
    numbered = list(zip(([0, 1, 2], [3, 4]), batches([5, 2, 9], [3, 1])))
    with Watch() as watch:
        assert predict(classifier(form), numbered, 5, place).shape == (5, 2)
    assert watch.fetched == 2
