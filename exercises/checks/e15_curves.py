"""Exercise 15: a wrong pairing is answered with what the named bug would look like, and where to look."""

import difflib
from collections.abc import Callable

from exercises import curves
from exercises.judge import Wrong, shown

TITLE = "Find the bug from the loss"
CHAPTER = "docs/10-loop.md"
HINT = "the first point, the last, the distance between the two losses; then the held-out numbers below."
SEE = "scripts/record_curves.py, run"

# name -> (what it looks like, where to look if it is this one)
BUGS = {
    "nothing is wrong": (
        "both losses would fall far below 0.62, the held-out one a little behind, and hardly turn round",
        "how low both losses get, and that they stay together",
    ),
    "learning rate far too high": (
        "the loss would shoot up within a few steps, far above where it began",
        "the highest points",
    ),
    "full fine-tuning's rate": (
        "the held-out loss would creep down a little at every look, and end above all the others that learn",
        "how far the held-out loss comes in sixty steps, and how smoothly",
    ),
    "the mask is forgotten at evaluation": (
        "the training loss would fall as it should, while the held-out loss goes its own way, up and down",
        "the second half of the run, where one loss falls and the other does not",
    ),
    "the same batch every step": (
        "the training loss would go to 0, without any noise, while the held-out loss turns round and rises",
        "the training loss of the second half",
    ),
    "the schedule ends too early": (
        "the held-out loss would stand still, digit for digit, after a third of the steps",
        "the held-out numbers under the picture, one after the other",
    ),
    "labels shuffled": (
        "both losses would come down to 0.62 and stay there: there is nothing to learn but the share of spam",
        "the lowest held-out loss",
    ),
}
ANSWERS = {
    "A": "the schedule ends too early",
    "B": "the same batch every step",
    "C": "full fine-tuning's rate",
    "D": "nothing is wrong",
    "E": "learning rate far too high",
    "F": "labels shuffled",
    "G": "the mask is forgotten at evaluation",
}


def check(diagnose: Callable) -> None:
    said = diagnose()
    if not isinstance(said, dict):
        raise Wrong(f"return a dict, from each letter to the name of its bug; got {shown(said)}")
    letters = list(curves.read()["curves"])
    if missing := [letter for letter in letters if letter not in said]:
        raise Wrong(f"curve {missing[0]} has no answer; the curves are {', '.join(letters)}")
    if extra := [letter for letter in said if letter not in letters]:
        raise Wrong(f"there is no curve {shown(extra[0])}; the curves are {', '.join(letters)}")
    for letter in letters:
        judge_name(letter, said[letter])
    names = [said[letter] for letter in letters]
    if twice := [name for name in names if names.count(name) > 1]:
        raise Wrong(f"{twice[0]!r} stands twice; every name belongs to one curve")
    wrong = [letter for letter in letters if said[letter] != ANSWERS[letter]]
    if wrong:
        first, right = wrong[0], len(letters) - len(wrong)
        look, where = BUGS[said[first]][0], BUGS[ANSWERS[first]][1]
        raise Wrong(f"{right} of {len(letters)} are right. {first} is not {said[first]!r}: {look}. See {where}")


def judge_name(letter: str, name: object) -> None:
    if name not in list(BUGS):
        close = difflib.get_close_matches(str(name), BUGS, n=1, cutoff=0.4)
        hint = f"; did you mean {close[0]!r}?" if close else f"; the names are {', '.join(BUGS)}"
        raise Wrong(f"curve {letter}: {shown(name)} is not among the names{hint}")
