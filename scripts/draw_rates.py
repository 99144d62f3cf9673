"""The losses that sweep_rates.py has measured, as a table and as a picture.

python scripts/draw_rates.py --output docs/images/rates.svg
"""

import json
import math
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from drawing import lines  # noqa: E402
from training.errors import UsageError, run_door  # noqa: E402
from training.files import write_atomically  # noqa: E402
from training.settings import option, parse  # noqa: E402

Points = list[tuple[float, float | None]]


@dataclass(frozen=True)
class RatesConfig:
    rates: str = option("docs/measured/rates.json", "what sweep_rates.py has written", group="files")
    output: str = option("rates.svg", "picture to write", group="files")


def main(config: RatesConfig) -> None:
    path = Path(config.rates)
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))["rows"]
        arms = by_arm(rows)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{path}: cannot be used ({error}); write it with scripts/sweep_rates.py") from None
    for arm, points in arms.items():
        rate, loss = best(points)
        cells = "".join(f"  {rate:g}: {'-' if loss is None else f'{loss:.3f}'}" for rate, loss in points)
        print(f"{arm:<13} least {loss:.3f} at {rate:g}; {cells}")
    write_atomically(Path(config.output), picture(arms))
    print(f"written to {config.output}")


def by_arm(rows: list[dict[str, Any]]) -> dict[str, Points]:
    """Name -> its (learning rate, loss) points; the loss of a run that came to no number is None."""
    arms: dict[str, Points] = {}
    for row in rows:
        loss = row["validation_loss"]
        arms.setdefault(row["arm"], []).append((float(row["learning_rate"]), None if loss is None else float(loss)))
    for arm, points in arms.items():
        if best(points)[1] is None:
            raise ValueError(f"no run of {arm!r} came to a number")
    return arms


def best(points: Points) -> tuple[float, float | None]:
    return min(points, key=lambda point: math.inf if point[1] is None else point[1])


def picture(arms: dict[str, Points]) -> str:
    bests = "; ".join(f"{arm}: least at {best(points)[0]:g}" for arm, points in arms.items())
    return lines(
        arms, title="Loss against learning rate", x_label="learning rate", y_label="validation loss at the end",
        desc=f"A curve for each way to train, falling and then rising again. {bests}.", log_x=True, marks=arms,
        width=560, height=300,
    )  # fmt: skip


if __name__ == "__main__":
    words = {"prog": "scripts/draw_rates.py", "description": __doc__.split("\n\n")[0]}
    sys.exit(run_door(lambda: main(parse(RatesConfig, sys.argv[1:], **words))))
