"""What a training step asks of a GPU: its operators, counted on any machine, for the plain form and the fast one.

    python benchmarks/speed/operators.py

One LoRA step in bf16 of GPT-2's 124 M shape, in which benchmarks/speed/stand_in.py stands in for CUDA. A view launches
nothing and is not counted; every other operator is at least one kernel or copy that has to be asked for.
"""

import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import gpt2  # noqa: E402
from benchmarks.speed.stand_in import META, Watch, as_if_on_a_gpu, batch_of, build, trainer_of  # noqa: E402
from benchmarks.speed.table import columns  # noqa: E402
from training.device import Place  # noqa: E402
from training.errors import run_door  # noqa: E402
from training.settings import option, parse  # noqa: E402

FORMS = ("plain", "fast")
TOP = 14  # names to show


@dataclass(frozen=True)
class OperatorsConfig:
    train: str = option("lora", "what trains", group="what", choices=("head", "lora", "full"))
    precision: str = option("bf16", "of matrix products", group="what", choices=("fp32", "bf16"))


def operators_of(shape: gpt2.GPT2Config, way: str, form: str, precision: str) -> Counter[str]:
    """The operators of one step by name, those with which autograd, clipping and AdamW answer included."""
    place = Place(META, precision, "as if on a GPU")
    with as_if_on_a_gpu(), Watch() as watch:
        step = trainer_of(build(shape, way, form, precision, META), batch_of([72] * 32), place)
        step()  # makes AdamW's state
        watch.operators.clear()
        step()
    return watch.operators


def casts(counts: Counter[str]) -> int:
    return sum(count for name, count in counts.items() if name.startswith("cast to "))


def main(config: OperatorsConfig) -> None:
    counts = [operators_of(gpt2.GPT2Config(), config.train, form, config.precision) for form in FORMS]
    names = sorted(set().union(*counts), key=lambda name: (-counts[1][name], -counts[0][name], name))
    rows = [[f"operators of a step, {config.precision}", *FORMS]]
    rows += [[name, *(str(c[name]) for c in counts)] for name in names[:TOP]]
    rows.append(["others", *(str(sum(c[name] for name in names[TOP:])) for c in counts)])
    rows.append(["all", *(f"{c.total():,}" for c in counts)])
    rows.append(["of them casts", *(str(casts(c)) for c in counts)])
    print(columns(rows))


if __name__ == "__main__":
    words = {"prog": "benchmarks/speed/operators.py", "description": __doc__}
    sys.exit(run_door(lambda: main(parse(OperatorsConfig, sys.argv[1:], **words))))
