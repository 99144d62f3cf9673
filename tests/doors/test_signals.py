"""Ctrl-C in the middle of a run: saved, told how to go on, and no different in the end."""

import dataclasses
import signal
from pathlib import Path

import pytest

import train
from lora import AdapterError
from tasks.product import product_directory
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
    again = "go on with: python train.py --resume_from_checkpoint halved$"
    with pytest.raises(AdapterError, match=f"no adapter there .*; if its training was stopped, {again}"):
        product_directory(Path("halved"))
    Path("begun").mkdir()
    (Path("begun") / "status.json").write_text("{}")
    with pytest.raises(AdapterError, match="no model .*; its training has saved nothing$"):
        product_directory(Path("begun"))
    train.main(train.read_settings(["--resume_from_checkpoint", "halved"]))
    assert len(steps) == 6
    file = "adapter/adapter_model.safetensors"
    assert (tmp_path / "whole" / file).read_bytes() == (tmp_path / "halved" / file).read_bytes()


@pytest.mark.promise("P8")
def test_a_last_evaluation_is_broken_off_as_often_as_asked_and_then_made_up_for(
    tiny_base, messages_file, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    config = train.TrainConfig(
        model=str(tiny_base), dataset=str(messages_file), learning_rate=1e-2, max_steps=3, save_strategy="no",
        per_device_train_batch_size=8, device="cpu", precision="fp32", output_dir="whole",
    )  # fmt: skip
    train.main(config)
    plain, resume = train.assess, ["--resume_from_checkpoint", "halved"]

    def broken_off(*args):
        signal.raise_signal(signal.SIGHUP)
        return plain(*args)

    with monkeypatch.context() as patch:
        patch.setattr(train, "assess", broken_off)
        with pytest.raises(Stopped, match="stopped after step 3"):
            train.main(dataclasses.replace(config, output_dir="halved"))
        for _ in range(2):
            with pytest.raises(Stopped, match="--resume_from_checkpoint halved") as stopped:
                train.main(train.read_settings(resume))
            assert stopped.value.exit_code == 129 and not (tmp_path / "halved" / "adapter").exists()
    train.main(train.read_settings(resume))
    for file in ("adapter/adapter_model.safetensors", "metrics.jsonl"):
        assert (tmp_path / "whole" / file).read_bytes() == (tmp_path / "halved" / file).read_bytes()
