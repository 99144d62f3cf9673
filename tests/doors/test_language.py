"""train.py --task language as its users meet it: what it reads, that it learns, what it leaves, and resuming it."""

import dataclasses
import json
import math
from pathlib import Path

import pytest
import torch

import data
import generate
import gpt2
import lora
import train
from tasks.language import Language

NUMBERS = "one", "two", "three", "four", "five", "six", "seven", "eight"
HAM = "see you at {} then", "mum says dinner is at {}", "running {} minutes late sorry"


@pytest.fixture
def config(tiny_base, messages_file, tmp_path, monkeypatch):
    """Texts of one label, 8 steps with dropout, accumulation and a short last step, evaluated after each epoch."""
    monkeypatch.chdir(tmp_path)
    return train.TrainConfig(
        task="language", model=str(tiny_base), dataset=str(messages_file), only_label="ham", learning_rate=1e-2,
        num_train_epochs=4, per_device_train_batch_size=8, gradient_accumulation_steps=2, output_dir="run",
        device="cpu", precision="fp32", warmup_steps=2, save_strategy="steps", save_steps=1, save_total_limit=99,
    )  # fmt: skip


def adapter_bytes(run) -> bytes:
    return Path(run, "adapter", "adapter_model.safetensors").read_bytes()


def logged(run) -> list[dict]:
    return [json.loads(line) for line in Path(run, "metrics.jsonl").read_text().splitlines()]


def task_of(config) -> Language:
    tokenizer = gpt2.Tokenizer(Path(config.model))
    return Language.prepare(config, train.source_of(config), tokenizer, config.max_length or 64)


def nats_of(model, tokenizer, prompt: str, text: str) -> float:
    """What the tokens of `text` and its end cost, spelled out: no windows, no batch, no labels."""
    end = tokenizer.eos_token_id
    before, ids = [end, *tokenizer.encode(prompt)], [*tokenizer.encode(text), end]
    with torch.no_grad():
        said = model(torch.tensor([before + ids])).logits[0].double().log_softmax(-1)
    return -sum(float(said[len(before) - 1 + i, token]) for i, token in enumerate(ids))


# What a run leaves


def test_a_run_learns_to_write_and_leaves_what_house_rules_promise(config, tmp_path):
    results = train.main(config)
    assert results["after"]["loss"] < results["before"]["loss"] - 0.1
    assert {p.name for p in (tmp_path / "run" / "adapter").iterdir()} == {
        "README.md", "adapter_config.json", "adapter_model.safetensors", "task.json"
    }  # fmt: skip
    assert json.loads((tmp_path / "run" / "results.json").read_text()) == results
    assert results["task"] == "language" and results["rows"] == {"train": 22, "val": 3, "test": 7}
    assert (results["steps"], results["world_size"]) == (8, 1)
    for scores in (results["before"], results["after"], results["baselines"]["bigram"]):
        assert set(scores) == {"loss", "perplexity", "bits_per_byte", "tokens", "rows"}
        assert scores["perplexity"] == pytest.approx(math.exp(scores["loss"]))
    assert set(results["baselines"]) == {"bigram", "gzip"} and set(results["baselines"]["gzip"]) == {"bits_per_byte"}


@pytest.mark.promise("P6")
def test_the_scores_are_those_of_each_test_text_alone_and_its_end(config):
    results = train.main(dataclasses.replace(config, max_steps=3, per_device_eval_batch_size=4))
    writer, rows = generate.load_writer("run", device="cpu", fast=False), task_of(config).rows
    texts = [rows.documents.items[window.document].text for window in rows.of_part("test")]
    for when, of in (("before", writer.base), ("after", lambda: torch.no_grad())):
        with of():
            nats = sum(nats_of(writer.model, writer.tokenizer, "", text) for text in texts)
        tokens = sum(len(writer.tokenizer.encode(text)) + 1 for text in texts)
        assert results[when]["tokens"] == tokens
        assert results[when]["loss"] == pytest.approx(nats / tokens, rel=1e-6)
        n_bytes = sum(len(text.encode()) for text in texts)
        assert results[when]["bits_per_byte"] == pytest.approx(nats / math.log(2) / n_bytes, rel=1e-6)


def test_the_adapter_off_gives_the_base_s_held_out_loss_to_the_bit(config):
    results, task = train.main(config), task_of(config)
    writer = generate.load_writer("run", device="cpu")
    score = lambda: task.scores("test", writer.model, config.per_device_eval_batch_size, writer.place)  # noqa: E731
    assert score() == results["after"] != results["before"]
    with lora.disable_lora(writer.model):
        assert score() == results["before"]
    assert score() == results["after"]


def test_bits_a_byte_are_of_bytes_where_a_character_has_several(config, tmp_path):
    (tmp_path / "mine.txt").write_text("\n<|endoftext|>\n".join(f"dîner à {i} ☕🙂" for i in range(20)))
    results = train.main(dataclasses.replace(config, dataset="mine.txt", only_label=None, max_steps=1))
    scores, rows = results["after"], task_of(dataclasses.replace(config, dataset="mine.txt", only_label=None)).rows
    texts = [rows.documents.items[window.document].text for window in rows.of_part("test")]
    n_bytes = sum(len(text.encode()) for text in texts)
    assert n_bytes > sum(map(len, texts))
    assert scores["bits_per_byte"] == pytest.approx(scores["loss"] * scores["tokens"] / math.log(2) / n_bytes)


def test_the_bigram_model_beside_it_has_counted_the_training_texts_alone(config):
    results, rows = train.main(dataclasses.replace(config, max_steps=1)), task_of(config).rows
    train_part, test_part = rows.of_part("train"), rows.of_part("test")
    vocab = gpt2.Tokenizer(Path(config.model)).vocab_size
    tokens = sum(len(window.targets) for window in test_part)
    assert results["baselines"]["bigram"]["loss"] == data.bigram_nats(train_part, test_part, vocab) / tokens


def test_progress_lines_and_the_card_name_the_metrics_of_writing(config, capsys):
    results = train.main(dataclasses.replace(config, sample_prompt="see you"))
    lines = capsys.readouterr().out.splitlines()
    told = [line for line in lines if ": held out " in line]
    assert len(told) == 4 and all(", bits a byte " in line and "held out nats a token " in line for line in told)
    assert not any("accuracy" in line or "F1" in line for line in lines)
    samples = [line for line in lines if line.startswith("  it writes: see you")]
    assert len(samples) == 4 and len(set(samples)) > 1
    card = Path("run/adapter/README.md").read_text()
    assert "| | nats a token | perplexity | bits a byte |" in card and "text-generation" in card
    assert f"{results['after']['loss']:.4f}" in card and "generate.py --adapter" in card
    assert "| gzip | - | - | " in card and "accuracy" not in card


# What it reads


def texts_of(tmp_path, kind: str) -> dict:
    """Writes 24 short texts in a form that people have, and says how train.py is told of it."""
    texts = [form.format(word) for word in NUMBERS for form in HAM]
    if kind == "documents in a .txt":
        (tmp_path / "mine.txt").write_text("\n<|endoftext|>\n".join(texts))
        return {"dataset": "mine.txt"}
    if kind == "a directory":
        (tmp_path / "texts").mkdir()
        for i, text in enumerate(texts):
            (tmp_path / "texts" / f"{i:02}.txt").write_text(text + "\n")
        (tmp_path / "texts" / "notes.md").write_text("not read")
        return {"dataset": "texts"}
    if kind == "a table":
        (tmp_path / "mine.csv").write_text("id,body\n" + "".join(f"{i},{text}\n" for i, text in enumerate(texts)))
        return {"dataset": "mine.csv", "text_column": "body"}
    if kind == "one label of a table":
        rows = [f"spam\tfree prize {i}\n" for i in range(9)] + [f"ham\t{text}\n" for text in texts]
        (tmp_path / "mine.tsv").write_text("".join(rows))
        return {"dataset": "mine.tsv", "only_label": "ham"}
    pairs = [{"prompt": text + " ->", "completion": " ok then"} for text in texts]
    (tmp_path / "mine.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    return {"dataset": "mine.jsonl"}


KINDS = "documents in a .txt", "a directory", "a table", "one label of a table", "prompts and completions"


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_file_is_learned_from(config, tmp_path, kind, capsys):
    given = {"only_label": None} | texts_of(tmp_path, kind)
    results = train.main(dataclasses.replace(config, num_train_epochs=2, **given))
    assert results["after"]["loss"] < results["before"]["loss"]
    assert sum(results["rows"].values()) == 24
    assert f"{given['dataset']}: 24 texts, " in capsys.readouterr().out
    writer = generate.load_writer("run", device="cpu")
    assert writer.record.task == "language" and writer.record.label_names == []
    assert writer.record.dataset["name"] == given["dataset"]
    assert writer.record.dataset["only_label"] == given["only_label"]


READ_SO = {
    "semicolons": ("mine.csv", b"text;x\n" + b"see you at %d;1\n" * 12, {}, "has ';' between the columns"),
    "cut characters": ("mine.txt", b"caf\xe9 at ten\n<|endoftext|>\n" * 12, {"encoding_errors": "replace"}, "12 chara"),
    "of completions": (
        "mine.jsonl",
        b'{"prompt": "caf\xe9", "completion": "a"}\n' * 12,
        {"encoding_errors": "replace"},
        "12 characters that are not utf-8 were replaced, the first at",
    ),
}


@pytest.mark.parametrize("kind", READ_SO)
def test_how_a_file_was_read_is_said_of_what_trains_and_of_what_only_tests(config, tmp_path, kind):
    name, content, how, words = READ_SO[kind]
    (tmp_path / name).write_bytes(content % tuple(range(12)) if b"%d" in content else content)
    task = task_of(dataclasses.replace(config, dataset=name, only_label=None, **how))
    assert task.describe().count(words) == 1
    assert task.beside(name, task.tokenizer).describe().count(words) == 1


def test_of_prompts_and_completions_the_completion_alone_is_learned_and_scored(config, tmp_path):
    texts_of(tmp_path, "prompts and completions")
    results = train.main(dataclasses.replace(config, dataset="mine.jsonl", only_label=None, max_steps=2))
    writer = generate.load_writer("run", device="cpu", fast=False)
    tokens = len(writer.tokenizer.encode(" ok then")) + 1
    scores = results["after"]
    assert (scores["rows"], scores["tokens"]) == (5, 5 * tokens)
    rows = task_of(dataclasses.replace(config, dataset="mine.jsonl", only_label=None)).rows
    prompts = [rows.documents.items[window.document].prompt for window in rows.of_part("test")]
    nats = sum(nats_of(writer.model, writer.tokenizer, prompt, " ok then") for prompt in prompts)
    assert scores["loss"] == pytest.approx(nats / (5 * tokens), rel=1e-6)
    assert scores["bits_per_byte"] == pytest.approx(nats / math.log(2) / (5 * len(" ok then")), rel=1e-6)


def test_of_one_long_text_the_last_tenth_is_held_out_and_every_token_counts_once(config, tmp_path):
    text = " ".join(f"{HAM[i % 3].format(i)}." for i in range(90))
    (tmp_path / "book.txt").write_text(text)
    given = dataclasses.replace(config, dataset="book.txt", only_label=None, test_size=0.1, num_train_epochs=1)
    results, rows = train.main(given), task_of(given).rows
    pieces = [document.text for document in rows.documents.items]
    assert "".join(pieces) == text and len(pieces) == 3
    assert len(pieces[2]) == pytest.approx(0.1 * len(text), rel=0.1)
    tokenizer = gpt2.Tokenizer(Path(config.model))
    assert results["after"]["tokens"] == len(tokenizer.encode(pieces[2])) + 1
    assert results["rows"]["test"] == -(-results["after"]["tokens"] // 63), "windows of 64 that share one token"
    for piece, part in zip(pieces, ("train", "val", "test")):
        targets = [token for window in rows.of_part(part) for token in window.targets]
        assert targets == [*tokenizer.encode(piece), tokenizer.eos_token_id]


def test_another_file_only_tests_and_changes_not_a_byte_of_what_is_learned(config, tmp_path, capsys):
    (tmp_path / "other.txt").write_text("see you at the pub\n<|endoftext|>\nmum says dinner is at nine\n")
    without = train.main(config)
    learned, before = adapter_bytes("run"), capsys.readouterr()
    results = train.main(dataclasses.replace(config, also_test="other.txt", output_dir="with"))
    also, out = results.pop("also_test"), capsys.readouterr().out
    assert adapter_bytes("with") == learned and results["after"] == without["after"] and before
    writer = generate.load_writer("run", device="cpu", fast=False)
    texts = "see you at the pub", "mum says dinner is at nine"
    nats = sum(nats_of(writer.model, writer.tokenizer, "", text) for text in texts)
    assert also["after"]["loss"] == pytest.approx(nats / also["after"]["tokens"], rel=1e-6)
    assert also["before"]["loss"] > also["after"]["loss"] and set(also["baselines"]) == {"bigram", "gzip"}
    assert (also["dataset"], also["after"]["rows"], also["seen"]) == ("other.txt", 2, 1)
    assert "other.txt: 2 texts, " in out and out.count("bigram") == 2
    assert "other.txt" in Path("with/adapter/README.md").read_text()


# Going on


def test_a_run_resumed_at_any_step_ends_with_the_same_bytes(config):
    steps = train.main(config)["steps"]
    whole, lines = adapter_bytes("run"), logged("run")
    for step in range(1, steps):
        train.main(train.read_settings(["--resume_from_checkpoint", f"run/checkpoints/step-{step:06d}"]))
        assert adapter_bytes("run") == whole, f"resumed after step {step}"
    assert logged("run") == lines


def test_a_run_is_not_resumed_with_other_texts_or_another_task(config, tmp_path):
    texts_of(tmp_path, "documents in a .txt")
    train.main(dataclasses.replace(config, max_steps=1))
    for changes, words in (
        ({"dataset": "mine.txt", "only_label": None}, "--only_label .it was .*., the rows of --dataset"),
        ({"task": "classification", "only_label": None}, "--task .it was language., --only_label .it was"),
    ):
        with pytest.raises(ValueError, match=f"cannot go on with a change of {words}"):
            train.main(dataclasses.replace(config, max_steps=1, resume_from_checkpoint="run", **changes))


def test_all_weights_can_be_trained_and_the_model_is_written_whole(config):
    results = train.main(dataclasses.replace(config, train="full", learning_rate=1e-3))
    assert results["after"]["loss"] < results["before"]["loss"] - 0.1
    assert results["trainable_parameters"] == results["total_parameters"]
    model = gpt2.GPT2LMHeadModel.from_pretrained("run/model")
    assert results["total_parameters"] == sum(p.numel() for p in model.parameters())
    writer, task = generate.load_writer("run", device="cpu"), task_of(config)
    assert task.scores("test", writer.model, 64, writer.place) == results["after"]
