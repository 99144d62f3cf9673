"""Ctrl-C in the middle of a run: saved, told how to go on, and no different in the end."""

import dataclasses
import signal

import pytest

import train
from training.errors import Stopped


def test_ctrl_c_saves_after_the_step_and_the_resumed_run_ends_the_same(tiny_base, messages_file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = train.TrainConfig(
        model=str(tiny_base), dataset=str(messages_file), learning_rate=1e-2, max_steps=6, save_strategy="no",
        per_device_train_batch_size=8, device="cpu", precision="fp32", output_dir="whole",
    )  # fmt: skip
    train.main(config)
    plain, steps = train.train_step, []

    def interrupted(*args):
        steps.append(None)
        if len(steps) == 3:
            signal.raise_signal(signal.SIGINT)
        return plain(*args)

    monkeypatch.setattr(train, "train_step", interrupted)
    with pytest.raises(Stopped, match="--resume_from_checkpoint halved") as stopped:
        train.main(dataclasses.replace(config, output_dir="halved"))
    assert stopped.value.exit_code == 130 and len(steps) == 3
    train.main(train.read_settings(["--resume_from_checkpoint", "halved"]))
    assert len(steps) == 6
    file = "adapter/adapter_model.safetensors"
    assert (tmp_path / "whole" / file).read_bytes() == (tmp_path / "halved" / file).read_bytes()
