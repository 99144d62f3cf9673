"""What a run leaves, read back: for both tasks, from a run or its part, with the base that it was trained on."""

import json
import shutil
from pathlib import Path

import pytest
import torch

import gpt2
import lora
import train
from tasks import product
from tasks.product import load_product, product_directory

IDS = torch.tensor([[5, 9, 2, 40, 7]])


@pytest.fixture(scope="module")
def runs(tiny_base, messages_file, tmp_path_factory) -> Path:
    directory = tmp_path_factory.mktemp("runs")
    common = {"model": str(tiny_base), "dataset": str(messages_file), "device": "cpu", "precision": "fp32"}
    common |= {"max_steps": 2, "learning_rate": 1e-2, "fast": False}
    for task in ("classification", "language"):
        for kind in ("lora", "full"):
            name = f"{task}-{kind}"
            train.main(train.TrainConfig(**common, task=task, train=kind, output_dir=str(directory / name)))
    return directory


def logits(model) -> torch.Tensor:
    with torch.no_grad():
        return model.eval()(IDS).logits


@pytest.mark.parametrize("task", ["classification", "language"])
@pytest.mark.parametrize("kind", ["lora", "full"])
def test_a_run_and_the_part_of_it_that_holds_the_product_are_one(runs, task, kind):
    run, part = runs / f"{task}-{kind}", "adapter" if kind == "lora" else "model"
    products = [load_product(path, None, task) for path in (run, run / part)]
    assert product_directory(run) == run / part
    assert torch.equal(*(logits(p.model) for p in products))
    assert all(p.is_adapter == (kind == "lora") and p.record.task == task for p in products)
    want = gpt2.GPT2LMHeadModel if task == "language" else gpt2.GPT2ForSequenceClassification
    assert all(type(p.model) is want for p in products)


@pytest.mark.parametrize("task", ["classification", "language"])
def test_within_base_the_model_is_the_untrained_one_to_the_bit(runs, tiny_base, task):
    loaded = load_product(runs / f"{task}-lora", None, task)
    tuned = logits(loaded.model)
    with loaded.base():
        untrained = logits(loaded.model)
    assert torch.equal(logits(loaded.model), tuned) and not torch.equal(untrained, tuned)
    ends = {"pad_token_id": 0} | ({"id2label": {0: "ham", 1: "spam"}} if task == "classification" else {})
    torch.manual_seed(42)  # train.py's default seed draws the untrained head
    base = type(loaded.model).from_pretrained(tiny_base, **ends)
    assert torch.equal(logits(base), untrained)


def test_the_base_is_the_one_that_training_recorded(runs, tiny_base):
    assert load_product(runs / "language-lora", None, "language").home == tiny_base


def test_a_base_that_has_moved_is_found_only_by_its_weights(runs, tiny_base, tmp_path, monkeypatch):
    shutil.copytree(runs / "language-lora" / "adapter", tmp_path / "adapter")
    path = tmp_path / "adapter" / "task.json"
    values = json.loads(path.read_text())
    path.write_text(json.dumps(values | {"base": values["base"] | {"name": "moved/away"}}))
    with pytest.raises(lora.AdapterError, match="'moved/away'.*fingerprints differ"):
        load_product(tmp_path / "adapter", None, "language")  # the bundled base is another one
    shutil.copytree(tiny_base, tmp_path / "bundled")
    monkeypatch.setattr(product, "BUNDLED", tmp_path / "bundled")
    loaded = load_product(tmp_path / "adapter", None, "language")
    assert loaded.home == tmp_path / "bundled"
    want = load_product(runs / "language-lora", tiny_base, "language")
    assert torch.equal(logits(loaded.model), logits(want.model))


def test_a_broken_adapter_file_is_refused(runs, tmp_path):
    shutil.copytree(runs / "language-lora" / "adapter", tmp_path / "adapter")
    file = tmp_path / "adapter" / "adapter_model.safetensors"
    file.write_bytes(file.read_bytes()[:-40])
    with pytest.raises(lora.AdapterError, match="adapter_model.safetensors"):
        load_product(tmp_path / "adapter", None, "language")
