"""--also_test: a second labelled file is scored like the test part, and takes no part in anything else."""

import dataclasses
import json
from pathlib import Path

import pytest

import train
from training.errors import run_door


@pytest.fixture
def config(tiny_base, messages_file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("typed.tsv").write_text("spam\tclaim your prize now\nham\tsee you at ten then\nham\tdinner?\n")
    return train.TrainConfig(
        model=str(tiny_base), dataset=str(messages_file), learning_rate=1e-2, num_train_epochs=3,
        per_device_train_batch_size=8, also_test="typed.tsv", output_dir="run", device="cpu", precision="fp32",
    )  # fmt: skip


def test_a_second_file_is_scored_before_and_after_and_with_the_baselines(config, capsys):
    results = train.main(config)
    also = json.loads(Path("run/results.json").read_text())["also_test"]
    assert also == results["also_test"] and also["dataset"] == "typed.tsv"
    assert [sum(row) for row in also["after"]["confusion_matrix"]] == [2, 1]
    assert {name: m["rows"] for name, m in also["baselines"].items()} == dict.fromkeys(results["baselines"], 3)
    assert also["before"] != also["after"]
    printed = capsys.readouterr().out
    assert printed.count("naive_bayes") == 2 and "typed.tsv, 3 rows that only test" in printed
    assert "typed.tsv" in Path("run/adapter/README.md").read_text()


def test_it_changes_not_a_byte_of_what_is_learned(config):
    train.main(config)
    train.main(dataclasses.replace(config, also_test=None, output_dir="without"))
    with_it, without = (Path(run, "adapter", "adapter_model.safetensors").read_bytes() for run in ("run", "without"))
    assert with_it == without


def test_rows_that_are_trained_on_as_well_are_counted(config, capsys):
    results = train.main(dataclasses.replace(config, also_test=config.dataset))
    assert results["also_test"]["seen"] == results["rows"]["train"] + results["rows"]["val"]
    assert "were trained or chosen on as well" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("line", "words"),
    [("offer\tdinner?", "label offer is not one of ham, spam"), ("ham\t ", "typed.tsv:1: empty text")],
)
def test_a_file_that_does_not_fit_is_refused_in_one_line_before_anything_is_written(config, capsys, line, words):
    Path("typed.tsv").write_text(line + "\n")
    assert run_door(lambda: train.main(config)) == 3
    message = capsys.readouterr().err
    assert words in message and message.count("\n") == 1 and not Path("run").exists()


def test_a_file_of_one_label_is_enough_and_its_counts_are_said(config, capsys):
    Path("typed.tsv").write_text("spam\tclaim your prize now\n")
    train.main(config)
    assert "typed.tsv: 1 rows (0 ham, 1 spam) that only test" in capsys.readouterr().out


def test_a_run_is_resumed_with_another_such_file_or_none(config):
    train.main(config)
    for other in (None, config.dataset):
        again = dataclasses.replace(config, also_test=other, resume_from_checkpoint="run")
        assert ("also_test" in train.main(again)) == (other is not None)


def test_the_presets_own_file_is_left_out_for_a_dataset_of_the_users(config):
    assert train.read_settings([]).also_test == "data/messages/typed.tsv"
    assert train.read_settings(["--dataset", "mine.csv"]).also_test is None
    same = ["--dataset", str(train.ROOT / "data/messages/messages.tsv")]
    assert train.read_settings(same).also_test == "data/messages/typed.tsv"
    assert train.read_settings(["--dataset", "mine.csv", "--also_test", "other.csv"]).also_test == "other.csv"
