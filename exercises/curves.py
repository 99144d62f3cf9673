"""The loss curves of exercise 15, as text.

    python -m exercises.curves           all of them
    python -m exercises.curves C         one

Recorded by scripts/record_curves.py: the bundled base, sixty steps each, one bug each but for one that has none.
"""

import json
import sys
from pathlib import Path
from typing import Any

FILE = Path(__file__).resolve().parent / "curves.json"
ROWS, TOP = 12, 1.2  # lines of a picture, and the loss at its upper edge


def read() -> dict[str, Any]:
    """{"steps", "eval_steps", "curves": {letter: {"train": a loss each step, "held_out": from before the first on}}}"""
    return json.loads(FILE.read_text(encoding="utf-8"))


def draw(letter: str, record: dict[str, Any]) -> str:
    """One curve: `.` the training loss of each step, `o` the held-out loss, `^` above the picture."""
    curve, steps, every = record["curves"][letter], record["steps"], record["eval_steps"]
    grid = [[" "] * (steps + 1) for _ in range(ROWS + 1)]
    points = [(step, loss, ".") for step, loss in enumerate(curve["train"], start=1)]
    points += [(number * every, loss, "o") for number, loss in enumerate(curve["held_out"])]
    for step, loss, mark in points:
        row = round(ROWS * (1 - loss / TOP))
        grid[max(row, 0)][step] = "^" if row < 0 else mark
    labels = {row: f"{TOP * (1 - row / ROWS):.1f}" for row in range(0, ROWS + 1, 2)}
    lines = [f"curve {letter}   . training loss   o held-out loss   ^ above {TOP}"]
    lines += [f"{labels.get(row, ''):>4} |{''.join(cells)}".rstrip() for row, cells in enumerate(grid)]
    held_out = " ".join(f"{loss:.2f}" for loss in curve["held_out"])
    return "\n".join([*lines, f"     +{'-' * (steps + 1)} step {steps}", f"held-out: {held_out}"])


def main(letters: list[str]) -> int:
    record = read()
    known = record["curves"]
    if wrong := [letter for letter in letters if letter.upper() not in known]:
        print(f"error: there is no curve {wrong[0]}; they are {' '.join(known)}", file=sys.stderr)
        return 2
    print("\n\n".join(draw(letter.upper(), record) for letter in letters or known))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
