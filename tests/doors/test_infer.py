"""infer.py as its users meet it: files in and out, samples, merged models, and a base that must be the right one."""

import json
import shutil

import pytest
import torch

import gpt2
import infer
import train
from training.errors import run_door


@pytest.fixture(scope="module")
def run(tiny_base, messages_file, tmp_path_factory):
    directory = tmp_path_factory.mktemp("runs") / "run"
    settings = {"model": str(tiny_base), "dataset": str(messages_file), "device": "cpu", "precision": "fp32"}
    train.main(train.TrainConfig(**settings, learning_rate=1e-2, max_steps=4, output_dir=str(directory)))
    return directory


def door(**settings):
    return run_door(lambda: infer.main(infer.InferConfig(device="cpu", **settings)))


@pytest.mark.promise("P14")
def test_a_row_out_for_each_row_in_in_order(run, messages, messages_file, tmp_path):
    assert door(adapter=str(run), input=str(messages_file), output=str(tmp_path / "out.jsonl"), batch_size=3) == 0
    answers = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [answer["text"] for answer in answers] == [text for _, text in messages]
    assert all(sum(answer["probabilities"].values()) == pytest.approx(1, abs=1e-5) for answer in answers)


@pytest.mark.promise("P6")
def test_the_batch_a_text_is_in_does_not_change_its_answer(run, messages):
    classifier = infer.load_classifier(run, device="cpu")
    texts = [text for _, text in messages]
    together = torch.tensor(classifier.probabilities(texts, batch_size=64))
    alone = torch.tensor(classifier.probabilities(texts, batch_size=1))
    assert (together - alone).abs().max() < 1e-6


@pytest.mark.promise("P14")
def test_an_error_in_the_middle_names_the_row_and_leaves_no_output(run, tmp_path, capsys):
    (tmp_path / "in.txt").write_text("one\n\ntwo\n")
    assert door(adapter=str(run), input=str(tmp_path / "in.txt"), output=str(tmp_path / "out.csv")) == 3
    assert "in.txt:2: empty text" in capsys.readouterr().err
    assert [p.name for p in tmp_path.iterdir()] == ["in.txt"]


@pytest.mark.parametrize(
    "learned, name, content, more",
    [
        ("tweet", "in.csv", "id,tweet,text\n1,a b,x\n2,c d,y\n", {}),
        ("tweet", "in.tsv", "id\ttweet\n1\ta b\n2\tc d\n", {}),
        ("tweet", "in.jsonl", '{"id": 1, "tweet": "a b"}\n{"id": 2, "tweet": "c d"}\n', {}),
        ("tweet", "in.csv", "id,text\n1,a b\n2,c d\n", {}),
        ("tweet", "in.csv", "id,tweet,other\n1,x,a b\n2,y,c d\n", {"text_column": ("other",)}),
        ("3", "in.csv", "1,ham,a b\n2,spam,c d\n", {"header": False}),
        ("3", "in.csv", "3,text\n1,a b\n2,c d\n", {"text_column": ("text",)}),
    ],
)
def test_the_column_that_was_learned_from_is_read_where_a_file_has_it(run, tmp_path, learned, name, content, more):
    shutil.copytree(run / "adapter", tmp_path / "adapter")
    record = json.loads((tmp_path / "adapter" / "task.json").read_text())
    record["dataset"]["text_column"] = learned
    (tmp_path / "adapter" / "task.json").write_text(json.dumps(record))
    (tmp_path / name).write_text(content)
    files = {"input": str(tmp_path / name), "output": str(tmp_path / "out.jsonl")}
    assert door(adapter=str(tmp_path / "adapter"), **files, **more) == 0
    answers = (tmp_path / "out.jsonl").read_text().splitlines()
    assert [json.loads(answer)["text"] for answer in answers] == ["a b", "c d"]


def test_a_sample_shows_truth_base_and_tuned(run, capsys):
    assert door(adapter=str(run), sample=5) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 7 and lines[1].split() == ["truth", "base", "tuned", "text"]


def test_a_merged_model_answers_as_the_adapter_does(run, tmp_path):
    assert door(adapter=str(run), save_merged=str(tmp_path / "merged")) == 0
    texts = ["free prize draw", "see you at nine"]
    tuned, merged = (
        infer.load_classifier(path, device="cpu").probabilities(texts) for path in (run, tmp_path / "merged")
    )
    assert torch.tensor(tuned).sub(torch.tensor(merged)).abs().max() < 1e-5
    assert door(adapter=str(run), save_merged=str(tmp_path / "merged")) == 2


def test_another_base_is_refused_and_nothing_is_downloaded_for_a_name(run, tiny_base, tmp_path, capsys):
    other = tmp_path / "other"
    shutil.copytree(tiny_base, other)
    torch.manual_seed(9)
    gpt2.GPT2LMHeadModel(gpt2.read_config(other)).save_pretrained(other)
    assert door(adapter=str(run), model=str(other), texts=("hi",)) == 4
    assert "fingerprints differ" in capsys.readouterr().err
    shutil.copytree(run / "adapter", tmp_path / "adapter")
    record = json.loads((tmp_path / "adapter" / "task.json").read_text())
    record["base"]["name"] = "evil/x"
    (tmp_path / "adapter" / "task.json").write_text(json.dumps(record))
    assert door(adapter=str(tmp_path / "adapter"), texts=("hi",)) == 4
    assert "evil/x" in capsys.readouterr().err


@pytest.mark.promise("P16")
@pytest.mark.parametrize(
    ("settings", "code", "words"),
    [({"texts": ("hi",)}, 2, "--adapter"), ({"adapter": ".", "texts": ("hi",)}, 4, "no adapter there")],
)
def test_a_mistake_gets_one_line_and_a_code(tmp_path, monkeypatch, capsys, settings, code, words):
    monkeypatch.chdir(tmp_path)
    assert door(**settings) == code
    assert words in capsys.readouterr().err
