"""train.py as its users meet it: learning, files, resuming at any step, accumulation, and errors in one line."""

import dataclasses
import json
from pathlib import Path

import pytest
import torch

import data
import gpt2
import infer
import lora
import train
from training.device import choose_place
from training.errors import UsageError, run_door
from training.optimization import build_optimizer


@pytest.fixture
def config(tiny_base, messages_file, tmp_path, monkeypatch):
    """A run of 12 steps with dropout, accumulation, a short last group and a warm-up."""
    monkeypatch.chdir(tmp_path)
    return train.TrainConfig(
        model=str(tiny_base), dataset=str(messages_file), learning_rate=1e-2, num_train_epochs=4, warmup_steps=2,
        per_device_train_batch_size=8, gradient_accumulation_steps=2, save_strategy="steps", save_steps=1,
        save_total_limit=99, output_dir="run", device="cpu", precision="fp32",
    )  # fmt: skip


def adapter_bytes(run):
    return (run / "adapter" / "adapter_model.safetensors").read_bytes()


def test_a_run_learns_and_leaves_what_house_rules_promise(config, tmp_path):
    results = train.main(config)
    assert results["after"]["accuracy"] > max(results["before"]["accuracy"], 0.8)
    assert results["trainable_parameters"] < results["total_parameters"]
    assert set(results["baselines"]) == {"majority", "digits_regex", "naive_bayes"}
    run = tmp_path / "run"
    assert {p.name for p in (run / "adapter").iterdir()} == {
        "README.md", "adapter_config.json", "adapter_model.safetensors", "task.json"
    }  # fmt: skip
    assert json.loads((run / "results.json").read_text())["after"] == results["after"]
    classifier = infer.load_classifier(run)
    dataset = data.load_texts(data.Source(config.dataset), classifier.rule)
    test = data.split_rows(dataset, **classifier.record.split).test
    said = classifier.probabilities([dataset.texts[row] for row in test], batch_size=3)
    right = sum(max(range(2), key=p.__getitem__) == dataset.labels[row] for p, row in zip(said, test))
    assert right / len(test) == results["after"]["accuracy"]


def test_a_run_resumed_at_any_step_ends_with_the_same_bytes(config, tmp_path):
    steps = train.main(config)["steps"]
    whole = adapter_bytes(tmp_path / "run")
    for step in range(1, steps):
        where = f"run/checkpoints/step-{step:06d}"
        train.main(dataclasses.replace(config, resume_from_checkpoint=where))
        assert adapter_bytes(tmp_path / "run") == whole, f"resumed after step {step}"
    entries = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [e["step"] for e in entries if "grad_norm" in e] == list(range(1, steps + 1))


def test_an_exact_run_resumed_ends_with_the_same_bytes(config, tmp_path):
    """Its one draw per epoch must come neither twice nor never."""
    config = dataclasses.replace(config, exact=True, num_train_epochs=2)
    assert train.main(config)["steps"] == 6
    whole = adapter_bytes(tmp_path / "run")
    for step, where in ((2, "inside an epoch"), (3, "at its end"), (4, "inside the next")):
        train.main(dataclasses.replace(config, resume_from_checkpoint=f"run/checkpoints/step-{step:06d}"))
        assert adapter_bytes(tmp_path / "run") == whole, f"resumed {where}"


def test_an_exact_run_stays_on_the_cpu_where_a_gpu_is_there(config, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert train.main(dataclasses.replace(config, device="auto", exact=True, max_steps=1))["device"] == "cpu"


def test_another_seed_gives_another_adapter_and_the_same_seed_the_same(config, tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        train.main(dataclasses.replace(config, output_dir=name, seed=seed, max_steps=3))
    a, b, c = (adapter_bytes(tmp_path / name) for name in "abc")
    assert a == b != c


def test_a_resumed_run_with_another_learning_rate_is_refused(config):
    train.main(dataclasses.replace(config, max_steps=2))
    with pytest.raises(UsageError, match="learning_rate"):
        train.main(dataclasses.replace(config, max_steps=2, learning_rate=1e-4, resume_from_checkpoint="run"))


@pytest.mark.parametrize("what", ["head", "full"])
def test_head_and_full_keep_a_plain_model(config, tmp_path, what):
    results = train.main(dataclasses.replace(config, train=what, max_steps=3))
    model = gpt2.GPT2ForSequenceClassification.from_pretrained(tmp_path / "run" / "model")
    trained = model.score.weight.numel() if what == "head" else sum(p.numel() for p in model.parameters())
    assert results["trainable_parameters"] == trained
    assert sum(infer.load_classifier(tmp_path / "run").probabilities(["free prize"])[0]) == pytest.approx(1)


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
def test_accumulated_batches_equal_the_large_batch(tiny_base, messages, dtype, bound):
    tokenizer = gpt2.Tokenizer(tiny_base)
    ids = tokenizer.encode_batch([text for _, text in messages])
    labels = [int(label == "spam") for label, _ in messages]

    def weights_after(size):
        torch.manual_seed(0)
        model = gpt2.GPT2ForSequenceClassification.from_pretrained(tiny_base).to(dtype)
        optimizer, place = build_optimizer(model, 1e-3, 0.01), choose_place("cpu", "fp32")
        for group in (range(32), range(32, 64), range(50, 57)):  # the last is short: 7 rows
            rows = list(group)
            parts = [rows[i : i + size] for i in range(0, len(rows), size)]
            batches = [data.collate([ids[r] for r in p], 0, [labels[r] for r in p]) for p in parts]
            train.train_step(model, optimizer, place.grad_scaler(), batches, place, 1.0)
        return torch.cat([p.detach().flatten() for p in model.parameters()])

    large = weights_after(32)
    for size in (16, 8, 4, 1):
        assert (weights_after(size) - large).abs().max() <= bound


@pytest.mark.parametrize(
    ("flags", "code", "words"),
    [
        (["--lerning_rate", "1"], 2, "did you mean --learning_rate"),
        (["--dataset", "missing.csv"], 3, "no such file"),
        (["--encoding", "undefined"], 3, "--encoding undefined"),
        (["--model", "./nowhere"], 4, "config.json"),
        (["--seed", "9" * 20], 2, "below 2**63"),
        (["--lora_r", "0"], 2, "--lora_r 0: must be"),
        (["--target_modules", "c_atn"], 4, "c_attn"),
        (["--preset", "tinny"], 2, "tiny"),
        (["--exact", "--precision", "bf16"], 2, "fp32"),
        (["--exact", "--device", "cuda"], 2, "--exact --device cuda: the bits promised are a CPU's"),
        (["--exact", "--device", "mps"], 2, "--exact --device mps"),
    ],
)
def test_a_mistake_gets_one_line_a_code_and_leaves_nothing(config, capsys, tmp_path, flags, code, words):
    given = ["--model", config.model, "--dataset", config.dataset]
    assert run_door(lambda: train.main(train.read_settings(given + flags))) == code
    message = capsys.readouterr().err
    assert message.startswith("error: ") and message.count("\n") == 1 and words in message
    assert not list(tmp_path.iterdir())


def test_the_room_called_gpt2_is_not_taken_for_the_model_of_that_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert train.locate("gpt2") == "gpt2"
    assert gpt2.read_config(Path(train.locate("assets/gpt2-tiny"))) and Path(train.locate("data/messages/messages.tsv"))


def test_a_second_run_gets_a_name_of_its_own_and_a_first_is_not_overwritten(config, tmp_path):
    short = dataclasses.replace(config, max_steps=1, output_dir=None)
    train.main(short)
    train.main(short)
    assert sorted(p.name for p in (tmp_path / "runs").iterdir()) == ["tiny", "tiny-2"]
    with pytest.raises(UsageError, match="--overwrite"):
        train.main(dataclasses.replace(short, output_dir="runs/tiny"))
    train.main(dataclasses.replace(short, output_dir="runs/tiny", overwrite=True))


def test_the_base_stays_as_it_was(config, tiny_base):
    before = gpt2.fingerprint(gpt2.GPT2Model.from_pretrained(tiny_base).state_dict())
    train.main(dataclasses.replace(config, max_steps=3))
    classifier = infer.load_classifier("run")  # finds the base by its fingerprint
    lora.remove_lora(classifier.model)
    assert gpt2.fingerprint(classifier.model.state_dict()) == before
