"""What --task language, infer.py and generate.py refuse: in one line, with a code, and nothing is written."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import generate
import gpt2
import infer
import lora
import train
from training.errors import run_door


@pytest.fixture(scope="module")
def runs(tiny_base, messages_file, tmp_path_factory) -> Path:
    """A directory with a run of each kind: `classifier`, `writer`, and `head` and `full`, which keep whole models."""
    directory = tmp_path_factory.mktemp("runs")
    common = {
        "model": str(tiny_base),
        "dataset": str(messages_file),
        "device": "cpu",
        "precision": "fp32",
        "max_steps": 1,
    }
    writing = {"task": "language", "only_label": "ham"}
    for name, changes in (
        ("classifier", {}), ("writer", writing), ("full", writing | {"train": "full"}), ("head", {"train": "head"})
    ):  # fmt: skip
        train.main(train.TrainConfig(**(common | changes), output_dir=str(directory / name)))
    return directory


@pytest.fixture
def door(tmp_path, monkeypatch, tiny_base, messages_file, capsys):
    """door(flags of train.py): the exit code and what it says."""
    monkeypatch.chdir(tmp_path)
    given = [
        "--task",
        "language",
        "--model",
        str(tiny_base),
        "--device",
        "cpu",
        "--precision",
        "fp32",
        "--max_steps",
        "1",
    ]

    def run(*flags, dataset=messages_file):
        code = run_door(lambda: train.main(train.read_settings([*given, "--dataset", str(dataset), *flags])))
        return code, capsys.readouterr().err

    return run


def one_line(message: str) -> str:
    assert message.startswith("error: ") and message.count("\n") == 1
    return message


def ask(adapter, model=None):
    """The two doors' answers to an adapter, as functions that give exit codes."""
    model = None if model is None else str(model)
    given = {"adapter": str(adapter), "model": model, "device": "cpu"}
    return (
        lambda: run_door(lambda: infer.main(infer.InferConfig(texts=("free prize",), **given))),
        lambda: run_door(lambda: generate.main(generate.GenerateConfig(prompts=("free",), max_new_tokens=3, **given))),
    )


# Training


@pytest.mark.parametrize(
    ("flags", "code", "words"),
    [
        (["--train", "head"], 2, "--train head: a writer has no head of its own"),
        (["--metric_for_best_model", "f1"], 2, "--metric_for_best_model f1: --task language has loss, bits_per_byte"),
        (["--metric_for_best_model", "perplexity"], 2, "--metric_for_best_model"),
        (["--task", "classification", "--metric_for_best_model", "bits_per_byte"], 2, "--task classification has"),
        (["--task", "classification", "--only_label", "ham"], 2, "--only_label"),
        (["--task", "writing"], 2, "invalid choice: 'writing'"),
        (["--sample_promt", "x"], 2, "did you mean --sample_prompt"),
        (["--exact", "--precision", "bf16"], 2, "fp32"),
        (["--only_label", "hamm"], 3, "no row has the label 'hamm'; there are ham, spam"),
        (["--text_column", "body"], 3, "--text_column"),
        (["--max_length", "1"], 2, "max_length 1"),
        (["--also_test", "missing.txt"], 3, "missing.txt: no such file"),
        (["--model", "./nowhere"], 4, "config.json"),
        (["--target_modules", "score"], 4, "score"),
    ],
)
def test_a_mistake_gets_one_line_a_code_and_leaves_nothing(door, tmp_path, flags, code, words):
    told, message = door(*flags)
    assert (told, words in one_line(message)) == (code, True), message
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.txt", "", "no text in it"),
        ("a.txt", "see you\n<|endoftext|>\nok\n", "2 short texts are too few to hold some out"),
        ("a.jsonl", '{"prompt": "a"}\n', "'completion' is missing or null"),
        ("a.jsonl", '{"prompt": "a", "completion": 3}\n', "'completion' is not a text"),
        ("a.csv", "id,words\n1,see you\n", "--text_column"),
        ("a.txt", b"caf\xe9 at nine\n", "a.txt:1: byte 4 is not utf-8"),
    ],
)
def test_texts_that_cannot_be_learned_from_are_told(door, tmp_path, name, content, words):
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    code, message = door(dataset=name)
    assert (code, words in one_line(message)) == (3, True), message
    assert [p.name for p in tmp_path.iterdir()] == [name]


def test_a_metric_of_writing_chooses_the_checkpoint(door, tmp_path):
    flags = ["--metric_for_best_model", "bits_per_byte", "--only_label", "ham", "--output_dir", "run"]
    assert door(*flags)[0] == 0
    assert json.loads((tmp_path / "run" / "results.json").read_text())["best_step"] == 1


def test_the_preset_of_writing_is_taken_where_none_is_named_and_its_label_goes_with_its_own_rows():
    own = train.read_settings(["--task", "language"])
    assert (own.preset, own.only_label, own.task) == ("write", "ham", "language")
    assert own == train.read_settings(["--preset", "write"])
    assert train.read_settings(["--task", "language", "--dataset", "mine.csv"]).only_label is None
    assert train.read_settings(["--dataset", "mine.csv"]).preset == "tiny"


@pytest.mark.parametrize(
    ("door", "words"),
    [
        (train.read_settings, ["--task", "--only_label", "--sample_prompt", "--task language --dataset mine.txt"]),
        (
            lambda argv: generate.parse(generate.GenerateConfig, argv, prog="generate.py", description=""),
            ["--temperature", "--top_k", "--top_p", "--repetition_penalty", "--max_new_tokens", "--seed", "--greedy",
             "--num_return_sequences", "--compare", "--merge", "--adapter"],
        ),
    ],
    ids=["train.py", "generate.py"],
)  # fmt: skip
def test_help_lists_what_writing_takes_and_ends_well(door, words, capsys):
    with pytest.raises(SystemExit) as ended:
        door(["--help", "all"])
    shown = capsys.readouterr().out
    assert ended.value.code == 0 and all(word in shown for word in words)
    assert max(map(len, shown.splitlines())) <= 120


# Asking


def test_a_classifier_is_refused_by_the_writer_and_the_other_way_round(runs, capsys):
    for name, other in (("classifier", generate), ("head", generate), ("writer", infer), ("full", infer)):
        infers, writes = ask(runs / name)
        assert (writes if other is generate else infers)() == 4
        message = one_line(capsys.readouterr().err)
        what = ("a classifier, not a writer; use infer.py", "a writer, not a classifier; use generate.py")
        assert what[other is infer] in message
        assert (infers if other is generate else writes)() == 0
        capsys.readouterr()


def without_record(runs, name, tmp_path) -> Path:
    """An adapter as peft leaves it, or a model as transformers does."""
    kind = "model" if name in ("head", "full") else "adapter"
    (runs / name / kind).is_dir() and shutil.copytree(runs / name / kind, tmp_path / name)
    (tmp_path / name / "task.json").unlink()
    return tmp_path / name


def test_so_are_those_that_have_no_task_json(runs, tiny_base, tmp_path, capsys):
    for name, which in (("classifier", 1), ("writer", 0)):
        assert ask(without_record(runs, name, tmp_path), tiny_base)[which]() == 4
        assert f"use {'infer.py' if which else 'generate.py'} for it" in one_line(capsys.readouterr().err)
    head = without_record(runs, "head", tmp_path)
    assert ask(head)[1]() == 4
    assert "a classifier, not a writer; use infer.py" in one_line(capsys.readouterr().err)


def without_head(directory: Path, **changes) -> Path:
    """The same adapter or model, its file without score.weight; `changes` go into the adapter's settings."""
    (file,) = directory.glob("*.safetensors")
    save_file({key: t for key, t in load_file(file).items() if "score" not in key}, file)
    if (config := directory / "adapter_config.json").exists():
        config.write_text(json.dumps(json.loads(config.read_text()) | changes))
    return directory


def test_a_classifier_without_a_head_in_file_and_base_is_refused(runs, tiny_base, tmp_path, capsys):
    adapter = without_head(without_record(runs, "classifier", tmp_path))
    assert ask(adapter, tiny_base)[0]() == 4
    assert "missing: base_model.model.score.weight" in one_line(capsys.readouterr().err)
    without_head(adapter, task_type=None, modules_to_save=None)  # nothing says that there should be a head
    model = without_head(without_record(runs, "head", tmp_path))
    for infers, _ in (ask(adapter, tiny_base), ask(model), ask(tiny_base)):
        assert infers() == 4
        assert "no classification head (score.weight)" in one_line(capsys.readouterr().err)


def test_an_adapter_without_a_head_answers_on_a_base_that_has_one(runs, tmp_path, capsys):
    adapter = without_record(runs, "classifier", tmp_path)
    without_head(adapter, task_type=None, modules_to_save=None)
    assert ask(adapter, runs / "head" / "model")[0]() == 0
    assert capsys.readouterr().out.count("free prize") == 1


def test_an_adapter_without_task_json_writes_on_the_base_it_is_given(runs, tiny_base, tmp_path, capsys):
    adapter = without_record(runs, "writer", tmp_path)
    _, writes = ask(adapter)
    assert writes() == 4 and "name its base with --model" in one_line(capsys.readouterr().err)
    known, given = (ask(*where)[1] for where in ((runs / "writer",), (adapter, tiny_base)))
    assert (known(), given()) == (0, 0)
    first, second = capsys.readouterr().out.splitlines()
    assert first == second


def test_another_base_than_that_of_training_is_refused(runs, tiny_base, tmp_path, capsys):
    shutil.copytree(tiny_base, tmp_path / "other")
    torch.manual_seed(9)
    gpt2.GPT2LMHeadModel(gpt2.read_config(tiny_base)).save_pretrained(tmp_path / "other")
    assert ask(runs / "writer", tmp_path / "other")[1]() == 4
    assert "fingerprints differ" in one_line(capsys.readouterr().err)


def test_a_broken_task_json_is_told_in_one_line(runs, tmp_path, capsys):
    for which, name in enumerate(("classifier", "writer")):
        shutil.copytree(runs / name / "adapter", tmp_path / name)
        path = tmp_path / name / "task.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"max_length": "64"}))
        assert ask(tmp_path / name)[which]() == 4
        assert f"{path}: cannot be used (max_length is '64'" in one_line(capsys.readouterr().err)


def test_an_adapter_from_before_there_were_tasks_classifies_and_does_not_write(runs, tmp_path, capsys):
    shutil.copytree(runs / "classifier" / "adapter", tmp_path / "adapter")
    path = tmp_path / "adapter" / "task.json"
    values = json.loads(path.read_text())
    del values["task"]
    path.write_text(json.dumps(values))
    infers, writes = ask(tmp_path / "adapter")
    assert (infers(), writes()) == (0, 4)
    assert "use infer.py" in one_line(capsys.readouterr().err)


def test_a_merged_classifier_is_still_none_that_writes(runs, tmp_path, capsys):
    assert (
        run_door(
            lambda: infer.main(infer.InferConfig(adapter=str(runs / "classifier"), save_merged=str(tmp_path / "m")))
        )
        == 0
    )
    capsys.readouterr()
    assert ask(tmp_path / "m")[1]() == 4
    assert "use infer.py" in one_line(capsys.readouterr().err)


def test_a_directory_with_neither_is_told(tmp_path, capsys):
    for answer in ask(tmp_path):
        assert answer() == 4
        assert "no adapter there" in one_line(capsys.readouterr().err)


def test_lora_off_is_the_base_for_a_writer_found_by_its_fingerprint(runs, tiny_base):
    writer = generate.load_writer(runs / "writer", device="cpu")
    lora.remove_lora(writer.model)
    base = gpt2.GPT2LMHeadModel.from_pretrained(tiny_base)
    assert gpt2.fingerprint(writer.model.state_dict()) == gpt2.fingerprint(base.state_dict())
