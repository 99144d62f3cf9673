"""An adapter that peft wrote can be looked at as one of ours, but for what only a run knows."""

import pytest
import torch

from anatomy.report import report

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
transformers = pytest.importorskip("transformers", reason="needs pip install -r requirements-dev.txt")
peft = pytest.importorskip("peft", reason="needs pip install -r requirements-dev.txt")


@pytest.mark.parametrize("kind, task_type", [("SequenceClassification", "SEQ_CLS"), ("CausalLM", "CAUSAL_LM")])
def test_an_adapter_that_peft_made_is_looked_at_on_the_base_that_is_named(tiny_base, tmp_path, kind, task_type):
    base = getattr(transformers, f"AutoModelFor{kind}").from_pretrained(tiny_base)
    base.config.pad_token_id = base.config.eos_token_id
    layers = ["attn.c_attn", "mlp.c_proj"]
    config = peft.LoraConfig(r=3, lora_alpha=6, target_modules=layers, fan_in_fan_out=True, task_type=task_type)
    theirs = peft.get_peft_model(base, config)
    for name, weight in theirs.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.1)
    theirs.save_pretrained(tmp_path / "adapter")
    found = report(tmp_path / "adapter", text="WINNER! claim nine pounds now", model=tiny_base)
    assert found["run"]["model"] == str(tiny_base) and found["run"]["lora"] == {"r": 3, "alpha": 6, "targets": layers}
    whole = [row for row in found["updates"] if row["part"] is None]
    assert len(whole) == 2 * base.config.n_layer and all(len(row["singular_values"]) == 3 for row in whole)
    layer = theirs.base_model.model.transformer.h[1].mlp.c_proj
    values = {row["layer"]: row["singular_values"] for row in whole}["h.1.mlp.c_proj"]
    assert values == pytest.approx(
        torch.linalg.svdvals(layer.get_delta_weight("default").double())[:3].tolist(), rel=1e-4
    )
    assert found["text"]["tokens"] and found["notes"]
