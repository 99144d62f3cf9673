"""Other tasks than two labels and LoRA: three labels end to end, and what --train head and full leave for infer.py."""

import json
from pathlib import Path

import pytest
from safetensors.torch import load_file

import data
import gpt2
import infer
import train
from training.errors import run_door

NAMES = ["chat", "news", "spam"]
WORDS = {"spam": "winner claim your prize now", "chat": "mum says dinner is at", "news": "urgent account is locked on"}
NUMBERS = ["seven", "eight", "nine", "ten", "eleven", "twelve", "thirteen", "fourteen", "six", "five", "four", "two"]


@pytest.fixture(scope="module")
def settings(tiny_base, tmp_path_factory):
    """36 rows of three labels, the last in the alphabet first."""
    directory = tmp_path_factory.mktemp("labels")
    rows = [{"body": f"{words} {n}", "topic": label} for n in NUMBERS for label, words in WORDS.items()]
    (directory / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return {
        "model": str(tiny_base), "dataset": str(directory / "rows.jsonl"), "learning_rate": 1e-2, "max_steps": 24,
        "text_column": "body", "label_column": "topic", "per_device_train_batch_size": 8, "device": "cpu",
        "precision": "fp32", "output_dir": str(directory / "run"), "test_size": 0.25,
    }  # fmt: skip


@pytest.fixture(scope="module")
def three(settings):
    return train.main(train.TrainConfig(**settings)), settings["output_dir"]


def test_three_labels_are_learned_and_scored_by_macro_averages(three):
    results, _ = three
    assert results["after"]["accuracy"] > 0.8 > results["baselines"]["majority"]["accuracy"]
    for scores in (results["before"], results["after"], *results["baselines"].values()):
        matrix = scores["confusion_matrix"]
        f1 = 0.0
        for i in range(3):
            called, real = sum(row[i] for row in matrix), sum(matrix[i])
            f1 += 2 * matrix[i][i] / (called + real) / 3 if called + real else 0
        assert scores["f1"] == pytest.approx(f1)
        assert scores["accuracy"] == sum(matrix[i][i] for i in range(3)) / results["rows"]["test"]
    assert [sum(row) for row in results["after"]["confusion_matrix"]] == [3, 3, 3]


def test_the_names_of_the_labels_are_kept_in_their_order(three):
    _, run = three
    assert json.loads(Path(run, "adapter", "task.json").read_text())["label_names"] == NAMES
    assert load_file(f"{run}/adapter/adapter_model.safetensors")["base_model.model.score.weight"].shape == (3, 32)
    classifier = infer.load_classifier(run, device="cpu")
    texts = [f"{words} nine" for words in WORDS.values()]
    assert [classifier.label(p) for p in classifier.probabilities(texts)] == list(WORDS)


def test_infer_prints_the_probability_of_every_label(three, tmp_path):
    _, run = three
    for suffix in ("jsonl", "csv"):
        config = infer.InferConfig(adapter=run, texts=("winner",), output=str(tmp_path / f"o.{suffix}"), device="cpu")
        assert run_door(lambda config=config: infer.main(config)) == 0
    answer = json.loads((tmp_path / "o.jsonl").read_text())
    assert list(answer["probabilities"]) == NAMES and sum(answer["probabilities"].values()) == pytest.approx(1)
    assert (tmp_path / "o.csv").read_text().splitlines()[0] == "text,label,p_chat,p_news,p_spam"


def test_a_merged_model_keeps_the_names(three, tmp_path):
    _, run = three
    infer.main(infer.InferConfig(adapter=run, save_merged=str(tmp_path / "merged"), device="cpu"))
    assert gpt2.read_config(tmp_path / "merged").label_names() == NAMES


def test_labels_that_are_numbers_come_back_as_they_were_written(settings, tmp_path):
    rows = [{"text": f"{words} {n}", "label": 10 - 5 * i} for n in NUMBERS for i, words in enumerate(WORDS.values())]
    (tmp_path / "n.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    changes = {"dataset": str(tmp_path / "n.jsonl"), "text_column": None, "label_column": None, "max_steps": 2}
    train.main(train.TrainConfig(**(settings | changes | {"output_dir": str(tmp_path / "run")})))
    assert infer.load_classifier(tmp_path / "run", device="cpu").label_names == ["0", "5", "10"]


@pytest.mark.parametrize("kind", ["head", "full"])
def test_infer_answers_from_the_product_of_head_and_full_as_training_left_it(settings, tmp_path, capsys, kind):
    changes = {"train": kind, "output_dir": str(tmp_path / "run")}
    results = train.main(train.TrainConfig(**(settings | changes)))
    capsys.readouterr()
    assert results["after"]["loss"] != results["before"]["loss"]
    assert not (tmp_path / "run" / "adapter").exists()
    base = gpt2.GPT2Model.from_pretrained(settings["model"]).state_dict()
    kept = gpt2.GPT2ForSequenceClassification.from_pretrained(tmp_path / "run" / "model").state_dict()
    assert (gpt2.fingerprint(base) == gpt2.fingerprint(kept)) == (kind == "head")
    config = infer.InferConfig(
        adapter=str(tmp_path / "run"), input=settings["dataset"], text_column="body", device="cpu"
    )
    assert run_door(lambda: infer.main(config)) == 0
    answers = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(answers) == 36 and list(answers[0]["probabilities"]) == NAMES
    record = infer.load_classifier(tmp_path / "run", device="cpu").record
    dataset = data.load_texts(data.Source(settings["dataset"], "body", "topic"), data.TextRule())
    test = data.split_rows(dataset, **record.split).test
    right = sum(answers[row]["label"] == NAMES[dataset.labels[row]] for row in test)
    assert right / len(test) == results["after"]["accuracy"]
    assert run_door(lambda: infer.main(infer.InferConfig(adapter=str(tmp_path / "run"), sample=4, device="cpu"))) == 0
    assert len(capsys.readouterr().out.splitlines()) == 6


def test_a_set_of_one_label_is_refused(settings, tmp_path, capsys):
    (tmp_path / "one.tsv").write_text("".join(f"ham\ttext {i}\n" for i in range(20)))
    changes = {"dataset": str(tmp_path / "one.tsv"), "text_column": None, "label_column": None}
    config = train.TrainConfig(**(settings | changes | {"output_dir": str(tmp_path / "run")}))
    assert run_door(lambda: train.main(config)) == 3
    assert "all rows have the label 'ham'; at least two labels are needed" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
