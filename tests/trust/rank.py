"""What torchrun starts where a rank is to fail by itself: train.py, whose rank 1 raises in its third step."""

import os
import sys

from tests.trust import plans
from tests.trust.server import door
from training.errors import NonFiniteError


def fail(number: int) -> None:
    if number == 3:
        raise {"error": NonFiniteError, "bug": RuntimeError}[sys.argv[1]]("what rank 1 has met")


if os.environ["RANK"] == "1":
    plans.around("step", fail)

if __name__ == "__main__":
    sys.exit(door(sys.argv[2:]))
