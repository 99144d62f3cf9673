"""What is left of the answers when updates are cut; and the pictures of the chapter, drawn from small runs."""

import dataclasses
import json
import re
from xml.etree import ElementTree

import pytest

import infer
import train
from anatomy.cuts import accuracy_by_rank
from anatomy.opened import open_run
from anatomy.report import report
from tasks.classification import Classification
from tasks.evaluate import evaluated, recorded_task
from tests.scripts.loading import script
from training.errors import UsageError

EVAL_SIZE = "per_device_eval_batch_size"


@pytest.fixture(scope="module")
def ranks(runs):
    return {row["rank"]: row for row in accuracy_by_rank(runs / "lora", runs / "full", (0, 2, 4, 32, None))}


def test_uncut_both_runs_answer_as_they_ended(ranks, runs):
    for name, rank in (("lora", 4), ("full", 32)):
        results = json.loads((runs / name / "results.json").read_text())
        assert ranks[rank][name] == results["after"]["accuracy"]
        assert ranks[None][name] == results["after"]["accuracy"]
    assert "lora" not in ranks[32], "it has no 32 directions"


def test_each_run_is_scored_as_it_scored_itself(runs, tiny_base, messages_file, tmp_path, monkeypatch):
    settings = {"model": str(tiny_base), "dataset": str(messages_file), "device": "cpu", "precision": "bf16"}
    settings |= {"max_steps": 2, "per_device_eval_batch_size": 5, "test_size": 0.4, "output_dir": str(tmp_path / "run")}
    train.main(train.TrainConfig(**settings))
    asked, scores = set(), Classification.scores

    def noted(self, part, model, batch_size, place):
        asked.add((place.precision, batch_size))
        return scores(self, part, model, batch_size, place)

    monkeypatch.setattr(Classification, "scores", noted)
    row = accuracy_by_rank(tmp_path / "run", runs / "full", [None])[0]
    assert asked == {("bf16", 5), ("fp32", json.loads((runs / "full" / "results.json").read_text())[EVAL_SIZE])}
    assert row["lora"] == json.loads((tmp_path / "run" / "results.json").read_text())["after"]["accuracy"]


def test_cut_to_nothing_lora_is_the_base_with_the_trained_head(ranks, runs):
    opened = open_run(runs / "lora", device="cpu")
    task = recorded_task(opened.classifier)
    for layer in opened.layers.values():
        layer.active_adapters = []
    assert ranks[0]["lora"] == task.scores("test", opened.model, 64, opened.place)["accuracy"]


def test_the_chapters_tables_and_pictures_are_made_of_two_runs(runs, tmp_path, capsys):
    module = script("draw_learned")
    settings = {"run": str(runs / "lora"), "full": str(runs / "full"), "images": str(tmp_path)}
    module.main(module.LearnedConfig(**settings))
    out = capsys.readouterr().out
    assert re.search(r"^update cut to rank .* whole$", out, re.MULTILINE)
    assert re.search(r"^h.1.mlp.c_proj +\d", out, re.MULTILINE) and "LoRA: accuracy" in out
    drawn = re.findall(r"written to .*/(\S+)\.svg", out)
    assert drawn == ["spectra", "update-map", "growth", "ranks", "length", "memory"]
    for name in drawn:
        root = ElementTree.parse(tmp_path / f"{name}.svg").getroot()
        assert root.attrib["role"] == "img" and len(root.find("{*}desc").text) > 20
    values = len(report(runs / "lora")["updates"][0]["singular_values"])
    assert f"the {values} singular values of LoRA" in (tmp_path / "spectra.svg").read_text()
    assert "tiny-base0, 32 rows in one pass" in (tmp_path / "memory.svg").read_text()


def test_what_a_picture_lacks_is_named(runs, tmp_path):
    module = script("draw_learned")
    told = {"head": "missing: the updates of .*/head beside it$", "full": "missing: gradients over its snapshots$"}
    told["writer"] = "missing: the updates .*test rows, which a writer has not$"
    for name, full in (("lora", "head"), ("full", "full"), ("writer", "full")):
        missing = told[full if name == "lora" else name]
        with pytest.raises(UsageError, match=missing):
            module.main(module.LearnedConfig(str(runs / name), str(runs / full), str(tmp_path)))


@pytest.fixture(scope="module")
def topics(tiny_base, messages, tmp_path_factory):
    """Runs of three labels, with LoRA and with whole weights."""
    directory = tmp_path_factory.mktemp("topics")
    names = ("ham", "spam", "other")
    rows = [f"{names[i % 3]}\t{text}\n" for i, (_, text) in enumerate(messages)]
    (directory / "topics.tsv").write_text("".join(rows))
    settings = {"model": str(tiny_base), "dataset": str(directory / "topics.tsv"), "device": "cpu", "max_steps": 2}
    settings |= {"precision": "fp32", "test_size": 0.4, "snapshots": 2}
    for kind in ("lora", "full"):
        train.main(train.TrainConfig(**settings, train=kind, output_dir=str(directory / kind)))
    return directory


def test_the_threshold_that_was_chosen_is_on_the_curve_with_its_scores(runs):
    scores = report(runs / "lora")["evaluation"]
    curve, chosen = scores["threshold_curve"], scores["best_threshold"]["threshold"]
    assert [row["threshold"] for row in curve] == sorted({chosen, *(number / 50 for number in range(1, 50))})
    known = infer.load_classifier(runs / "lora", device="cpu", precision="fp32")
    task = recorded_task(known)
    after = evaluated(dataclasses.replace(known, threshold=chosen), task, task, 64)["after_threshold"]
    assert next(row for row in curve if row["threshold"] == chosen)["f1"] == after["f1"]


def test_runs_of_other_labels_are_not_compared(runs, topics):
    told = "has the labels ham, spam, .*topics.*/lora ham, other, spam; give a run of the same"
    with pytest.raises(UsageError, match=told):
        accuracy_by_rank(topics / "lora", runs / "full", [0])
    found = report(topics / "lora", full=runs / "full")
    assert found["full"] is None and any(re.search(told, note) for note in found["notes"])


def test_of_three_labels_all_but_the_picture_of_one_label_is_drawn(topics, tmp_path, capsys):
    module = script("draw_learned")
    module.main(module.LearnedConfig(str(topics / "lora"), str(topics / "full"), str(tmp_path)))
    capsys.readouterr()
    drawn = {"spectra", "update-map", "growth", "ranks", "memory"}
    assert {path.stem for path in tmp_path.glob("*.svg")} == drawn
