"""What all lanes of the comparison are given: one file, read by every lane's process."""

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LORA = {"r": 8, "lora_alpha": 32, "lora_dropout": 0.1, "target_modules": ["c_attn", "c_proj"]}
WEIGHT_DECAY = 0.01


@dataclass(frozen=True)
class Plan:
    """Rows are numbers in the dataset as it is read; every lane reads and tokenises the file itself."""

    model: str  # a directory with vocab.json and merges.txt beside the weights
    dataset: str
    split: dict[str, Any]  # the arguments of data.split_rows
    max_length: int
    batch_size: int
    schedule: list[list[int]]  # the rows of each step, in order
    learning_rate: float  # falls linearly to 0 over the schedule
    seed: int
    threads: int
    device: str = "cpu"  # or "cuda"

    def save(self, path: Path) -> None:
        path.write_text(json.dumps(dataclasses.asdict(self)), encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> "Plan":
        return cls(**json.loads(path.read_text(encoding="utf-8")))
