"""Runs to be looked at, made once: a classifier with copies over time, a writer, the head alone, whole weights."""

import pytest

import train


@pytest.fixture(scope="session")
def runs(tiny_base, messages_file, tmp_path_factory):
    """A directory with the runs `lora`, `head`, `full` and `writer`, of eight steps each."""
    directory = tmp_path_factory.mktemp("anatomy")
    common = {"model": str(tiny_base), "dataset": str(messages_file), "device": "cpu", "precision": "fp32"}
    common |= {"max_steps": 8, "learning_rate": 2e-2, "per_device_train_batch_size": 8, "snapshots": 3}
    common |= {"lora_r": 4, "target_modules": ("wte", "c_attn", "c_proj", "c_fc"), "test_size": 0.4}
    kinds = {"lora": {}, "head": {"train": "head"}, "full": {"train": "full", "learning_rate": 1e-3}}
    kinds["writer"] = {"task": "language", "target_modules": ("c_attn", "c_proj", "lm_head")}
    for name, changes in kinds.items():
        train.main(train.TrainConfig(**(common | changes), output_dir=str(directory / name)))
    return directory


@pytest.fixture(scope="session")
def bundled(tmp_path_factory):
    """A short run of the default settings, for what must not take long."""
    run = tmp_path_factory.mktemp("bundled") / "run"
    train.main(train.read_settings(["--output_dir", str(run), "--max_steps", "20", "--device", "cpu"]))
    return run
