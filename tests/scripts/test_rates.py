"""Loss against learning rate: measured once, kept, drawn."""

import json
from xml.etree import ElementTree

import pytest

from tests.scripts.loading import script
from training.errors import NonFiniteError, UsageError


@pytest.fixture
def swept(messages_file, tiny_base, tmp_path, monkeypatch):
    module = script("sweep_rates")
    monkeypatch.setattr(module, "ARMS", {"LoRA, r = 1": ("lora", 1), "full": ("full", 8)})
    monkeypatch.setattr(module, "RATES", {"lora": (1e-3, 3e-2), "full": (1e-3,)})
    preset = tmp_path / "mine.toml"
    preset.write_text(f'model = "{tiny_base}"\ndataset = "{messages_file}"\ndevice = "cpu"\n')
    config = {"preset": str(preset), "arms": tuple(module.ARMS), "max_steps": 6, "output_dir": str(tmp_path / "rates")}
    return module, module.RatesConfig(**config, json=str(tmp_path / "rates.json"))


def test_each_rate_is_measured_once_and_the_table_and_the_picture_are_of_what_was_kept(swept, tmp_path, capsys):
    module, config = swept
    rows = module.main(config)
    capsys.readouterr()
    assert module.main(config) == rows == json.loads((tmp_path / "rates.json").read_text())["rows"]
    assert "---" not in capsys.readouterr().out, "a run that is there is not made again"
    log = (tmp_path / "rates" / "lora1-0.03" / "metrics.jsonl").read_text().splitlines()
    scored = [entry for entry in map(json.loads, log) if "part" in entry]
    assert [(e["step"], e["part"]) for e in scored] == [(6, "validation")]
    assert rows[1] == {"arm": "LoRA, r = 1", "learning_rate": 0.03, "validation_loss": scored[0]["loss"]}
    draw = script("draw_rates")
    draw.main(draw.RatesConfig(rates=config.json, output=str(tmp_path / "rates.svg")))
    out = capsys.readouterr().out
    assert f"0.03: {rows[1]['validation_loss']:.3f}" in out and "full          least" in out
    assert ElementTree.parse(tmp_path / "rates.svg").getroot().tag.endswith("svg")


def test_a_rate_that_comes_to_no_number_is_a_gap(swept, tmp_path, monkeypatch, capsys):
    module, config = swept
    once = module.run_once

    def burst(settings):
        if settings.learning_rate == 3e-2:
            raise NonFiniteError("loss nan")
        return once(settings)

    monkeypatch.setattr(module, "run_once", burst)
    assert module.main(config)[1]["validation_loss"] is None
    draw = script("draw_rates")
    draw.main(draw.RatesConfig(rates=config.json, output=str(tmp_path / "rates.svg")))
    assert "0.03: -" in capsys.readouterr().out


@pytest.mark.parametrize("content", ["", "[]", '{"rows": [{"arm": "full"}]}'])
def test_what_is_no_file_of_losses_is_refused_by_name(content, tmp_path):
    draw, path = script("draw_rates"), tmp_path / "rates.json"
    path.write_text(content)
    with pytest.raises(UsageError, match="rates.json: cannot be used"):
        draw.main(draw.RatesConfig(rates=str(path), output=str(tmp_path / "rates.svg")))
