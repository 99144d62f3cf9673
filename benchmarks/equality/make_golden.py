"""Write tests/golden: what transformers and peft compute, for those who have neither.

    python benchmarks/equality/make_golden.py

A small GPT-2 and an adapter in their own files, then logits, gradients and a few AdamW steps with all dropouts at 0: a
CPU's dropout stream is its own, these numbers are not.
"""

import json
import platform
import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import peft  # noqa: E402
import torch  # noqa: E402
import transformers as hf  # noqa: E402
from safetensors.torch import save_file  # noqa: E402

from benchmarks.equality.comparisons import logits, moved  # noqa: E402
from benchmarks.equality.equivalence import cpu_name  # noqa: E402
from benchmarks.equality.side_by_side import Shape, random_batch, their_model, write_base  # noqa: E402

GOLDEN = ROOT / "tests" / "golden"
SEED, SHAPE = 5, Shape(n_layer=2, n_embd=24, n_head=3, vocab_size=101, n_positions=24)
STILL = dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), 0.0)
RECIPE = {"r": 3, "lora_alpha": 5, "target_modules": ["c_attn", "c_proj", "c_fc"], "task_type": "SEQ_CLS"}
STEPS = {"steps": 5, "learning_rate": 1e-2, "weight_decay": 0.1, "max_grad_norm": 0.5, "lr_scheduler_type": "linear"}
LABELS = [0, 1, 1, 0]


def training(model: torch.nn.Module, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Loss, gradient norm and, at the end, weights of steps of AdamW with clipping and a falling rate."""
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=STEPS["learning_rate"], weight_decay=STEPS["weight_decay"])
    schedule = hf.get_scheduler(STEPS["lr_scheduler_type"], optimizer, 0, STEPS["steps"])
    losses, norms = [], []
    for _ in range(STEPS["steps"]):
        loss = model.train()(**batch, labels=torch.tensor(LABELS)).loss
        loss.backward()
        losses.append(loss.detach())
        norms.append(torch.nn.utils.clip_grad_norm_(trained, STEPS["max_grad_norm"]))
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
    ends = {f"trained/{name}": t.clone() for name, t in peft.get_peft_model_state_dict(model).items()}
    return ends | {"losses": torch.stack(losses), "gradient norms": torch.stack(norms)}


def gradients(model: torch.nn.Module, loss: torch.Tensor) -> dict[str, torch.Tensor]:
    """Under peft's file keys, or the model's own names without LoRA."""
    loss.backward()
    found = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    return {name.replace(".default", "").replace(".modules_to_save", ""): grad for name, grad in found.items()}


def main() -> None:
    for old in ("base", "adapter"):
        shutil.rmtree(GOLDEN / old, ignore_errors=True)
    base = write_base(GOLDEN / "base", SHAPE, **STILL)
    (base / "generation_config.json").unlink()
    model = moved(their_model(base, "ForSequenceClassification", RECIPE, SEED))
    model.peft_config["default"].base_model_name_or_path = "tests/golden/base"
    model.save_pretrained(GOLDEN / "adapter")
    (GOLDEN / "adapter" / "README.md").unlink()
    path = GOLDEN / "adapter" / "adapter_config.json"
    settings = json.loads(path.read_text(encoding="utf-8"))
    settings["target_modules"].sort()  # peft writes a set, in another order every time
    path.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")

    values = {}
    for padding in ("none", "right", "left"):
        batch = random_batch(SHAPE, padding)
        values |= {f"{padding}/{name}": tensor for name, tensor in batch.items()}
        values[f"{padding}/logits"] = logits(model, batch)
        with model.disable_adapter():
            values[f"{padding}/hidden"] = model.base_model.model.transformer(**batch).last_hidden_state[:, -1].detach()
    batch = random_batch(SHAPE, "right")
    found = gradients(model, model(**batch, labels=torch.tensor(LABELS)).loss)
    values |= {f"gradient/{name}": grad for name, grad in found.items()}
    values |= training(model, batch)

    language = their_model(base, "LMHeadModel", None, SEED)
    labels = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)
    loss = language(**batch, labels=labels).loss
    values |= {"lm/labels": labels, "lm/loss": loss.detach()}
    values["lm/gradient"] = gradients(language, loss)["transformer.h.0.attn.c_attn.weight"]
    save_file({name: tensor.contiguous() for name, tensor in values.items()}, GOLDEN / "expected.safetensors")

    versions = {module.__name__: module.__version__ for module in (torch, hf, peft)} | {
        "python": platform.python_version()
    }
    record = {"command": "python benchmarks/equality/make_golden.py", "versions": versions}
    record |= {"seed": SEED, "labels": LABELS, "cpu": cpu_name()}
    record |= {"instructions": torch.backends.cpu.get_cpu_capability(), "steps": STEPS}
    (GOLDEN / "golden.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
