"""What transformers and peft computed once (benchmarks/equality/make_golden.py), for those who have neither installed.

Equal bits are asked for where both sides run on one machine (tests/parity). Another CPU adds up the products of a
matrix in another order, so here a number may differ by `CLOSE` of the largest in its tensor: other instruction sets and
the fast form came to 1.4e-6, the mildest of the mistakes in tests/faults that can show here (erf GELU) to 2e-4.
"""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import data
import gpt2
import lora
import train
from training.device import choose_place
from training.optimization import learning_rate_at, set_learning_rate

HERE = Path(__file__).resolve().parent
RECORD = json.loads((HERE / "golden.json").read_text(encoding="utf-8"))
GOLDEN = load_file(HERE / "expected.safetensors")
LABELS = torch.tensor(RECORD["labels"])
CLOSE = 5e-6


def fast(model):
    for room in (gpt2, lora):
        room.use_fast(model)
    return model


FORMS = {"plain": lambda model: model} | ({"fast": fast} if hasattr(gpt2, "use_fast") else {})


@pytest.fixture(params=FORMS)
def model(request):
    """The golden base with the golden adapter, in one of the forms that this project has of it."""
    model = gpt2.GPT2ForSequenceClassification.from_pretrained(HERE / "base")
    return FORMS[request.param](lora.load_adapter(model, HERE / "adapter", is_trainable=True))


def rows(padding):
    return GOLDEN[f"{padding}/input_ids"], GOLDEN[f"{padding}/attention_mask"]


def assert_close(found, name):
    expected = GOLDEN[name]
    assert found.shape == expected.shape and found.dtype == expected.dtype, name
    distance = float((found.detach() - expected).abs().max() / expected.abs().max())
    assert distance <= CLOSE, f"{name}: {distance:.1e} of its largest number"


@pytest.mark.parametrize("padding", ["none", "right", "left"])
@torch.no_grad()
def test_the_logits_with_the_adapter(model, padding):
    assert_close(model(*rows(padding)).logits, f"{padding}/logits")


@pytest.mark.parametrize("padding", ["none", "right", "left"])
@torch.no_grad()
def test_the_base_model_with_the_adapter_off(model, padding):
    with lora.disable_lora(model):
        assert_close(model.transformer(*rows(padding)).last_hidden_state[:, -1], f"{padding}/hidden")


@torch.no_grad()
def test_the_logits_of_the_merged_model(model):
    lora.merge_lora(model)
    assert_close(model(*rows("right")).logits, "right/logits")


def test_the_gradients_of_everything_that_trains(model):
    model.train()(*rows("right"), labels=LABELS).loss.backward()
    trained = lora.trainable_parameters(model)
    assert len(trained) == sum(name.startswith("gradient/") for name in GOLDEN)
    for name, parameter in trained.items():
        key = name.replace(".default", "").replace(".modules_to_save", "")
        assert_close(parameter.grad, f"gradient/base_model.model.{key}")


def test_steps_of_train_py(model):
    how = RECORD["steps"]
    model.train()
    optimizer, place = (
        train.build_optimizer(model, how["learning_rate"], how["weight_decay"]),
        choose_place("cpu", "fp32"),
    )
    batch = data.Batch(*rows("right"), LABELS)
    losses, norms = [], []
    for step in range(how["steps"]):
        schedule = {"peak": how["learning_rate"], "schedule": how["lr_scheduler_type"]}
        set_learning_rate(optimizer, learning_rate_at(step, how["steps"], **schedule))
        loss, norm, _ = train.train_step(model, optimizer, place.grad_scaler(), [batch], place, how["max_grad_norm"])
        losses, norms = [*losses, loss], [*norms, norm]
    assert_close(torch.tensor(losses), "losses")
    assert_close(torch.tensor(norms), "gradient norms")
    for name, tensor in lora.lora_state_dict(model).items():
        assert_close(tensor, f"trained/{name}")


def test_the_loss_of_the_language_model_and_a_gradient():
    model = gpt2.GPT2LMHeadModel.from_pretrained(HERE / "base")
    loss = model(*rows("right"), labels=GOLDEN["lm/labels"]).loss
    loss.backward()
    assert_close(loss, "lm/loss")
    assert_close(model.transformer.h[0].attn.c_attn.weight.grad, "lm/gradient")


def test_the_golden_files_are_small_and_say_where_they_come_from():
    assert sum(path.stat().st_size for path in HERE.rglob("*.*")) < 200_000
    assert {"torch", "transformers", "peft"} <= set(RECORD["versions"])
    assert RECORD["command"] and RECORD["cpu"] and RECORD["seed"]
