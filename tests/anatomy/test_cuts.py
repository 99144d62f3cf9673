"""What is left of the answers when updates are cut; and the pictures of the chapter, drawn from small runs."""

import json
import re
from xml.etree import ElementTree

import pytest

from anatomy.cuts import accuracy_by_rank
from anatomy.opened import open_run
from tasks.evaluate import recorded_task
from tests.scripts.loading import script
from training.errors import UsageError


@pytest.fixture(scope="module")
def ranks(runs):
    return {row["rank"]: row for row in accuracy_by_rank(runs / "lora", runs / "full", (0, 2, 4, 32))}


def test_uncut_both_runs_answer_as_they_ended(ranks, runs):
    for name, rank in (("lora", 4), ("full", 32)):
        results = json.loads((runs / name / "results.json").read_text())
        assert ranks[rank][name] == results["after"]["accuracy"]
    assert "lora" not in ranks[32], "it has no 32 directions"


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
    assert re.search(r"^h.1.mlp.c_proj +\d", out, re.MULTILINE) and "LoRA: accuracy" in out
    drawn = re.findall(r"written to .*/(\S+)\.svg", out)
    assert drawn == ["spectra", "update-map", "growth", "ranks", "length", "memory"]
    for name in drawn:
        root = ElementTree.parse(tmp_path / f"{name}.svg").getroot()
        assert root.attrib["role"] == "img" and len(root.find("{*}desc").text) > 20
    with pytest.raises(UsageError, match="not all of it can be drawn"):
        module.main(module.LearnedConfig(**settings | {"full": str(runs / "head")}))
