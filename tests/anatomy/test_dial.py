"""The adapter turned by hand: at the ends it is the base and the tuned model, in between what the numbers say."""

import shutil
import statistics
import time

import pytest
import torch

import infer
from anatomy.dial import Dial
from data import DataError
from lora.checkpoint import lora_state_dict
from training.errors import UsageError
from training.snapshots import read_snapshot

TEXT = "WINNER! claim nine pounds now"


@pytest.fixture(scope="module")
def dial(runs):
    return Dial(runs / "lora")


@pytest.fixture(scope="module")
def classifier(runs):
    return infer.load_classifier(runs / "lora", device="cpu")


def test_strength_zero_is_the_base_to_the_bit_at_every_time_and_rank(dial, classifier):
    with classifier.base():
        base = classifier.probabilities([TEXT])[0]
    for step in dial.steps:
        for rank in dial.ranks:
            assert dial.probabilities(TEXT, step, rank, 0) == base
    assert dial.answer(TEXT, dial.steps[1], 2, 0)["tuned"] == dial.answer(TEXT)["base"] == base


def test_the_best_step_at_full_rank_and_strength_one_is_the_tuned_model(dial, classifier):
    tuned = classifier.probabilities([TEXT])[0]
    dial.probabilities(TEXT, dial.steps[1], 1, 0.3)  # wherever it was turned before
    for found in (dial.probabilities(TEXT), dial.probabilities(TEXT, dial.best, dial.ranks[-1], 1.0)):
        assert found == pytest.approx(tuned, abs=1e-6)
    assert dial.answer(TEXT)["tuned"] == pytest.approx(tuned, abs=1e-6)


def test_the_ends_are_not_one_and_the_same(dial):
    answers = [dial.probabilities(TEXT, strength=strength)[1] for strength in (0, 0.5, 1, 1.5)]
    assert len({round(answer, 4) for answer in answers}) == 4


def test_at_an_earlier_step_it_answers_with_the_copy_of_that_step(dial, runs, classifier):
    step = dial.steps[1]
    own = lora_state_dict(classifier.model)
    kept = {name: tensor.clone() for name, tensor in own.items()}
    copy = read_snapshot(runs / "lora" / "snapshots", step, own)
    try:
        for name in own:
            own[name].copy_(copy[name])
        wanted = classifier.probabilities([TEXT])[0]
    finally:
        for name in own:
            own[name].copy_(kept[name])
    assert dial.probabilities(TEXT, step) == wanted != classifier.probabilities([TEXT])[0]


def test_a_smaller_rank_keeps_the_strongest_directions_and_strength_scales_them(dial):
    whole = {row["layer"]: row["singular_values"] for row in dial.spectrum()}
    for row in dial.spectrum(rank=2, strength=0.5):
        assert row["singular_values"] == pytest.approx([0.5 * value for value in whole[row["layer"]][:2]])
    dial.probabilities(TEXT, rank=2, strength=0.5)
    for path, layer in dial.opened.layers.items():
        values = torch.linalg.svdvals(layer.delta_weight("default").double())
        wanted = whole[path.removeprefix("transformer.")]
        assert values[:2].tolist() == pytest.approx([0.5 * value for value in wanted[:2]], rel=1e-4)
        assert float(values[2:].sum()) == pytest.approx(0, abs=1e-4 * wanted[0])


def test_strength_moves_the_head_between_the_untrained_and_the_trained_one(dial):
    head = dial.opened.head
    dial.probabilities(TEXT)
    trained = head.modules_to_save["default"].weight.clone()
    dial.probabilities(TEXT, strength=0.25)
    wanted = head.original_module.weight + 0.25 * (trained - head.original_module.weight)
    torch.testing.assert_close(head.modules_to_save["default"].weight, wanted)


def test_an_answer_tells_the_tokens_and_the_value_after_each(dial):
    found = dial.answer(TEXT, strength=0.7)
    assert bytes(b for token in found["tokens"] for b in token["bytes"]).decode() == TEXT
    assert len(found["prefix"]["base"]) == len(found["prefix"]["tuned"]) == len(found["tokens"])
    p = found["tuned"][1]
    assert found["prefix"]["tuned"][-1] == pytest.approx(float(torch.tensor(p, dtype=torch.double).logit()), abs=1e-3)
    assert dial.answer("long " * 100)["cut"] is True


def test_what_is_no_setting_is_refused_with_what_there_is(dial):
    for wrong in ({"step": 3}, {"rank": 0}, {"rank": 5}, {"strength": 1.6}, {"strength": -0.1}):
        with pytest.raises(UsageError, match="there are the steps 0, 4, 8, ranks 1 to 4, strengths 0 to 1.5"):
            dial.probabilities(TEXT, **wrong)
    with pytest.raises(DataError, match="empty text"):
        dial.answer("  ")
    with pytest.raises(UsageError, match="is a classifier"):
        dial.next_tokens("x")


def test_without_copies_there_is_one_time(runs, tmp_path):
    shutil.copytree(runs / "lora", tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "snapshots")
    dial = Dial(tmp_path / "run")
    assert dial.steps == [dial.best] == [8] and dial.probabilities(TEXT, rank=1)
    alone = Dial(shutil.copytree(runs / "lora" / "adapter", tmp_path / "alone"))
    assert alone.steps == [alone.best] and alone.probabilities(TEXT) == dial.probabilities(TEXT)


@pytest.mark.parametrize("name", ["full", "head"])
def test_a_whole_model_has_nothing_to_turn(runs, name):
    with pytest.raises(UsageError, match="has no adapter to turn; give a run of --train lora"):
        Dial(runs / name)


def test_a_writer_says_what_comes_next_and_writes_the_same_with_the_same_seed(runs):
    dial = Dial(runs / "writer")
    tokens, _ = dial.next_tokens("see you", k=5)
    tuned = [token["tuned"] for token in tokens]
    assert len(tokens) == 5 and tuned == sorted(tuned, reverse=True)
    assert all(token["base"] == token["tuned"] for token in dial.next_tokens("see you", strength=0)[0])
    assert dial.sample("see", seed=3) == dial.sample("see", seed=3)
    found = dial.answer("see you at nine")
    assert len(found["tokens"]) == len(found["tuned"]) == len(found["base"])
    with pytest.raises(UsageError, match="is a writer"):
        dial.probabilities("x")


@pytest.mark.slow
def test_the_bundled_base_answers_at_once(bundled):
    dial, answers, drags = Dial(bundled), [], []
    for number in range(15):
        start = time.process_time()
        dial.answer(f"Congratulations! You won ticket {number}, reply YES now")
        answers.append(time.process_time() - start)
    for number in range(30):
        start = time.process_time()
        dial.answer("Congratulations! You won", dial.steps[number % 16], 1 + number % 8, number / 20)
        dial.spectrum(dial.steps[number % 16], 1 + number % 8, number / 20)
        drags.append(time.process_time() - start)
    assert statistics.median(answers) <= 0.12 and statistics.median(drags) <= 0.3  # twice the bars: seconds of work


def test_bytes_that_are_no_text_are_refused_by_both_kinds(runs, dial):
    for each in (dial, Dial(runs / "writer")):
        with pytest.raises(DataError):
            each.answer("half a \ud83d character")


def test_without_results_the_adapter_stands_at_the_last_time(runs, tmp_path):
    run = shutil.copytree(runs / "lora", tmp_path / "run")
    (run / "results.json").unlink()
    assert (Dial(run).best, Dial(run).steps) == (8, [0, 4, 8])
