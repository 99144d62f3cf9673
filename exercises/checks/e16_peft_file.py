"""Exercise 16: the JSON, the keys, the tensors, and then lora.load_adapter on a fresh model."""

import json
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor, nn

import gpt2
import lora
from exercises.judge import Wrong, agree, difference, shown

TITLE = "Write an adapter that peft reads"
CHAPTER = "docs/11-files.md"
HINT = "every key is base_model.model. + the layer's name + .lora_A.weight or .lora_B.weight; no adapter name in it."
SEE = "lora/checkpoint.py, save_adapter and lora_state_dict"
R, ALPHA, TARGETS = 4, 12.0, ["c_attn", "c_proj"]
PREFIX = "base_model.model."
SMALL = gpt2.GPT2Config(n_layer=2, n_embd=16, n_head=2, vocab_size=50, n_positions=16)
CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"


def check(write_adapter: Callable) -> None:
    model = tuned_model()
    layers, score = parts(model)
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder)
        write_adapter(directory, layers, score, R, ALPHA, list(TARGETS))
        there = sorted(path.name for path in directory.iterdir())
        for name in (CONFIG, WEIGHTS):
            if name not in there:
                raise Wrong(f"{name} was not written; in the directory there is {', '.join(there) or 'nothing'}")
        judge_config(directory / CONFIG, list(parts(model)[0]))
        judge_tensors(directory / WEIGHTS, lora.lora_state_dict(model))
        judge_use(directory, model)


def parts(model: nn.Module) -> tuple[dict[str, tuple[Tensor, Tensor]], Tensor]:
    """({layer: (A, B)}, score) of a model with LoRA, as copies: what a learner's function gets."""
    tensors = {key.removeprefix(PREFIX): tensor.clone() for key, tensor in lora.lora_state_dict(model).items()}
    names = [key.removesuffix(".lora_A.weight") for key in tensors if "lora_A" in key]
    layers = {n: (tensors[f"{n}.lora_A.weight"], tensors[f"{n}.lora_B.weight"]) for n in names}
    return layers, tensors["score.weight"]


def base_model() -> nn.Module:
    torch.manual_seed(2)
    return gpt2.GPT2ForSequenceClassification(SMALL).eval()


def tuned_model() -> nn.Module:
    config = lora.LoraConfig(r=R, lora_alpha=ALPHA, target_modules=tuple(TARGETS), task_type="SEQ_CLS")
    model = lora.apply_lora(base_model(), config)
    with torch.no_grad():
        for parameter in lora.trainable_parameters(model).values():
            parameter.normal_(std=0.3)
    return model


def judge_config(path: Path, names: list[str]) -> None:
    try:
        config: Any = json.loads(path.read_bytes())
    except ValueError as error:
        raise Wrong(f"{CONFIG} is not JSON ({error}); json.dumps makes it, str() of a dict does not") from None
    if not isinstance(config, dict):
        raise Wrong(f"{CONFIG} must hold an object, {{...}}; it holds {shown(config)}")
    usual = {"alpha": "lora_alpha", "scaling": "lora_alpha", "rank": "r", "lora_r": "r", "targets": "target_modules"}
    missing = {
        "peft_type": "without peft_type peft cannot tell what kind of adapter this is",
        "task_type": "without task_type SEQ_CLS the head is taken for none of the adapter's business",
        "r": "without r peft would take 8, its default, and the shapes would not fit",
        "lora_alpha": f"without lora_alpha peft takes 8, its default, and scales by {8 / R:g} instead of {ALPHA / R:g}",
        "target_modules": "without target_modules nobody knows which layers A and B belong to",
    }
    for key, why in missing.items():
        if key not in config:
            other = next((name for name, right in usual.items() if right == key and name in config), None)
            raise Wrong(f"the key is {key}, not {other}" if other else f"{CONFIG}: {why}")
    judge_values(config, names)


def judge_values(config: Mapping[str, Any], names: list[str]) -> None:
    agree('peft_type, which is "LORA" in capitals', config["peft_type"], "LORA")
    agree("task_type", config["task_type"], "SEQ_CLS")
    agree(f"r in {CONFIG}", config["r"], R)
    factor = {"lora_alpha holds the factor alpha / r; the file stores alpha, and the reader divides": ALPHA / R}
    agree(f"lora_alpha in {CONFIG}", config["lora_alpha"], ALPHA, factor)
    targets = config["target_modules"]
    if not isinstance(targets, list):
        raise Wrong(f"target_modules must be a list; a string is a pattern to peft: {shown(targets)}")
    if sorted(targets, key=str) != sorted(names):  # the full names of the layers would do as well
        agree(f"target_modules in {CONFIG}", sorted(targets, key=str), TARGETS)


def judge_tensors(path: Path, expected: dict[str, Tensor]) -> None:
    try:
        found = load(path.read_bytes())
    except (SafetensorError, ValueError) as error:
        raise Wrong(f"{WEIGHTS} is not a safetensors file ({error}); was it written with torch.save?") from None
    judge_keys(set(found), set(expected))

    def changed(change: Callable[[str, Tensor], Tensor]) -> dict[str, Tensor]:
        return {key: change(key, tensor) for key, tensor in expected.items()}

    def other_side(key: str) -> Tensor:
        if "lora_A" in key:
            return expected[key.replace("lora_A", "lora_B")]
        return expected[key.replace("lora_B", "lora_A")] if "lora_B" in key else expected[key]

    mistakes = {
        "A is stored under lora_B and B under lora_A": changed(lambda key, t: other_side(key)),
        "A and B are stored transposed: A is (r, in), B is (out, r)": changed(
            lambda key, t: t.T if "lora_" in key else t
        ),
        "lora_A is stored as (in, r): it is (r, in)": changed(lambda key, t: t.T if "lora_A" in key else t),
        "lora_B is stored as (r, out): it is (out, r)": changed(lambda key, t: t.T if "lora_B" in key else t),
        "B is stored with the factor in it: whoever reads it will scale again": changed(
            lambda key, t: t * (ALPHA / R) if "lora_B" in key else t
        ),
        "the head is stored transposed: it is (labels, in)": changed(lambda key, t: t.T if "score" in key else t),
    }
    agree(WEIGHTS, found, expected, mistakes)


def judge_keys(found: set[str], expected: set[str]) -> None:
    def changed(change: Callable[[str], str]) -> set[str]:
        return {change(key) for key in expected}

    mistakes = {
        "the keys begin with base_model.model., which is where peft's model holds yours": changed(
            lambda key: key.removeprefix(PREFIX)
        ),
        "the keys begin with base_model.model., with `model` once more: base_model alone is not enough": changed(
            lambda key: key.replace(PREFIX, "base_model.")
        ),
        "the adapter's name is in the keys; in memory it is lora_A.default.weight, in the file lora_A.weight": changed(
            lambda key: key.replace("lora_A.", "lora_A.default.").replace("lora_B.", "lora_B.default.")
        ),
        "the keys of A and B end in .weight": changed(
            lambda key: key.removesuffix(".weight") if "lora_" in key else key
        ),
        "the head is missing: without it the adapter answers at random": expected - {f"{PREFIX}score.weight"},
        "the head's key is base_model.model.score.weight, like any other weight": changed(
            lambda key: key.replace("score.", "score.modules_to_save.default.")
        ),
        "the head's key is base_model.model.score.weight; modules_to_save stays out of it": changed(
            lambda key: key.replace("score.", "score.modules_to_save.")
        ),
        "the head's key wants the prefix too: base_model.model.score.weight": changed(
            lambda key: "score.weight" if "score" in key else key
        ),
        "only A is there: B is missing": {key for key in expected if "lora_B" not in key},
        "only B is there: A is missing": {key for key in expected if "lora_A" not in key},
    }
    agree(f"the keys of {WEIGHTS}", sorted(found), sorted(expected), {text: sorted(k) for text, k in mistakes.items()})


def judge_use(directory: Path, model: nn.Module) -> None:
    ids = torch.tensor([[3, 1, 4, 1, 5], [9, 2, 6, 5, 3]])
    try:
        loaded = lora.load_adapter(base_model(), directory)
    except lora.AdapterError as error:
        raise Wrong(f"lora.load_adapter refuses it: {error}") from None
    if found := difference(loaded(ids).logits, model(ids).logits):
        raise Wrong(f"loaded into a fresh model, the adapter gives other logits: {found}")
