"""The exercises of the course, and what judges them.

    python -m exercises                  all of them, and which are done
    python -m exercises 3                judge exercises/attempts/e03_scaling.py
    python -m exercises 3 --hint         one sentence of help
    python -m exercises 3 --solution     show exercises/solutions/e03_scaling.py, and judge it

The exit code is 0 if the answer is right, 1 if it is not, 2 if there is no such exercise.
"""

import argparse
import contextlib
import io
import sys
from collections.abc import Sequence

from exercises.exam import Exercise, examine, exercises, shown_path


def main(argv: Sequence[str]) -> int:
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="python -m exercises", description=__doc__, formatter_class=form)
    parser.add_argument("number", nargs="?", help="which exercise; without it all are listed")
    parser.add_argument("--hint", action="store_true", help="a sentence of help")
    parser.add_argument("--solution", action="store_true", help="show and judge the solution, not your attempt")
    flags = parser.parse_args(argv)
    known = exercises()
    if flags.number is None:
        return list_all(list(known.values()), flags.solution)
    number = int(flags.number) if flags.number.isdecimal() else None
    if number not in known:
        print(f"error: there is no exercise {flags.number}; they are 1 to {len(known)}", file=sys.stderr)
        return 2
    if flags.hint:
        print(f"{number}. {known[number].checker.TITLE}: {known[number].checker.HINT}")
        return 0
    return judge_one(known[number], flags.solution)


def list_all(known: list[Exercise], solution: bool) -> int:
    done = 0
    for exercise in known:
        with contextlib.redirect_stdout(io.StringIO()):  # what she prints would tear the table
            state = examine(exercise, exercise.solution if solution else exercise.attempt).state
        done += state == "done"
        checker = exercise.checker
        print(f"{exercise.number:3d}  {checker.TITLE:34} {state:8} {checker.CHAPTER}")
    what_next = "" if done == len(known) else "; edit a file in exercises/attempts, then python -m exercises NUMBER"
    print(f"\n{done} of {len(known)} done{what_next}")
    return 0


def judge_one(exercise: Exercise, solution: bool) -> int:
    file, checker = exercise.solution if solution else exercise.attempt, exercise.checker
    print(f"{exercise.number}. {checker.TITLE}  ({checker.CHAPTER})")
    if solution:
        print(f"\n{file.read_text(encoding='utf-8')}")
    verdict = examine(exercise, file)
    if verdict.state == "done":
        print(f"right: {shown_path(file)}\nthe project's own: {checker.SEE}")
        return 0
    print(("not right: " if verdict.state == "wrong" else "not written yet: ") + verdict.message)
    print(f"{shown_path(file)}; python -m exercises {exercise.number} --hint")
    return 1


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
