"""benchmarks/speed/cost.py: what it predicts is what it then measures."""

import json

import pytest

import gpt2
from benchmarks.speed.cost import CostConfig, main, predict, table_of
from benchmarks.speed.ledger import Ledger
from training.errors import UsageError


def test_at_gpt2_s_size_a_head_needs_a_third_of_the_arithmetic_lora_two_thirds_and_the_rest_follows_the_weights():
    predicted = predict(Ledger.of(gpt2.GPT2Config()))
    assert {way: round(p["flop_of_full"], 2) for way, p in predicted.items()} == {"head": 0.33, "lora": 0.68, "full": 1}
    assert {way: p["trained"] for way, p in predicted.items()} == {"head": 1536, "lora": 812_544, "full": 124_441_344}
    assert predicted["lora"]["optimizer"] == 8 * 812_544 and predicted["lora"]["file"] == 4 * 812_544
    assert predicted["full"]["held"] == 16 * 124_441_344  # weight, gradient and two averages, four bytes each


def test_the_table_names_every_number_once_per_way():
    predicted = predict(Ledger.of(gpt2.GPT2Config()))
    measured = {way: dict.fromkeys(("gradients", "optimizer", "file", "peak"), 2.5e6) for way in predicted}
    lines = table_of(predicted, measured).splitlines()
    assert lines[0].split() == ["predicted", "head", "LoRA", "full"]
    assert "AdamW's state, MB                  0.01     6.50       995.53" in lines
    assert lines.count("gradients, MB                      2.50     2.50         2.50") == 1
    assert "" in lines and len(lines) == 8 + 1 + 5


@pytest.mark.slow  # three processes start
def test_gradients_optimizer_and_files_are_measured_as_large_as_predicted(tiny_base, messages_file, tmp_path, capsys):
    answer = tmp_path / "cost.json"
    sizes = {"batch_size": 4, "batches": 2, "repeats": 1, "threads": 1}
    main(CostConfig(model=str(tiny_base), dataset=str(messages_file), json=str(answer), **sizes))
    report = json.loads(answer.read_text())
    assert table_of(report["predicted"], report["measured"]) in capsys.readouterr().out
    for way, predicted in report["predicted"].items():
        measured = report["measured"][way]
        assert measured["gradients"] == predicted["gradients"]
        counters = measured["optimizer"] - predicted["optimizer"]  # AdamW also counts each tensor's steps, in 4 bytes
        assert 0 < counters <= 4 * 200 and counters % 4 == 0
        assert 0 < measured["file"] - predicted["file"] < 20_000  # the header of the file: names and shapes
        assert measured["step_seconds"] > 0
    assert report["measured"]["full"]["step_of_full"] == 1


def test_two_bases_are_one_too_many():
    with pytest.raises(UsageError, match="--model and --base"):
        CostConfig(model="somewhere", base="random")
