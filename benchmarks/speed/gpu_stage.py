"""What the stages of scripts/gpu_report.py are told, and where they write what they find."""

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from training.files import write_atomically
from training.settings import option

BEGAN = time.perf_counter()  # imported before torch, whose import is a part of a stage's time
KEPT = 0.9  # of its seconds a stage measures; then it comes to an end by itself


# fmt: off
@dataclass(frozen=True)
class StageConfig:
    work: str = option(".", "folder that all stages share: the base stands there", group="stage")
    json: str | None = option(None, "write what was found to this file, again and again", group="stage")
    seconds: float = option(60.0, "to be done in so many", group="stage")
    device: str = option("cuda", "where to compute", group="stage", choices=("cuda", "cpu"))
    tiny: bool = option(False, "small shapes, to try it on a CPU", group="stage")
    # fmt: on


class Findings:
    """A dict that is in the file as soon as it is known."""

    def __init__(self, config: StageConfig):
        self.config, self.values = config, {}

    def note(self, **values: Any) -> None:
        self.values |= values
        if self.config.json:
            write_atomically(Path(self.config.json), json.dumps(self.values) + "\n")

    @property
    def seconds_to_end(self) -> float:
        return self.config.seconds - (time.perf_counter() - BEGAN)

    @property
    def seconds_left(self) -> float:
        """To measure in."""
        return self.seconds_to_end - (1 - KEPT) * self.config.seconds
