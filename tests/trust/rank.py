"""What torchrun starts where train.py is to be another one: rank 1 raises in its third step, or each step takes long.

With `pace` there is time to choose a moment: steps of a tiny model are over before a busy machine has looked.
"""

import os
import sys
import time

from tests.trust import plans
from tests.trust.server import door
from training.errors import NonFiniteError


def fail(number: int) -> None:
    if number == 3:
        raise {"error": NonFiniteError, "bug": RuntimeError}[sys.argv[1]]("what rank 1 has met")


if sys.argv[1] == "pace":
    plans.around("step", lambda number: time.sleep(0.05))
elif os.environ["RANK"] == "1":
    plans.around("step", fail)

if __name__ == "__main__":
    sys.exit(door(sys.argv[2:]))
