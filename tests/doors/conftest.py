"""A model that writes something, and generate.py as it is called, for the tests of it."""

from pathlib import Path

import pytest
import torch

import generate
import gpt2
import train
from training.errors import run_door


@pytest.fixture(scope="session")
def lively_base(tiny_base, tmp_path_factory) -> Path:
    """The tiny base with larger weights: a fresh model has nearly flat logits and says one token for ever."""
    directory = tmp_path_factory.mktemp("base")
    torch.manual_seed(0)
    model = gpt2.GPT2LMHeadModel.from_pretrained(tiny_base)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.add_(torch.randn_like(parameter) * (1.0 if "wpe" in name else 0.1 if "bias" in name else 0.3))
    model.save_pretrained(directory)
    gpt2.Tokenizer(tiny_base).save_pretrained(directory)
    return directory


@pytest.fixture(scope="session")
def writers(lively_base, messages_file, tmp_path_factory) -> Path:
    """A directory with runs on that base: `writer`, `wte` (LoRA on the embedding, too) and `full`."""
    directory = tmp_path_factory.mktemp("runs")
    common = {"task": "language", "model": str(lively_base), "dataset": str(messages_file), "device": "cpu"}
    common |= {"precision": "fp32", "max_steps": 6, "learning_rate": 5e-2, "per_device_train_batch_size": 8}
    for name, changes in (("writer", {}), ("wte", {"target_modules": ("wte", "c_attn")}), ("full", {"train": "full"})):
        train.main(train.TrainConfig(**(common | changes), output_dir=str(directory / name)))
    return directory


@pytest.fixture
def door(writers, capsys):
    """door(flags): (exit code, what is printed, what is said on stderr)."""

    def run(*flags, adapter="writer"):
        argv = ["--device", "cpu", *(["--adapter", str(writers / adapter)] if adapter else []), *map(str, flags)]
        about = {"prog": "generate.py", "description": ""}
        code = run_door(lambda: generate.main(generate.parse(generate.GenerateConfig, argv, **about)))
        return code, *capsys.readouterr()

    return run


@pytest.fixture
def written(door):
    """written(flags): what is printed by a call in which all goes well; 12 tokens, unless it asks for others."""

    def run(*flags, **where):
        code, out, err = door("--max_new_tokens", 12, *flags, **where)
        assert (code, err) == (0, "")
        return out

    return run
