"""What is told of a run agrees with what is computed otherwise; what is not there is told by a line."""

import json
import math
import shutil
import time

import pytest
import torch

import gpt2
import infer
import lora
import train
from anatomy.dial import Dial
from anatomy.report import report
from tasks.evaluate import evaluated, recorded_task
from training.metrics import BINS

TEXT = "WINNER! claim nine pounds now"


@pytest.fixture(scope="module")
def found(runs):
    return report(runs / "lora", full=runs / "full", text=TEXT)


@pytest.fixture(scope="module")
def classifier(runs):
    return infer.load_classifier(runs / "lora", device="cpu")


def test_singular_values_are_those_of_the_dense_update_and_so_is_its_norm(found, classifier):
    rows = {(row["layer"], row["part"]): row for row in found["updates"]}
    layers = {n.removeprefix("transformer."): m for n, m in classifier.model.named_modules() if hasattr(m, "scaling")}
    assert {layer for layer, _ in rows} == set(layers)
    for (name, part), row in rows.items():
        layer = layers[name]
        third = layer.out_features // 3
        span = slice(None) if part is None else slice("qkv".index(part) * third, ("qkv".index(part) + 1) * third)
        dense, W0 = layer.delta_weight("default").T[span].double(), layer.base_layer.weight.T[span].double()
        wanted = torch.linalg.svdvals(dense)[: len(row["singular_values"])]
        assert row["singular_values"] == pytest.approx(wanted.tolist(), rel=1e-4, abs=1e-4 * float(wanted[0]))
        assert row["norm"] == pytest.approx(float(dense.norm()), rel=1e-4)
        assert row["relative"] == pytest.approx(float(dense.norm() / W0.norm()), rel=1e-4)
        assert row["stable_rank"] == pytest.approx(float((dense.norm() / wanted[0]) ** 2), rel=1e-4)
    blocks = {(row["block"], row["module"]) for row in found["updates"]}
    assert (None, "wte") in blocks and (1, "mlp.c_fc") in blocks


def test_of_full_fine_tuning_the_update_is_the_difference_of_the_weights(found, runs, tiny_base):
    rows = {(row["layer"], row["part"]): row for row in found["full"]["updates"]}
    tuned = gpt2.GPT2ForSequenceClassification.from_pretrained(runs / "full" / "model").state_dict()
    base = gpt2.GPT2LMHeadModel.from_pretrained(tiny_base).state_dict()
    name = "h.1.attn.c_attn"
    dense = (tuned[f"transformer.{name}.weight"] - base[f"transformer.{name}.weight"]).double()
    values = torch.linalg.svdvals(dense)
    assert rows[name, None]["norm"] == pytest.approx(float(values.norm()), rel=1e-4)
    assert rows[name, None]["singular_values"][:4] == pytest.approx(values[:4].tolist(), rel=1e-4)
    share = float(values[:4].square().sum() / values.square().sum())
    assert rows[name, None]["energy_in_r"] == pytest.approx(share, rel=1e-4) and found["full"]["r"] == 4
    queries = rows[name, "q"]["norm"] ** 2 + rows[name, "k"]["norm"] ** 2 + rows[name, "v"]["norm"] ** 2
    assert queries**0.5 == pytest.approx(float(values.norm()), rel=1e-4)


def test_overlap_is_told_beside_what_chance_would_give(found):
    rows = {row["layer"]: row for row in found["full"]["overlap"]}
    assert rows["h.0.mlp.c_proj"]["chance"] == 4 / 32 and rows["h.0.attn.c_attn"]["chance"] == 4 / 96
    assert all(0 <= row["value"] <= 1 for row in rows.values())


def test_what_the_layers_add_sums_up_to_the_difference_between_tuned_and_base(found, classifier):
    text = found["text"]
    ids = torch.tensor([[token["id"] for token in text["tokens"]]])

    def log_odds():
        logits = classifier.model(ids).logits[0].double()
        return float(logits[1] - logits[0])

    with torch.no_grad():
        tuned = log_odds()
        with lora.disable_lora(classifier.model):
            base = log_odds()
    assert sum(row["value"] for row in text["contributions"]) == pytest.approx(tuned - base, abs=1e-4)
    layers = [row["layer"] for row in text["contributions"]]
    assert layers[0] == "wte" and layers[-1] == "score" and layers[1] == "h.0.attn.c_attn"
    assert text["prefix"]["tuned"][-1] == pytest.approx(tuned, abs=1e-4)
    assert text["prefix"]["base"][-1] == pytest.approx(base, abs=1e-4)


def test_a_text_is_answered_as_infer_answers_it_and_again_after_it_was_looked_at(found, runs, classifier):
    assert found["text"]["tuned"] == classifier.probabilities([TEXT])[0]
    with classifier.base():
        assert found["text"]["base"] == classifier.probabilities([TEXT])[0]
    assert found["text"]["label"] == "spam" and found["text"]["pooled"] == len(found["text"]["tokens"]) - 1


def test_prefixes_and_texts_without_a_token_are_answered_as_texts_of_their_own(found, classifier):
    ids = [token["id"] for token in found["text"]["tokens"]]

    def log_odds(row):
        with torch.no_grad():
            logits = classifier.model(torch.tensor([row])).logits[0].double()
        return float(logits[1] - logits[0])

    whole = log_odds(ids)
    for i in range(len(ids)):
        assert found["text"]["prefix"]["tuned"][i] == pytest.approx(log_odds(ids[: i + 1]), abs=1e-4)
        change = log_odds(ids[:i] + ids[i + 1 :]) - whole
        assert found["text"]["leave_one_out"][i] == pytest.approx(change, abs=1e-4)


def test_the_bytes_of_the_tokens_are_the_text(runs):
    for text in ("naïve 🎉 \u00a0x", "tab\tand\nline", "<|endoftext|> is text"):
        seen = report(runs / "lora", text=text)["text"]
        assert bytes(b for token in seen["tokens"] for b in token["bytes"]).decode() == text
        assert seen["bytes"] == len(text.encode())


def test_the_scores_are_those_of_infer_test(found, runs):
    known = infer.load_classifier(runs / "lora", device="cpu", precision="fp32")
    task = recorded_task(known)
    for name, value in evaluated(known, task, task, 64, errors=12).items():
        assert found["evaluation"][name] == value, name


def test_what_stands_behind_the_scores_adds_up_to_them(found):
    scores = found["evaluation"]
    after, rows = scores["after"], scores["after"]["rows"]
    for parts in (scores["by_length"], scores["reliability"]):
        assert sum(part["rows"] for part in parts) == rows
    right = sum(part["rows"] * part["right"] for part in scores["by_length"])
    assert right / rows == pytest.approx(after["accuracy"])
    said = sum(part["rows"] * part["said"] for part in scores["by_length"])
    assert said == pytest.approx(sum(counts[1] for counts in after["confusion_matrix"]))
    gap = sum(part["rows"] * abs(part["confidence"] - part["accuracy"]) for part in scores["reliability"]) / rows
    assert gap == pytest.approx(after["calibration_error"]) and len(scores["reliability"]) <= BINS
    half = next(row for row in scores["threshold_curve"] if row["threshold"] == 0.5)
    assert half["f1"] == pytest.approx(after["f1"])
    lengths = [(part["from"], part["to"]) for part in scores["by_length"]]
    assert all(a[1] < b[0] for a, b in zip(lengths, lengths[1:]))


def test_at_the_first_step_only_the_factors_that_are_not_beside_a_zero_get_a_gradient(found):
    first, *_, last = found["gradients"]
    assert [row["step"] for row in found["gradients"]] == [0, 4, 8]
    assert first["lora_A"] == 0 and first["lora_B"] > 0 and first["update"] == 0
    assert first["lora_embedding_B"] == 0 and first["lora_embedding_A"] > 0
    assert last["lora_A"] > 0 and last["update"] > 0 and last["loss"] < first["loss"]
    whole = sum(row["norm"] ** 2 for row in found["updates"] if row["part"] is None and row["block"] is not None)
    assert last["update"] == pytest.approx(whole**0.5, rel=1e-4)


def test_memory_is_counted_from_the_shapes(found):
    rows = {row["name"]: row for row in found["memory"]}
    assert list(rows) == ["head", "lora", "full"]
    assert rows["head"]["gradients"] == 4 * 2 * 32 and rows["full"]["optimizer"] == 2 * rows["full"]["weights"]
    assert rows["lora"]["weights"] - rows["full"]["weights"] == rows["lora"]["gradients"]
    assert rows["head"]["activations"] < rows["lora"]["activations"]


def test_of_a_writer_each_kind_of_token_has_its_price_and_each_kept_step_its_sample(runs):
    seen = report(runs / "writer", text="see you at nine then")
    writer, results = seen["writer"], json.loads((runs / "writer" / "results.json").read_text())
    assert writer["nats"]["tuned"] == pytest.approx(results["after"]["loss"], rel=1e-5)
    assert writer["nats"]["base"] == pytest.approx(results["before"]["loss"], rel=1e-5)
    assert sum(kind["tokens"] for kind in writer["kinds"]) == writer["tokens"] == results["after"]["tokens"]
    mean = sum(kind["tokens"] * kind["tuned"] for kind in writer["kinds"]) / writer["tokens"]
    assert mean == pytest.approx(results["after"]["loss"], rel=1e-5)
    assert [row["step"] for row in writer["samples"]] == [0, 4, 8]
    text = seen["text"]
    assert len(text["tokens"]) == len(text["base"]) == len(text["tuned"])
    assert "lm_head" in {row["layer"] for row in seen["updates"]}


def told_of(run, **more):
    lines = []
    seen = report(run, tell=lines.append, **more)
    json.dumps(seen, allow_nan=False)
    assert lines == seen["notes"]
    return seen, "\n".join(lines)


@pytest.fixture
def copied(runs, tmp_path):
    def copy(name):
        shutil.copytree(runs / name, tmp_path / name)
        return tmp_path / name

    return copy


def test_a_run_without_copies_has_no_gradients_and_a_line(copied):
    run = copied("lora")
    shutil.rmtree(run / "snapshots")
    seen, told = told_of(run)
    assert seen["gradients"] == [] and "no snapshots in it" in told and seen["evaluation"]["after"]


def test_a_copy_that_is_damaged_is_named(copied):
    run = copied("lora")
    (run / "snapshots" / "step-000004.safetensors").write_bytes(b"no tensors")
    seen, told = told_of(run)
    assert seen["gradients"] == [] and "step-000004.safetensors: not a whole safetensors file" in told


def test_an_adapter_alone_is_looked_at_without_its_run(runs, tmp_path):
    adapter = shutil.copytree(runs / "lora" / "adapter", tmp_path / "alone")
    (adapter / "task.json").unlink()
    with pytest.raises(lora.AdapterError, match="name its base with --model"):
        report(adapter)
    base = json.loads((adapter / "adapter_config.json").read_text())["base_model_name_or_path"]
    seen, told = told_of(adapter, model=base, text=TEXT)
    assert seen["updates"] and seen["text"]["contributions"] and seen["evaluation"] == {} and seen["curves"] == []
    assert "no metrics.jsonl" in told and "the rows: this adapter has no task.json" in told


def test_a_run_of_the_head_has_no_updates_and_one_of_whole_weights_has_dense_ones(runs):
    seen, told = told_of(runs / "head", text=TEXT)
    assert seen["updates"] == [] and "the head alone was trained" in told and seen["text"]["base"]
    assert [row["step"] for row in seen["gradients"]] == [0, 4, 8] and set(seen["gradients"][0]) >= {"head"}
    seen, told = told_of(runs / "full", text=TEXT)
    assert len(seen["updates"][0]["singular_values"]) <= 32 and "no snapshots of whole weights" in told
    assert seen["text"]["contributions"] == [] and seen["text"]["base"] and seen["evaluation"]["before"]


def test_rows_that_are_gone_leave_the_evaluation_out(runs, copied, messages_file, tmp_path):
    run = copied("lora")
    record = json.loads((run / "adapter" / "task.json").read_text())
    record["dataset"]["name"] = str(tmp_path / "gone.tsv")
    (run / "adapter" / "task.json").write_text(json.dumps(record))
    seen, told = told_of(run, text=TEXT)
    assert seen["evaluation"] == {} and "gone.tsv" in told and seen["updates"] and seen["text"]["tuned"]
    assert all("activations" not in row for row in seen["memory"])
    (tmp_path / "gone.tsv").write_text("ham\tother rows\nspam\tthan those\n")
    assert "rows have changed since training" in told_of(run)[1]


def test_a_damaged_line_of_the_curves_is_left_out_and_counted(copied):
    run = copied("lora")
    with open(run / "metrics.jsonl", "a") as file:
        file.write('{"step": 9, "loss": NaN}\n{"step"\n')
    seen, told = told_of(run)
    assert "1 damaged line left out" in told and seen["curves"][-1] == {"step": 9, "loss": None}


def test_a_run_that_trained_no_whole_weights_is_not_set_beside(runs):
    seen, told = told_of(runs / "lora", full=runs / "head")
    assert seen["full"] is None and "did not train whole weights" in told
    assert "no adapter there" in told_of(runs / "lora", full=runs / "nowhere")[1]


@pytest.mark.slow
def test_a_run_of_the_bundled_base_is_told_within_twenty_seconds(bundled):
    start = time.process_time()
    seen = report(bundled, text="Congratulations! You won a free ticket, reply YES now")
    assert len(seen["gradients"]) == 16 and len(json.dumps(seen)) < 1_000_000
    assert time.process_time() - start <= 30  # seconds of work, which two cores share


def test_a_writer_of_whole_weights_is_looked_at_like_any_other(tiny_base, messages_file, tmp_path):
    settings = {"task": "language", "train": "full", "model": str(tiny_base), "dataset": str(messages_file)}
    settings |= {"device": "cpu", "precision": "fp32", "max_steps": 2, "output_dir": str(tmp_path / "run")}
    train.main(train.TrainConfig(**settings))
    seen, told = told_of(tmp_path / "run", text="see you at nine")
    assert seen["updates"] and seen["writer"]["nats"]["base"] > 0 and seen["text"]["base"]
    assert [row["name"] for row in seen["memory"]] == ["full"] and len(seen["writer"]["samples"]) == 1


def test_of_more_than_two_labels_the_shares_are_told_of_each(tiny_base, messages, tmp_path):
    rows = tmp_path / "topics.tsv"
    names = ("ham", "spam", "other")
    rows.write_text("".join(f"{names[i % 3]}\t{text}\n" for i, (_, text) in enumerate(messages)))
    settings = {"model": str(tiny_base), "dataset": str(rows), "device": "cpu", "precision": "fp32", "max_steps": 2}
    train.main(train.TrainConfig(**settings, output_dir=str(tmp_path / "run"), test_size=0.4))
    seen, _ = told_of(tmp_path / "run", text=TEXT)
    scores, text = seen["evaluation"], seen["text"]
    assert scores["threshold_curve"] == [] and len(scores["label_names"]) == 3
    for part in scores["by_length"]:
        assert len(part["said"]) == len(part["true"]) == 3 and sum(part["said"]) == pytest.approx(1)
    best = max(range(3), key=text["tuned"].__getitem__)
    assert text["label"] == text["label_names"][best]
    p = text["tuned"][best]
    assert text["prefix"]["tuned"][-1] == pytest.approx(math.log(p / (1 - p)), abs=1e-4)
    added = sum(row["value"] for row in text["contributions"])
    assert added == pytest.approx(text["prefix"]["tuned"][-1] - text["prefix"]["base"][-1], abs=1e-4)
    dial = Dial(tmp_path / "run")
    assert dial.answer(TEXT)["label"] == text["label"] and dial.answer(TEXT)["tuned"] == text["tuned"]


def test_texts_that_are_gone_are_looked_for_nowhere_else(copied):
    run = copied("writer")
    record = json.loads((run / "adapter" / "task.json").read_text())
    record["dataset"]["name"] = "somebody/texts"
    (run / "adapter" / "task.json").write_text(json.dumps(record))
    seen, told = told_of(run, text="see you")
    assert "its texts, 'somebody/texts', are not here" in told and seen["writer"]["kinds"] == []
    assert seen["writer"]["samples"] and seen["text"]["tuned"] and seen["updates"]
