"""scripts/pretrain_base.py: what it learns from, its optimizers, and that it goes on where it was stopped."""

import functools
import itertools
import json
import math
import signal
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import gpt2
from tests.scripts.loading import script
from training.errors import Stopped
from training.log import read_metrics
from training.optimization import set_learning_rate
from training.trainee import optimizer_tensors, restore_optimizer, restore_parameters


def settings_of(books: Path, output_dir: Path, **changes):
    settings = {"vocab_size": 270, "n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 16, "batch_size": (2, 3)}
    settings |= {"corpus": (str(books),), "output_dir": str(output_dir), "held_out": 4, "max_steps": 4}
    settings |= {"eval_steps": 2, "warmup_steps": 1, "precision": "fp32", "device": "cpu"}
    return script("pretrain_settings").PretrainConfig(**(settings | changes))


def pretrain(books: Path, output_dir: Path, **changes) -> None:
    script("pretrain_base").main(settings_of(books, output_dir, **changes))


@pytest.mark.parametrize("optimizer", ["muon", "adamw"])
def test_a_pretrained_base_is_a_model_directory_that_has_learned_something(corpus, tmp_path, optimizer):
    pretrain(corpus, tmp_path, max_steps=30, eval_steps=30, learning_rate=1e-2, optimizer=optimizer)
    model = gpt2.GPT2LMHeadModel.from_pretrained(tmp_path / "model")
    assert model.config.n_positions == 16 and gpt2.Tokenizer.from_pretrained(tmp_path / "model").vocab_size == 270
    assert model.config.resid_pdrop == model.config.attn_pdrop == 0.1  # pretraining used none; fine-tuning will
    curve = json.loads((tmp_path / "model" / "pretraining.json").read_text())["curve"]
    assert curve[-1]["train_loss"] < math.log(270) - 0.5 and curve[-1]["bits_per_byte"][corpus.name] < 8


def test_a_compiled_model_learns_the_same(corpus, tmp_path, monkeypatch):
    pretrain(corpus, tmp_path / "plain")
    traced = functools.partial(torch.compile, backend="eager")  # torch's graph of the model, and no C++ compiler
    monkeypatch.setattr(torch, "compile", traced)
    pretrain(corpus, tmp_path / "compiled", compile=True)
    plain, compiled = (tmp_path / name / "model" / "model.safetensors" for name in ("plain", "compiled"))
    assert plain.read_bytes() == compiled.read_bytes()


def ctrl_c(at: int, times: int):
    """Mixture.batch, with so many Ctrl-C while the rows of step `at` are drawn."""
    real = script("corpus").Mixture.batch

    def batch(self, step, rows, length):
        for _ in range(times if step == at else 0):
            signal.raise_signal(signal.SIGINT)
        return real(self, step, rows, length)

    return batch


def test_pretraining_stopped_and_started_again_ends_with_the_same_bytes(corpus, tmp_path, monkeypatch, capsys):
    pretrain(corpus, tmp_path / "whole")
    with monkeypatch.context() as patch:
        patch.setattr(script("corpus").Mixture, "batch", ctrl_c(at=3, times=2))
        with pytest.raises(KeyboardInterrupt):  # at once, and step 3 is lost
            pretrain(corpus, tmp_path / "parts")
    pretrain(corpus, tmp_path / "parts")
    assert "going on after step 2" in capsys.readouterr().out
    whole, parts = (tmp_path / name / "model" for name in ("whole", "parts"))
    assert (whole / "model.safetensors").read_bytes() == (parts / "model.safetensors").read_bytes()
    curves = [json.loads((model / "pretraining.json").read_text())["curve"] for model in (whole, parts)]
    assert curves[0] == curves[1] and [entry["step"] for entry in curves[0]] == [2, 4]


def test_pretraining_that_ctrl_c_stops_saves_its_step_and_says_that_the_same_command_goes_on(
    corpus, tmp_path, monkeypatch, capsys
):
    pretrain(corpus, tmp_path / "whole")
    with monkeypatch.context() as patch:
        patch.setattr(script("corpus").Mixture, "batch", ctrl_c(at=2, times=1))
        with pytest.raises(Stopped, match="^stopped after step 3; go on with: the same command$") as stopped:
            pretrain(corpus, tmp_path / "parts")
    assert stopped.value.exit_code == 130
    pretrain(corpus, tmp_path / "parts")
    assert "going on after step 3" in capsys.readouterr().out
    whole, parts = (tmp_path / name / "model" / "model.safetensors" for name in ("whole", "parts"))
    assert whole.read_bytes() == parts.read_bytes()


def test_pretraining_for_so_many_minutes_is_pretraining_for_the_steps_that_fit_into_them(corpus, tmp_path, monkeypatch):
    ticks = itertools.count(0, 0.01)  # a clock of which each look is 10 ms later
    clock = SimpleNamespace(perf_counter=ticks.__next__)
    for name in ("pretrain_base", "pretrain_steps"):
        monkeypatch.setattr(script(name), "time", clock)
    monkeypatch.setattr(script("pretrain_steps"), "AT_LEAST", 0.0)  # 20 steps take 20 ms
    settings = {"minutes": 0.078 / 60, "eval_steps": 10}  # after the trials, at 70 ms, 8 steps are left
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


def test_the_loss_of_a_step_is_the_mean_over_all_tokens_but_the_first_of_each_row(corpus, tmp_path):
    pretrain(corpus, tmp_path, max_steps=1)
    config = settings_of(corpus, tmp_path, max_steps=1)
    model = script("pretrain_base").build_model(config, gpt2.Tokenizer(tmp_path))
    texts = script("corpus").Mixture(tmp_path, {corpus.name: 1.0}, torch.device("cpu"), config.seed)
    ids = texts.batch(0, 2, 16)
    targets = model(ids).logits[:, :-1].log_softmax(-1).gather(-1, ids[:, 1:, None])
    assert read_metrics(tmp_path)[0]["loss"] == pytest.approx(-targets.mean().item(), rel=1e-6)


def test_the_last_evaluation_looks_at_more_windows_than_those_before(corpus, tmp_path, monkeypatch):
    module, asked = script("pretrain_scores"), []
    real = module.evaluate
    monkeypatch.setattr(module, "evaluate", lambda *given: asked.append(given[-1]) or real(*given))
    pretrain(corpus, tmp_path)
    assert asked == [64, 512]


def test_the_precision_that_was_measured_once_is_kept(corpus, tmp_path, monkeypatch, capsys):
    for measured in ("bf16", "fp32"):
        monkeypatch.setattr("training.device.cheaper_precision", lambda width, found=measured: (found, "measured"))
        pretrain(corpus, tmp_path, precision="auto")
    assert "precision bf16" in capsys.readouterr().out.split("written to")[1]
    with pytest.raises(ValueError, match=r"a change of the precision .it was bf16.;"):
        pretrain(corpus, tmp_path, precision="fp32")


@pytest.mark.parametrize("name, value", [("learning_rate", 0.5), ("batch_size", (3, 3)), ("seed", 1), ("root", 0.7)])
def test_pretraining_goes_on_with_what_it_was_begun_with_and_a_changed_setting_is_refused_by_name(
    corpus, tmp_path, name, value
):
    pretrain(corpus, tmp_path)
    with pytest.raises(ValueError, match=f"cannot go on with a change of --{name};"):
        pretrain(corpus, tmp_path, **{name: value})
    pretrain(corpus, tmp_path, eval_steps=3, dropout=0.2)  # these change nothing that is learned


def test_pretraining_does_not_go_on_with_other_tokens(corpus, tmp_path):
    pretrain(corpus, tmp_path)
    np.save(tmp_path / "train.npy", np.load(tmp_path / "train.npy")[::-1])
    with pytest.raises(ValueError, match="a change of the training tokens;"):
        pretrain(corpus, tmp_path)


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


def test_two_optimizers_joined_make_the_steps_of_the_two_apart_and_go_on_from_what_was_saved():
    module = script("muon")

    def model() -> dict[str, torch.nn.Parameter]:
        generator = torch.Generator().manual_seed(0)
        shapes = {"matrix": (8, 24), "bias": (24,)}
        return {name: torch.nn.Parameter(torch.randn(shape, generator=generator)) for name, shape in shapes.items()}

    def both(weights) -> list[torch.optim.Optimizer]:
        adamw = torch.optim.AdamW([weights["bias"]], lr=1.0, betas=(0.9, 0.95), fused=True)
        return [adamw, module.Muon([(weights["matrix"], 3)], lr=1.0)]

    def steps(weights, optimizers, numbers) -> None:
        for number in numbers:
            for name, weight in weights.items():
                weight.grad = torch.randn(
                    weight.shape, generator=torch.Generator().manual_seed(10 * number + len(name))
                )
            for optimizer in optimizers:
                set_learning_rate(optimizer, 0.1 / (1 + number))
                optimizer.step()
                optimizer.zero_grad()

    apart, together, resumed = model(), model(), model()
    steps(apart, both(apart), range(5))
    joined = module.Joined(*both(together))
    steps(together, [joined], range(2))
    assert all(weight.grad is None for weight in together.values())
    saved = optimizer_tensors(joined, together)
    assert sorted(saved) == ["bias|exp_avg", "bias|exp_avg_sq", "bias|step", "matrix|momentum"]
    again = module.Joined(*both(resumed))
    restore_parameters(resumed, {name: weight.detach().clone() for name, weight in together.items()})
    restore_optimizer(again, resumed, {key: value.clone() for key, value in saved.items()})
    steps(together, [joined], range(2, 5))
    steps(resumed, [again], range(2, 5))
    for name, weight in apart.items():
        assert torch.equal(weight, together[name]) and torch.equal(weight, resumed[name])
