"""The scripts back stage do what their first lines say, on corpora and models of a few kilobytes."""

import importlib.util
import itertools
import json
import math
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import gpt2

ROOT = Path(__file__).resolve().parents[2]
BOOK = "\n".join(
    f"The {a} {b} went to the {c}." for a in ("old", "new", "red") for b in ("cat", "dog") for c in ("sea", "sun")
)


@pytest.fixture(autouse=True)
def scripts_on_the_path(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))


def script(name: str):
    """scripts/NAME.py as a module."""
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, ROOT / "scripts" / f"{name}.py")
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    directory = tmp_path_factory.mktemp("books")
    (directory / "a.txt").write_text(
        "\n<|endoftext|>\n".join(f"{BOOK}\nChapter {i}." for i in range(8)), encoding="utf-8"
    )
    return directory


@pytest.fixture(scope="module")
def talk(tmp_path_factory) -> Path:
    """A second directory, with two files of different sizes."""
    directory = tmp_path_factory.mktemp("talk")
    for name, times in (("chat", 8), ("calls", 16)):
        lines = [f"hi, can you call me at {hour}? ok, see you then" for hour in range(times)]
        (directory / f"{name}.txt").write_text("\n<|endoftext|>\n".join(lines), encoding="utf-8")
    return directory


def pretrain(books: Path, output_dir: Path, **changes) -> None:
    module = script("pretrain_base")
    settings = {"vocab_size": 270, "n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 16, "batch_size": (2, 3)}
    settings |= {"corpus": (str(books),), "output_dir": str(output_dir), "held_out": 4, "max_steps": 4}
    settings |= {"eval_steps": 2, "warmup_steps": 1, "precision": "fp32", "device": "cpu"}
    module.main(module.PretrainConfig(**{**settings, **changes}))


@pytest.mark.parametrize("optimizer", ["muon", "adamw"])
def test_a_pretrained_base_is_a_model_directory_that_has_learned_something(corpus, tmp_path, optimizer):
    pretrain(corpus, tmp_path, max_steps=30, eval_steps=30, learning_rate=1e-2, optimizer=optimizer)
    model = gpt2.GPT2LMHeadModel.from_pretrained(tmp_path / "model")
    assert model.config.n_positions == 16 and gpt2.Tokenizer.from_pretrained(tmp_path / "model").vocab_size == 270
    assert model.config.resid_pdrop == model.config.attn_pdrop == 0.1  # pretraining used none; fine-tuning will
    curve = json.loads((tmp_path / "model" / "pretraining.json").read_text())["curve"]
    assert curve[-1]["train_loss"] < math.log(270) - 0.5 and curve[-1]["bits_per_byte"][corpus.name] < 8


def test_pretraining_stopped_and_started_again_ends_with_the_same_bytes(corpus, tmp_path, monkeypatch):
    pretrain(corpus, tmp_path / "whole")
    mixture = script("pretrain_base").Mixture
    real = mixture.batch

    def stop_at_3(self, step, rows, length):
        if step == 3:
            raise KeyboardInterrupt
        return real(self, step, rows, length)

    monkeypatch.setattr(mixture, "batch", stop_at_3)
    with pytest.raises(KeyboardInterrupt):
        pretrain(corpus, tmp_path / "parts")
    monkeypatch.setattr(mixture, "batch", real)
    pretrain(corpus, tmp_path / "parts")
    whole, parts = (tmp_path / name / "model" / "model.safetensors" for name in ("whole", "parts"))
    assert whole.read_bytes() == parts.read_bytes()


def test_pretraining_for_so_many_minutes_is_pretraining_for_the_steps_that_fit_into_them(corpus, tmp_path, monkeypatch):
    ticks = itertools.count(0, 0.01)  # a clock of which each look is 10 ms later: 20 steps take 10 ms
    monkeypatch.setattr(script("pretrain_base"), "time", SimpleNamespace(perf_counter=ticks.__next__))
    settings = {"minutes": 0.0734 / 60, "eval_steps": 10}  # after the trial, at 70 ms, 6.8 steps are left
    pretrain(corpus, tmp_path / "timed", **settings)
    record = json.loads((tmp_path / "timed" / "model" / "pretraining.json").read_text())
    assert record["config"]["max_steps"] == record["curve"][-1]["step"] == 6  # a little is kept for the end
    pretrain(corpus, tmp_path / "counted", max_steps=6, eval_steps=10)
    timed, counted = (tmp_path / name / "model" / "model.safetensors" for name in ("timed", "counted"))
    assert timed.read_bytes() == counted.read_bytes()
    pretrain(corpus, tmp_path / "timed", **settings)  # goes on, finds nothing left to do
    assert timed.read_bytes() == counted.read_bytes()
    with pytest.raises(ValueError, match="--minutes 1e-06: no step fits"):
        pretrain(corpus, tmp_path / "short", minutes=1e-6)


def test_pretraining_with_other_settings_does_not_go_on_from_the_old_checkpoint(corpus, tmp_path):
    pretrain(corpus, tmp_path)
    with pytest.raises(ValueError, match="other settings .learning_rate"):
        pretrain(corpus, tmp_path, learning_rate=0.5)


def test_rows_are_drawn_by_shares_and_held_out_documents_are_never_among_them(corpus, talk, tmp_path):
    pretrain(corpus, tmp_path, corpus=(str(corpus), str(talk)), shares=(0.25, 0.75), max_steps=1)
    module, tokenizer = script("corpus"), gpt2.Tokenizer(tmp_path)
    shares = {corpus.name: 0.25, talk.name: 0.75}
    texts = module.Mixture(tmp_path, shares, torch.device("cpu"), seed=0).batch(0, 400, 30).tolist()
    of_books = sum("w" in tokenizer.decode(row) for row in texts)  # somebody went somewhere; the talk has no w
    assert 0.2 < of_books / 400 < 0.3
    assert not any("Chapter 4" in tokenizer.decode(row) for row in texts)  # of 0, 1, 2, ... every 4th is held out
    parts = {part.corpus: tokenizer.decode(part.tokens.tolist()) for part in module.held_out_parts(tmp_path)}
    assert "Chapter 4" in parts[corpus.name] and "Chapter" not in parts[talk.name]


def test_a_root_of_1_draws_each_file_by_its_size_and_a_half_raises_the_small_ones(tmp_path):
    files = [{"corpus": "talk", "train": 9_000}, {"corpus": "talk", "train": 1_000}]
    (tmp_path / "tokens.json").write_text(json.dumps({"files": files}))
    np.save(tmp_path / "train.npy", np.repeat(np.array([0, 1], dtype=np.uint16), [9_000, 1_000]))
    drawn = {}
    for root in (0.5, 1.0):
        texts = script("corpus").Mixture(tmp_path, {"talk": 1.0}, torch.device("cpu"), seed=0, root=root)
        drawn[root] = texts.batch(0, 2_000, 10).float().mean().item()
    assert abs(drawn[0.5] - 1 / 4) < 0.03 and abs(drawn[1.0] - 1 / 10) < 0.03


def test_muons_update_turns_a_gradient_into_one_without_favourites():
    matrix = torch.randn(3, 24, 8, generator=torch.Generator().manual_seed(0)) * torch.logspace(0, -2, 8)
    for each in (matrix, matrix.mT):
        values = torch.linalg.svdvals(script("muon").orthogonal(each))
        assert values.min() > 0.6 and values.max() < 1.3


def test_muon_treats_q_k_and_v_as_three_matrices():
    def step(parts: int) -> torch.Tensor:
        weight = torch.nn.Parameter(torch.zeros(8, 24))
        weight.grad = torch.randn(8, 24, generator=torch.Generator().manual_seed(0))
        weight.grad[:, :8] *= 100  # q's gradient is larger; its update must not be
        script("muon").Muon([(weight, parts)], lr=1.0, weight_decay=0.0).step()
        return torch.stack([piece.norm() for piece in weight.detach().split(8, dim=1)])

    together, apart = step(1), step(3)
    assert together[0] > 1.5 * together[1] and 0.8 < apart[0] / apart[1] < 1.25


def test_the_bigram_yardstick_is_witten_and_bells_by_hand():
    train, test = np.array([0, 1, 0, 2, 0], dtype=np.uint16), np.array([0, 1, 1], dtype=np.uint16)
    single = [(3 + 1) / 8, (1 + 1) / 8, (1 + 1) / 8]
    after_0 = (1 + 2 * single[1]) / (2 + 2)  # 0 was followed twice, by two different tokens
    after_1 = (0 + 1 * single[1]) / (1 + 1)
    expected = -(math.log(after_0) + math.log(after_1)) / 2
    assert script("weigh_base").bigram_loss(train, test, 3) == pytest.approx(expected, rel=1e-12)


def test_a_base_is_weighed_beside_bigram_and_gzip_on_each_corpus_and_on_messages(
    corpus, talk, messages_file, tiny_base, capsys
):
    module = script("weigh_base")
    module.main(
        module.WeighConfig(
            corpus=(str(corpus), str(talk)), messages=str(messages_file), model=(str(tiny_base),), held_out=4
        )
    )
    table = [line.strip("| ").split(" | ") for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
    assert table[0] == ["bits a byte", corpus.name, talk.name, "messages"]
    bits = {name: [float(value) for value in values] for name, *values in table[1:]}
    assert set(bits) == {tiny_base.name, "bigram", "gzip -9"}
    assert all(b < m < 8 for b, m in zip(bits["bigram"][:2], bits[tiny_base.name][:2]))  # its weights are random


def test_a_corpus_without_text_files_is_refused_in_one_line(tmp_path):
    module = script("weigh_base")
    with pytest.raises(ValueError, match="no .txt files there"):
        module.main(module.WeighConfig(corpus=(str(tmp_path),)))


def test_a_sweep_takes_the_rate_with_the_least_validation_loss_and_runs_nothing_twice(
    messages_file, tiny_base, tmp_path, monkeypatch, capsys
):
    pytest.importorskip("sklearn", reason="needs pip install -r requirements-extras.txt")
    module = script("sweep")
    monkeypatch.setitem(module.ARMS, "LoRA", ("lora", (1e-5, 3e-2)))
    config = module.SweepConfig(
        model=str(tiny_base), dataset=str(messages_file), splits=("stratified",), arms=("LoRA",), seeds=("0", "1"),
        epochs=2, output_dir=str(tmp_path),
    )  # fmt: skip
    module.main(config)
    first = capsys.readouterr().out
    assert "| LoRA | 0.03 |" in first and "linear SVM" in first
    module.main(config)
    again = capsys.readouterr().out
    assert "---" in first.split("split stratified")[0] and "--- " not in again
    assert (tmp_path / "table.md").read_text().strip() in first


def test_a_sweep_scores_the_presets_second_file_too_and_knows_when_the_rows_have_changed(
    messages_file, tiny_base, tmp_path, monkeypatch, capsys
):
    pytest.importorskip("sklearn", reason="needs pip install -r requirements-extras.txt")
    module = script("sweep")
    monkeypatch.setitem(module.ARMS, "LoRA", ("lora", (3e-2,)))
    rows, typed, preset = tmp_path / "rows.tsv", tmp_path / "typed.tsv", tmp_path / "mine.toml"
    rows.write_text(messages_file.read_text())
    typed.write_text("spam\tclaim your prize now\nham\tsee you at ten then\n")
    preset.write_text(f'dataset = "{rows}"\nalso_test = "{typed}"\nnum_train_epochs = 1\n')
    config = module.SweepConfig(
        preset=str(preset), model=str(tiny_base), dataset=str(rows), splits=("stratified",), arms=("LoRA",),
        seeds=("0",), output_dir=str(tmp_path / "sweep"),
    )  # fmt: skip
    module.main(config)
    table = capsys.readouterr().out.split(f"{typed}, the same runs")[1]
    accuracies = [line.split("|")[3].strip() for line in table.splitlines() if line.startswith("| ")][1:]
    assert len(accuracies) == 5 and set(accuracies) <= {"0.00%", "50.00%", "100.00%"}
    rows.write_text(messages_file.read_text().replace("mum", "dad"))
    module.fingerprints.cache_clear()
    with pytest.raises(ValueError, match="another set of rows"):
        module.main(config)


def test_a_finished_run_is_drawn(messages_file, tiny_base, tmp_path):
    pytest.importorskip("matplotlib", reason="needs pip install -r requirements-extras.txt")
    import train

    train.main(
        train.TrainConfig(
            model=str(tiny_base), dataset=str(messages_file), num_train_epochs=1, output_dir=str(tmp_path / "run")
        )
    )
    module = script("draw_run")
    module.main(module.DrawConfig(run=str(tmp_path / "run"), output=str(tmp_path / "run.svg")))
    assert "<svg" in (tmp_path / "run.svg").read_text()
    curve = [{"step": step, "bits_per_byte": {"talk": 3 / step, "books": 4 / step}} for step in (1, 2, 3)]
    record = {"config": {"batch_size": [2, 4], "max_steps": 4, "n_positions": 10}, "curve": curve}
    (tmp_path / "pretraining.json").write_text(json.dumps(record))
    module.main(module.DrawConfig(run=str(tmp_path), output=str(tmp_path / "curve.svg")))
    assert "<svg" in (tmp_path / "curve.svg").read_text()
    assert [module.tokens_seen(record["config"], entry["step"]) for entry in curve] == [20, 40, 80]
    (tmp_path / "pretraining.json").unlink()
    with pytest.raises(ValueError, match="no results.json"):
        module.main(module.DrawConfig(run=str(tmp_path), output=str(tmp_path / "run.svg")))


def test_the_shapes_that_are_drawn_are_those_of_gpt2s_layer(tmp_path):
    pytest.importorskip("matplotlib", reason="needs pip install -r requirements-extras.txt")
    module = script("draw_shapes")
    assert module.shapes(4) == [(768, 768), (768, 4), (4, 768)]
    module.main(module.ShapesConfig(lora_r=64, output=str(tmp_path / "shapes.svg")))
    assert "<svg" in (tmp_path / "shapes.svg").read_text()


def test_recipes_are_compared_on_validation_rows_and_no_test_score_is_printed(
    messages_file, tiny_base, tmp_path, capsys
):
    module = script("choose_recipe")
    config = module.ChooseConfig(
        model=str(tiny_base), dataset=str(messages_file), variants=("the preset", "rate 4e-3"), seeds=(0,),
        output_dir=str(tmp_path),
    )  # fmt: skip
    module.main(config)
    rows = [line.strip("| ").split(" | ") for line in capsys.readouterr().out.splitlines()[2:]]
    assert [row[0] for row in rows] == ["the preset", "rate 4e-3"]
    log = (tmp_path / "rate-4e-3" / "seed0" / "metrics.jsonl").read_text().splitlines()
    losses = [entry["loss"] for entry in map(json.loads, log) if entry.get("part") == "validation"]
    assert float(rows[1][1]) == pytest.approx(min(losses), abs=5e-5)
    results = json.loads((tmp_path / "rate-4e-3" / "seed0" / "results.json").read_text())
    assert f"{results['after']['loss']:.4f}" not in rows[1]
