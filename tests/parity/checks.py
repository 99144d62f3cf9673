"""More of what benchmarks/equality/comparisons.py compares: adapter files, LoRA switched off, a loss scale."""

import json
from collections.abc import Iterator
from pathlib import Path

import peft
import torch
from safetensors.torch import load_file

import data
import lora
import train
from benchmarks.equality import side_by_side as pairs
from benchmarks.equality.comparisons import MAKERS, RECIPES, Comparison, compare, logits, moved
from training.device import choose_place

CLASSIFIER, NOTEBOOK = "ForSequenceClassification", RECIPES["the notebook's LoRA"] | {"task_type": "SEQ_CLS"}
LABELS = torch.tensor([0, 1, 1, 0])


def adapter_files(work: Path) -> Iterator[Comparison]:
    """Both write the same adapter; each reads what the other wrote."""
    base, batch = pairs.write_base(work), pairs.random_batch(pairs.SMALL, "right")
    theirs, ours = (moved(make(base, CLASSIFIER, NOTEBOOK)) for make in MAKERS)
    tuned = logits(theirs, batch)
    theirs.save_pretrained(work / "theirs")
    lora.save_adapter(ours, work / "ours")
    written = [load_file(work / side / "adapter_model.safetensors") for side in ("theirs", "ours")]
    yield compare("adapter file: all tensors", *written)
    settings = [json.loads((work / side / "adapter_config.json").read_text()) for side in ("theirs", "ours")]
    for values in settings:
        values["target_modules"].sort()  # peft writes a set, in any order
    differ = [key for key in settings[0] | settings[1] if settings[0].get(key) != settings[1].get(key)]
    yield compare("adapter file: fields of adapter_config.json that differ", [], differ)
    read = lora.load_adapter(pairs.our_model(base, CLASSIFIER, None), work / "theirs")
    yield compare("adapter file: peft's, read here", tuned, logits(read, batch))
    read = peft.PeftModel.from_pretrained(pairs.their_model(base, CLASSIFIER, None), work / "ours")
    yield compare("adapter file: ours, read by peft", tuned, logits(read, batch))


def switched_off(work: Path) -> Iterator[Comparison]:
    """With LoRA off the classifier is the base model again, and so is its head, which was trained as a copy."""
    base, batch = pairs.write_base(work), pairs.random_batch(pairs.SMALL, "right")
    theirs, ours = (moved(make(base, CLASSIFIER, NOTEBOOK)) for make in (pairs.their_model, pairs.our_model))
    with theirs.disable_adapter(), lora.disable_lora(ours):
        yield compare("classifier, LoRA off: logits", logits(theirs, batch), logits(ours, batch))


def loss_scale(work: Path) -> Iterator[Comparison]:
    """train.py's step under a loss scale, as fp16 needs one, beside torch's own words without it.

    The scale is a power of two and float32 has room for it: not a bit may change.
    """
    base, batch = pairs.write_base(work), pairs.random_batch(pairs.SMALL, "right")
    theirs, ours = (make(base, CLASSIFIER, NOTEBOOK) for make in MAKERS)
    trained = [p for p in theirs.parameters() if p.requires_grad]
    optimizer, expected, got = torch.optim.AdamW(trained, lr=5e-3, weight_decay=0.1, fused=True), [], []
    theirs.train()
    torch.manual_seed(9)
    for _ in range(3):
        loss = theirs(**batch, labels=LABELS).loss
        loss.backward()
        expected += [loss.item(), torch.nn.utils.clip_grad_norm_(trained, 0.5).item()]
        optimizer.step()
        optimizer.zero_grad()
    optimizer, scaler = train.build_optimizer(ours, 5e-3, 0.1), torch.amp.GradScaler("cpu", init_scale=2.0**10)
    ours.train()
    torch.manual_seed(9)
    for _ in range(3):
        rows = data.Batch(**batch, labels=LABELS)
        got += train.train_step(ours, optimizer, scaler, [rows], choose_place("cpu", "fp32"), 0.5)[:2]
    yield compare("loss scale: losses and gradient norms", expected, got)
    tensors = peft.get_peft_model_state_dict(theirs), lora.lora_state_dict(ours)
    yield compare("loss scale: tensors after three steps", *tensors)


GROUPS = (adapter_files, switched_off, loss_scale)
