"""Rule E: in bf16 our gradients may be at most twice as far from those in fp32 as peft's are under bf16 autocast.

    python benchmarks/equality/rule_e.py         124 M parameters, on a GPU where there is one; exit code 1 if it fails
    python benchmarks/equality/rule_e.py --tiny  two small blocks, in seconds on a CPU

One random base, one batch, no dropout, the same A, B and head everywhere. bf16 has 8 bits, so no bound on a single
number says whether a form of ours is right; how far another program with the same weights gets does. In fp32 all must
agree to 1e-4. A distance is that of all gradients as one vector, relative to the length of the one in fp32.
"""

import copy
import dataclasses
import json
import sys
import tempfile
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402
import torch.nn.functional as F  # noqa: E402
import transformers as hf  # noqa: E402
from torch import Tensor, nn  # noqa: E402

import gpt2  # noqa: E402
import lora  # noqa: E402
from benchmarks.equality.side_by_side import Shape, our_model, random_batch, their_model, write_base  # noqa: E402
from benchmarks.machine import DEVICES, describe_machine, pick_device, versions  # noqa: E402
from benchmarks.speed.lane import draw_trained, plain_name  # noqa: E402
from benchmarks.speed.plan import LORA  # noqa: E402
from benchmarks.speed.table import columns  # noqa: E402
from training.device import Place  # noqa: E402
from training.errors import UsageError, run_door  # noqa: E402
from training.settings import option, parse  # noqa: E402

AT_MOST, IN_FP32 = 2.0, 1e-4
ROWS = 16
GPT2_124M, TINY = Shape(12, 768, 12, 50257, 128), Shape(2, 64, 2, 301, 40)  # heads as wide as a GPU's kernels like them
STILL = dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), 0.0)
Gradients = dict[str, Tensor]


# fmt: off
@dataclass(frozen=True)
class RuleConfig:
    tiny: bool = option(False, "two small blocks instead of 124 M parameters", group="what")
    device: str = option("auto", "where to compute", group="machine", choices=DEVICES)
    json: str | None = option(None, "write all numbers to this file", group="output")

    # fmt: on
    def __post_init__(self) -> None:
        if self.json and not Path(self.json).absolute().parent.is_dir():
            raise UsageError(f"--json {self.json}: there is no directory {Path(self.json).absolute().parent}")


class RuleBrokenError(ValueError):
    exit_code = 1


def gradients_of(model: nn.Module, batch: Mapping[str, Tensor], device: str, precision: str) -> Gradients:
    """Name -> gradient of the mean loss, of all that trains, in float32 on the CPU."""
    model = model.to(device).train()
    inputs = {name: tensor.to(device) for name, tensor in batch.items()}
    labels = inputs.pop("labels")
    with Place(torch.device(device), precision, "").autocast():
        logits = model(**inputs).logits
    F.cross_entropy(logits.float(), labels).backward()
    return {plain_name(name): p.grad.float().cpu() for name, p in model.named_parameters() if p.requires_grad}


def in_fast_form(model: nn.Module, hold: torch.dtype | None = None) -> nn.Module:
    """A copy in the fast form; with `hold` its frozen weights are held in that dtype, as train.py has it in bf16."""
    model = copy.deepcopy(model)
    for part in (gpt2, lora):
        part.use_fast(model)
    if hold:
        gpt2.hold_frozen(model, hold)
    return model


def distance(of: Gradients, exact: Gradients) -> float:
    apart, length = (
        torch.cat([each.flatten() for each in tensors])
        for tensors in ([of[name] - exact[name] for name in exact], exact.values())
    )
    return float(apart.double().norm() / length.double().norm())


def measure(shape: Shape, device: str, work: Path) -> dict[str, dict[str, float]]:
    """precision -> form -> distance of its gradients from those of our plain form in fp32."""
    base = write_base(work, shape, **STILL)
    recipe = LORA | {"lora_dropout": 0.0, "fan_in_fan_out": True, "task_type": "SEQ_CLS"}
    peft, ours = (make(base, "ForSequenceClassification", recipe) for make in (their_model, our_model))
    names = draw_trained(peft)
    if draw_trained(ours) != names:
        raise RuleBrokenError("peft and this project do not train the same tensors")
    batch = random_batch(shape, "right", ROWS) | {"labels": torch.arange(ROWS) % 2}
    exact = gradients_of(copy.deepcopy(ours), batch, device, "fp32")
    forms = {
        "fp32": {"peft": peft, "ours, fast": in_fast_form(ours)},
        "bf16": {"peft": peft, "ours, plain": ours, "ours, fast": in_fast_form(ours, torch.bfloat16)},
    }
    found: dict[str, dict[str, float]] = {}
    for precision, models in forms.items():
        found[precision] = {}
        for form, model in models.items():
            got = gradients_of(copy.deepcopy(model), batch, device, precision)
            found[precision][form] = distance(got, exact)
    return found


def broken(found: dict[str, dict[str, float]]) -> list[str]:
    """What is too far away, in words; a distance that is no number is too far."""
    apart = [f"{form} in fp32 by {d:.1e}" for form, d in found["fp32"].items() if not d <= IN_FP32]
    limit = AT_MOST * found["bf16"]["peft"]
    return apart + [
        f"{form} in bf16 by {d / found['bf16']['peft']:.2f} times peft's" for form, d in found["bf16"].items()
        if not d <= limit
    ]  # fmt: skip


def table_of(found: dict[str, dict[str, float]]) -> str:
    rows = [["distance of the gradients from fp32", "", "times peft's"]]
    for precision, forms in found.items():
        for form, d in forms.items():
            rows.append([f"{form}, {precision}", f"{d:.2e}", f"{d / forms['peft']:.2f}" if precision == "bf16" else ""])
    return columns(rows)


def main(config: RuleConfig) -> dict[str, Any]:
    """Print the distances; returns what `--json` writes. Raises RuleBrokenError after that."""
    warnings.simplefilter("ignore")
    hf.logging.set_verbosity_error()
    hf.logging.disable_progress_bar()
    device, shape = pick_device(config.device), TINY if config.tiny else GPT2_124M
    with tempfile.TemporaryDirectory(prefix="rule-e-") as work:
        found = measure(shape, device, Path(work))
    print(f"device {device}, {shape}\n{table_of(found)}")
    wrong = broken(found)
    report = {"ok": not wrong, "distances": found, "at_most": AT_MOST, "shape": dataclasses.asdict(shape)}
    report |= {"machine": describe_machine(torch.get_num_threads(), device), "versions": versions()}
    if config.json:
        Path(config.json).write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    if wrong:
        raise RuleBrokenError(f"rule E: too far from fp32: {'; '.join(wrong)}")
    print(f"rule E holds: at most {AT_MOST:g} times as far as peft in bf16, within {IN_FP32:g} in fp32")
    return report


if __name__ == "__main__":
    words = {"prog": "benchmarks/equality/rule_e.py", "description": __doc__}
    sys.exit(run_door(lambda: main(parse(RuleConfig, sys.argv[1:], **words))))
