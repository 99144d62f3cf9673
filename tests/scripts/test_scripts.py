"""The scripts back stage do what their first lines say, on corpora and models of a few kilobytes."""

import json
import math

import numpy as np
import pytest

from tests.scripts.loading import script


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
