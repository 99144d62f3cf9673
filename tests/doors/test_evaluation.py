"""What was saved, evaluated: later, the numbers of train.py's end, from an adapter, a model or a merged one."""

import dataclasses
import json
import random
import re
import shutil
import subprocess
import sys

import pytest
import torch

import data
import infer
import train
from tasks.evaluate import as_trained, labelled_task, recorded_rows, recorded_task
from tasks.evaluation_report import sampled
from training.errors import run_door
from training.metrics import classification_metrics

SCORES = ("before", "after", "baselines")
# fp32 of the bundled base, whose attention in block 0 has scores above a thousand: a text alone is up to 4e-5 from
# float64's answer, and so is one in a batch, to either side. Kernels round otherwise for other lengths; no padding is
# read.
ROUNDING = 2e-4
COMMON = {"device": "cpu", "max_steps": 4, "learning_rate": 1e-2, "test_size": 0.4}


@pytest.fixture(scope="module")
def trained(tiny_base, messages_file, tmp_path_factory):
    """trained(kind, precision): the directory of a run with --train kind, made once."""
    made, directory = {}, tmp_path_factory.mktemp("runs")

    def run(kind="lora", precision="fp32", **changes):
        name = "-".join([kind, precision, *changes])
        if name not in made:
            settings = COMMON | {"model": str(tiny_base), "dataset": str(messages_file), "precision": precision}
            train.main(train.TrainConfig(**(settings | changes), train=kind, output_dir=str(directory / name)))
            made[name] = directory / name
        return made[name]

    return run


@pytest.fixture
def asked(tmp_path, capsys):
    """asked(run, settings): (numbers of --json, what is printed) of a call in which all goes well."""

    def ask(adapter, **settings):
        capsys.readouterr()
        config = infer.InferConfig(adapter=str(adapter), device="cpu", json=str(tmp_path / "scores.json"), **settings)
        assert run_door(lambda: infer.main(config)) == 0, capsys.readouterr().err
        return json.loads((tmp_path / "scores.json").read_text()), capsys.readouterr().out

    return ask


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("lora", {}), ("head", {}), ("full", {}), ("lora", {"exact": True}), ("lora", {"precision": "bf16"}),
        ("full", {"precision": "bf16"}), ("lora", {"per_device_eval_batch_size": 3}),
    ],
)  # fmt: skip
def test_a_saved_run_has_the_scores_that_train_printed_to_the_last_digit(trained, asked, kind, changes):
    run = trained(kind, **changes)
    results = json.loads((run / "results.json").read_text())
    found, _ = asked(run, test=True)
    assert {name: found[name] for name in SCORES} == {name: results[name] for name in SCORES}


def test_a_new_process_has_the_same_scores_too(trained, tmp_path):
    runs = {kind: trained(kind) for kind in ("lora", "head", "full")}
    calls = [
        ["--adapter", str(run), "--test", "--device", "cpu", "--json", str(tmp_path / f"{kind}.json")]
        for kind, run in runs.items()
    ]
    code = "import json, sys, infer\nfrom training.settings import parse\nfor argv in json.loads(sys.argv[1]):\n"
    code += "    infer.main(parse(infer.InferConfig, argv, prog='infer.py', description=''))"
    subprocess.run([sys.executable, "-c", code, json.dumps(calls)], cwd=train.ROOT, check=True, timeout=200)
    for kind, run in runs.items():
        results, found = (json.loads(path.read_text()) for path in (run / "results.json", tmp_path / f"{kind}.json"))
        assert {name: found[name] for name in SCORES} == {name: results[name] for name in SCORES}, kind


def test_the_table_is_the_one_that_train_ends_with(trained, asked, tiny_base, messages_file, tmp_path, capsys):
    capsys.readouterr()
    settings = COMMON | {"model": str(tiny_base), "dataset": str(messages_file), "precision": "fp32"}
    train.main(train.TrainConfig(**settings, output_dir=str(tmp_path / "run")))
    ended = capsys.readouterr().out
    _, out = asked(tmp_path / "run", test=True)
    table, matrix = out.split("\n\n")[1:3]
    assert f"\n\n{table}\n\n{matrix}\n" in ended  # with the blanks that begin its first line
    assert "before" in table and "naive_bayes" in table


def test_the_merged_model_gives_the_same_labels_and_nearly_the_same_loss(trained, asked, tmp_path):
    config = infer.InferConfig(adapter=str(trained()), device="cpu", save_merged=str(tmp_path / "merged"))
    assert run_door(lambda: infer.main(config)) == 0
    (adapter, _), (merged, _) = asked(trained(), test=True), asked(tmp_path / "merged", test=True)
    for part in ("before", "after"):
        assert adapter[part]["confusion_matrix"] == merged[part]["confusion_matrix"]
        assert adapter[part]["loss"] == pytest.approx(merged[part]["loss"], abs=1e-5)


def test_the_merged_model_is_scored_as_its_run_was(trained, asked, tmp_path):
    run = trained(precision="bf16", per_device_eval_batch_size=3)
    config = infer.InferConfig(adapter=str(run), device="cpu", save_merged=str(tmp_path / "merged"))
    assert run_door(lambda: infer.main(config)) == 0
    assert as_trained(tmp_path / "merged") == as_trained(run) != {}
    found, out = asked(tmp_path / "merged", test=True)
    assert "precision bf16\n" in out and "after (LoRA)" in out
    assert found["before"] == asked(run, test=True)[0]["before"]


@pytest.mark.promise("P6")
@pytest.mark.parametrize("fast", [True, False], ids=["fast", "plain"])
def test_batches_and_the_order_of_the_rows_change_no_label_and_no_probability(trained, fast):
    run = trained(model=str(train.ROOT / "assets" / "gpt2-tiny"))
    classifier = infer.load_classifier(run, device="cpu", fast=fast)
    texts = [row.text for row in data.read_rows(data.Source(str(train.ROOT / "data/messages/messages.tsv")))][:300]
    by_size = [torch.tensor(classifier.probabilities(texts, size)) for size in (1, 8, 64)]
    order = list(range(len(texts)))
    random.Random(1).shuffle(order)
    shuffled = torch.empty_like(by_size[0])
    shuffled[order] = torch.tensor(classifier.probabilities([texts[i] for i in order], 8))
    for other in (*by_size[1:], shuffled):
        moved = (other - by_size[0]).abs().amax(1)
        assert moved.max() < ROUNDING
        unsure = (by_size[0][:, 0] - 0.5).abs() < ROUNDING  # whose label rounding may decide
        assert (unsure | (other.argmax(1) == by_size[0].argmax(1))).all()


def test_a_labelled_file_is_scored_with_baselines_only_where_the_training_rows_are_found(
    trained, asked, messages_file, tmp_path
):
    (tmp_path / "new.csv").write_text("text,class\nfree prize draw now,spam\nsee you at nine,ham\nhello,ham\n")
    found, out = asked(trained(), input=str(tmp_path / "new.csv"), label_column="class", errors=3)
    assert found["after"]["rows"] == 3 and set(found["baselines"]) == {"majority", "digits_regex", "naive_bayes"}
    wrong = 3 - sum(found["after"]["confusion_matrix"][i][i] for i in range(2))
    assert len(found["errors"]) == wrong and all(error["text"] in out for error in found["errors"])
    classifier = infer.load_classifier(trained(), device="cpu")
    lost = dataclasses.replace(classifier.record, dataset=classifier.record.dataset | {"name": "not/here"})
    source = data.Source(str(tmp_path / "new.csv"), None, "class")
    assert labelled_task(dataclasses.replace(classifier, record=lost), source)[1] is None


def test_what_makes_the_scores_of_a_file_say_less_is_told_as_train_tells_it(trained, messages, tmp_path, capsys):
    rows = [*messages[:5], ("ham", "see you at nine"), ("spam", "see you at nine")]
    (tmp_path / "new.tsv").write_text("label\ttext\n" + "".join(f"{label}\t{text}\n" for label, text in rows))
    flags = {"adapter": str(trained()), "device": "cpu", "label_column": "label", "json": str(tmp_path / "s.json")}
    assert run_door(lambda: infer.main(infer.InferConfig(**flags, input=str(tmp_path / "new.tsv")))) == 0
    told, found = capsys.readouterr().err, json.loads((tmp_path / "s.json").read_text())
    known = recorded_task(infer.load_classifier(trained(), device="cpu"))
    own = {known.rows.dataset.texts[i] for i in (*known.rows.split.train, *known.rows.split.val)}
    assert 0 < (seen := sum(text in own for _, text in rows)) == found["seen"]
    assert f"{seen} of the rows stand word for word among those that trained or chose\n" in told
    assert "1 texts stand there with more than one label, in 2 rows\n" in told
    assert "only 7 test rows: a score on so few says little" in told


def test_a_threshold_of_ones_own_is_no_reason_to_blame_the_model(trained, asked):
    _, out = asked(trained(), test=True, threshold=0.0)
    assert "The model calls every test row" not in out and "is below that of always saying" not in out


def test_no_line_of_a_sample_is_wider_than_the_terminal_with_long_labels_too(trained, monkeypatch, capsys):
    classifier = infer.load_classifier(trained(), device="cpu")
    names = [f"a long name of a label, the {i}. of two and yet a part of no sentence" for i in range(2)]
    dataset, split = recorded_rows(classifier.record, classifier.rule)
    known = dataclasses.replace(dataset, label_names=names), split
    monkeypatch.setattr("tasks.evaluation_report.recorded_rows", lambda *asked, **how: known)
    lines = sampled(dataclasses.replace(classifier, label_names=names), 5, 0, 8, 80)
    assert max(map(len, lines)) <= 80 and lines[2].count("%") == 2 and lines[2].split("%")[2].strip()


@pytest.mark.parametrize("flag", ["json", "output"])
def test_what_would_be_overwritten_or_cannot_be_written_is_refused_before_anything_is_loaded(tmp_path, capsys, flag):
    (tmp_path / "x.csv").write_text("text,label\na,b\n")
    (tmp_path / "d.csv").mkdir()
    more = {"label_column": "label"} if flag == "json" else {}
    for name, words in (("x.csv", "is the file of --input"), ("d.csv", "is a directory")):
        config = infer.InferConfig(
            adapter="nowhere", input=str(tmp_path / "x.csv"), **more | {flag: str(tmp_path / "d.csv" / ".." / name)}
        )
        assert run_door(lambda config=config: infer.main(config)) == 2
        assert f"--{flag} " in (told := capsys.readouterr().err) and words in told


def test_a_threshold_moves_answers_and_the_best_one_on_validation_is_told(trained, asked):
    found, out = asked(trained(), test=True, threshold=0.0)
    assert all(counts[0] == 0 for counts in found["after_threshold"]["confusion_matrix"])  # all are called positive
    best = found["best_threshold"]
    (typed,) = re.findall(r"best F1 on validation, \S+: --threshold (\S+)", out)
    assert float(typed) == best["threshold"]
    classifier = infer.load_classifier(trained(), device="cpu")
    val = recorded_task(classifier)
    logits = val.logits("val", classifier.model, 64, classifier.place)
    labels = torch.tensor(val.rows.labels(val.rows.split.val))
    assert classification_metrics(logits, labels, float(typed))["f1"] == best["f1"]
    assert found["after"] == asked(trained(), test=True)[0]["after"]
    classifier = infer.load_classifier(trained(), device="cpu")
    assert dataclasses.replace(classifier, threshold=0.3).label([0.6, 0.4]) == classifier.label_names[1]


@pytest.mark.parametrize("kind", ["head", "full"])
def test_whole_weights_are_shown_beside_their_base_where_model_says_it_is_or_without_it_and_that_is_said(
    tiny_base, messages_file, tmp_path, capsys, kind
):
    old, new = tmp_path / "base", tmp_path / "moved"
    shutil.copytree(tiny_base, old)
    settings = COMMON | {"model": str(old), "dataset": str(messages_file), "precision": "fp32", "train": kind}
    train.main(train.TrainConfig(**settings, output_dir=str(tmp_path / "run")))
    old.rename(new)

    def asked(**settings):
        capsys.readouterr()
        config = infer.InferConfig(adapter=str(tmp_path / "run"), device="cpu", **settings)
        assert run_door(lambda: infer.main(config)) == 0
        return capsys.readouterr()

    for settings, told in (({"test": True}, "no line for the base"), ({"sample": 3}, "no base column")):
        alone, beside = asked(**settings), asked(**settings, model=str(new))
        assert f"{told}: " in alone.err and "; name its directory with --model" in alone.err
        assert told not in beside.err
        assert [("before" in said.out, "base" in said.out) for said in (alone, beside)] == (
            [(False, False), (True, True)] if "test" in settings else [(False, False), (False, True)]
        )


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"test": True, "texts": ("hi",)}, "give one"), ({"label_column": "y"}, "give the file with --input"),
        ({"errors": 3}, "--errors: is of scores"), ({"json": "x.json"}, "--json: is of scores"),
        ({"test": True, "output": "x.csv"}, "--test prints a table"), ({"threshold": 1.5}, "--threshold 1.5"),
    ],
)  # fmt: skip
def test_flags_that_do_not_go_together_are_refused_before_anything_is_loaded(capsys, settings, words):
    assert run_door(lambda: infer.main(infer.InferConfig(adapter="nowhere", **settings))) == 2
    assert words in capsys.readouterr().err


def test_beside_an_answer_stands_its_own_probability_below_a_threshold_too(trained, capsys):
    classifier = infer.load_classifier(trained(), device="cpu")
    (p,) = classifier.probabilities(["see you at nine"])
    capsys.readouterr()
    low = dataclasses.replace(classifier, threshold=0.0)
    assert low.said(p) == (classifier.label_names[1], p[1]) and p[1] < 0.5
    config = {"adapter": str(trained()), "device": "cpu", "threshold": 0.0}
    assert run_door(lambda: infer.main(infer.InferConfig(**config, texts=("see you at nine",)))) == 0
    assert capsys.readouterr().out.split()[:2] == [classifier.label_names[1], f"{p[1]:.2%}"]
    tables = []
    for threshold in (None, 0.0):
        sampled = infer.InferConfig(**config | {"threshold": threshold}, sample=9)
        assert run_door(lambda config=sampled: infer.main(config)) == 0
        tables.append([line.split()[3:5] for line in capsys.readouterr().out.splitlines()[2:]])
    shares = [
        (float(sure[:-1]), float(own[:-1]), label == answer)
        for (label, sure), (answer, own) in zip(*tables, strict=True)
    ]
    assert not all(same for *_, same in shares)
    assert all(own == pytest.approx(sure if same else 100 - sure, abs=0.02) for sure, own, same in shares)
