"""What is typed wrong is told in one line, with exit code 2, before anything is loaded."""

import os
import re
import typing

import pytest
import torch

import train
from tests.strangers.doors import refusal
from training.errors import UsageError

pytestmark = pytest.mark.promise("P16")

# No model, data set or adapter is there: a door that looked for one first would say so.
NOWHERE = {
    "train.py": ["--model", "no/such/model", "--dataset", "nowhere.tsv"],
    "infer.py": ["--adapter", "no/such/adapter"],
    "generate.py": ["--adapter", "no/such/adapter"],
}
NO_TRAINING = {
    "lora_r": ["0", "-1", "2147483648", "1.5", "nan"],
    "lora_alpha": ["0", "-1", "nan", "inf", "1e400"],
    "lora_dropout": ["1", "-0.1", "nan", "2"],
    "test_size": ["0", "1", "2", "-0.5", "nan"],
    "val_size": ["1", "-0.1", "nan"],
    "learning_rate": ["-1", "nan", "inf"],
    "weight_decay": ["-1", "nan"],
    "warmup_steps": ["-1", "-0.1", "nan", "inf"],
    "max_grad_norm": ["-1", "nan"],
    "num_train_epochs": ["0", "-1", "0.5"],
    "max_steps": ["0", "-2"],
    "max_train_rows": ["0", "-1"],
    "max_length": ["0", "-1"],
    "per_device_train_batch_size": ["0", "-1"],
    "per_device_eval_batch_size": ["0"],
    "gradient_accumulation_steps": ["0"],
    "seed": ["-1", "9223372036854775808"],
    "split_seed": ["-1"],
    "eval_steps": ["0"],
    "save_steps": ["0", "-5"],
    "save_total_limit": ["0", "-1"],
    "logging_steps": ["0"],
    "snapshots": ["-1", "10000"],
    "target_modules": ["", " "],
    "ddp_timeout": ["0", "-1", "nan", "1e9"],
}
NO_ANSWERS = {"batch_size": ["0", "-1"], "sample": ["0", "-2"], "seed": ["-1"], "output": ["x.xlsx", "out"]}
NO_TEXTS = {
    "max_new_tokens": ["0", "-1"], "temperature": ["0", "-1", "nan", "inf"], "top_k": ["0"], "top_p": ["0", "1.5"],
    "repetition_penalty": ["0", "inf"], "num_return_sequences": ["0"], "seed": ["-1", "9223372036854775808"],
}  # fmt: skip
WRONG = [("train.py", flag, value) for flag, values in NO_TRAINING.items() for value in values]
WRONG += [("infer.py", flag, value) for flag, values in NO_ANSWERS.items() for value in values]
WRONG += [("generate.py", flag, value) for flag, values in NO_TEXTS.items() for value in values]


@pytest.mark.parametrize(("door", "flag", "value"), WRONG)
def test_a_value_that_makes_no_sense_is_told_with_its_flag_before_anything_is_loaded(door, flag, value):
    assert f"--{flag}" in refusal(door, [*NOWHERE[door], f"--{flag}={value}"], 2)


def test_every_number_of_a_training_is_looked_at():
    fields = typing.get_type_hints(train.TrainConfig).items()
    assert {name for name, kind in fields if kind in (int, float, int | None)} <= set(NO_TRAINING)


@pytest.mark.parametrize(
    ("door", "flags", "words"),
    [
        ("train.py", ["--task", "language", "--max_length", "1"], "so 2 at least"),
        (
            "train.py",
            ["--output_dir", os.fsdecode(b"run-\xff")],
            r"--output_dir 'run-\udcff': holds bytes that are not",
        ),
        (
            "train.py",
            ["--dataset", os.fsdecode(b"\xe9.tsv")],
            r"--dataset '\udce9.tsv': holds bytes that are not UTF-8",
        ),
        ("train.py", ["--dataset", "a\0.tsv"], r"--dataset 'a\x00.tsv': holds bytes that are not UTF-8, or byte 0"),
        ("infer.py", ["--save_merged", "."], "--save_merged .: exists and is not empty"),
        ("infer.py", ["--device", "mps", "hi"], "--device mps: torch"),
        ("generate.py", ["--device", "mps", "hi"], "--device mps: torch"),
        ("generate.py", ["--compare", "--merge"], "leave out one of the two"),
    ],
)
def test_flags_that_cannot_be_used_together_or_here_are_told_first_too(door, flags, words, monkeypatch):
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert words in refusal(door, [*NOWHERE[door], *flags], 2)


def test_what_makes_sense_at_the_edge_is_taken():
    edges = {
        "lora_r": 1,
        "lora_alpha": 1e-9,
        "lora_dropout": 0.0,
        "val_size": 0.0,
        "warmup_steps": 0.0,
        "max_steps": -1,
    }
    edges |= {"learning_rate": 0.0, "max_grad_norm": 0.0, "seed": 2**63 - 1, "test_size": 0.999, "max_length": 1}
    train.TrainConfig(**edges)


def test_a_preset_is_held_to_the_same_ranges(tmp_path):
    (tmp_path / "mine.toml").write_text("target_modules = []\n")
    with pytest.raises(UsageError, match="--target_modules: names no layer"):
        train.read_settings(["--preset", str(tmp_path / "mine.toml")])


def test_a_preset_that_is_nested_too_deep_gets_one_line(tmp_path):
    (tmp_path / "deep.toml").write_text("a = " + "[" * 100_000)
    assert "cannot be read as TOML" in refusal("train.py", ["--preset", tmp_path / "deep.toml"], 2)


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        ("--test_file", "; there are --test_dataset, "), ("--testset", "; there are --test_size, --test_dataset"),
        ("--sep", "; did you mean --delimiter?"), ("--seperator", "; did you mean --delimiter?"),
        ("--csv", "; did you mean --dataset?"), ("--data", "; did you mean --dataset?"),
    ],
)  # fmt: skip
def test_a_flag_of_another_tool_leads_to_ours(typed, told):
    with pytest.raises(UsageError, match=re.escape(f"unknown flag {typed}{told}")):
        train.read_settings([typed, "x"])
