"""The exercises as a learner meets them: stubs say what to write, solutions pass, typical mistakes are told by name."""

import math
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from exercises import curves
from exercises.__main__ import main
from exercises.checks import e15_curves
from exercises.exam import STUB, examine, exercises
from tests.exercises.wrong_answers import MISTAKES

ROOT = Path(__file__).resolve().parents[2]
ALL = exercises()
each_exercise = pytest.mark.parametrize("exercise", ALL.values(), ids=lambda exercise: exercise.name)


def judged(number: int, text: str, tmp_path: Path):
    """The verdict on an attempt with this text."""
    file = tmp_path / f"{ALL[number].name}.py"
    file.write_text(text, encoding="utf-8")
    return examine(ALL[number], file)


def test_there_are_sixteen_each_with_a_stub_a_checker_and_a_solution():
    assert list(ALL) == list(range(1, 17))
    for folder in ("attempts", "solutions"):
        files = (ROOT / "exercises" / folder).glob("*.py")
        assert sorted(file.stem for file in files) == [exercise.name for exercise in ALL.values()]


@each_exercise
def test_a_stub_says_what_to_write_and_is_not_done(exercise):
    text = exercise.attempt.read_text(encoding="utf-8")
    if STUB not in text:
        pytest.skip("this one is being worked on")
    verdict = examine(exercise, exercise.attempt)
    assert verdict.state == "not yet"
    assert STUB + verdict.message in text and len(verdict.message.splitlines()) == 1


@each_exercise
def test_a_solution_passes(exercise):
    verdict = examine(exercise, exercise.solution)
    assert verdict.state == "done", verdict.message


@each_exercise
def test_a_stub_and_its_solution_ask_for_the_same_functions(exercise):
    if STUB not in exercise.attempt.read_text(encoding="utf-8"):
        pytest.skip("this one is being worked on")
    heads = [
        re.findall(r"^def .*?:$", f.read_text("utf-8"), re.M | re.S) for f in (exercise.attempt, exercise.solution)
    ]
    assert heads[0] == heads[1]


@pytest.mark.parametrize("mistake", MISTAKES, ids=str)
def test_a_typical_mistake_is_told_by_name(mistake, tmp_path):
    solution = ALL[mistake.number].solution.read_text(encoding="utf-8")
    assert mistake.right in solution
    verdict = judged(mistake.number, solution.replace(mistake.right, mistake.wrong), tmp_path)
    assert verdict.state == "wrong" and mistake.told in verdict.message, verdict.message


def test_the_exercises_are_numbered_as_the_chapters_are_read():
    assert [exercise.checker.CHAPTER for exercise in ALL.values()] == sorted(e.checker.CHAPTER for e in ALL.values())


def test_every_exercise_knows_three_mistakes_and_more():
    counts = Counter(mistake.number for mistake in MISTAKES)
    assert all(counts[number] >= 3 for number in ALL)


@each_exercise
def test_a_hint_a_chapter_and_the_project_s_own_code_are_named_and_there(exercise):
    checker = exercise.checker
    assert checker.TITLE and checker.HINT
    text = exercise.attempt.read_text(encoding="utf-8")
    assert checker.CHAPTER in text or STUB not in text
    file, _, names = checker.SEE.partition(", ")
    source = (ROOT / file).read_text(encoding="utf-8")
    for name in re.findall(r"\w+", names.replace(" and ", " ")):
        assert re.search(rf"(def|class) {name}\b|{name}\b", source), name


def test_an_unknown_mistake_gets_the_first_difference(tmp_path):
    wrong = ALL[3].solution.read_text(encoding="utf-8").replace("return lora_alpha", "return 7 + lora_alpha")
    assert judged(3, wrong, tmp_path).message == "scaling(32, 8): expected 4, got 11"
    wrong = ALL[10].solution.read_text(encoding="utf-8").replace("return hidden", "return 2 * hidden")
    message = judged(10, wrong, tmp_path).message
    assert re.search(r"pool\(four rows.*\): at \[0, 0\] expected \S+, got \S+ \(12 of 12 values differ\)", message)


def test_a_wrong_pairing_of_curve_and_bug_is_answered_with_what_that_bug_looks_like(tmp_path):
    solution = ALL[15].solution.read_text(encoding="utf-8")
    for said, (look, _) in e15_curves.BUGS.items():
        letter = next(letter for letter, name in e15_curves.ANSWERS.items() if name != said)
        truth, other = e15_curves.ANSWERS[letter], next(k for k, v in e15_curves.ANSWERS.items() if v == said)
        swapped = solution.replace(f'"{letter}": "{truth}"', f'"{letter}": "{said}"')
        swapped = swapped.replace(f'"{other}": "{said}"', f'"{other}": "{truth}"')
        verdict = judged(15, swapped, tmp_path)
        first = min(letter, other)
        assert verdict.state == "wrong" and "5 of 7 are right" in verdict.message
        assert f"{first} is not" in verdict.message
        if first == letter:
            assert look in verdict.message and e15_curves.BUGS[truth][1] in verdict.message


def test_what_is_said_of_each_curve_is_so_in_its_numbers():
    record = curves.read()
    by_bug = {e15_curves.ANSWERS[letter]: curve for letter, curve in record["curves"].items()}
    held_out = {bug: curve["held_out"] for bug, curve in by_bug.items()}
    train = {bug: curve["train"] for bug, curve in by_bug.items()}
    last_ten = {bug: losses[-10:] for bug, losses in train.items()}
    rows = (ROOT / "data" / "messages" / "messages.tsv").read_text(encoding="utf-8").splitlines()
    spam = sum(row.startswith("spam\t") for row in rows) / len(rows)
    share = -spam * math.log(spam) - (1 - spam) * math.log(1 - spam)
    assert f"{share:.2f}" == "0.62" and f"{spam:.0%}" == "31%"  # as the stub says
    healthy = "nothing is wrong"
    assert sum(last_ten[healthy]) / 10 < 0.25 and held_out[healthy][-1] < 0.35
    assert max(b - a for a, b in zip(held_out[healthy], held_out[healthy][1:])) < 0.05
    assert [bug for bug in train if max(train[bug]) > 3] == ["learning rate far too high"]
    creeping = held_out["full fine-tuning's rate"]
    assert all(a > b for a, b in zip(creeping, creeping[1:])) and creeping[-1] > max(1.0, 0.8 * creeping[0])
    unmasked = "the mask is forgotten at evaluation"
    assert train[unmasked] == train[healthy]
    assert held_out[unmasked][-1] > max(held_out[unmasked][1], 2 * held_out[healthy][-1])
    same = "the same batch every step"
    assert [bug for bug in train if max(last_ten[bug]) < 0.01] == [same]
    assert held_out[same][-1] > min(held_out[same]) + 0.5
    still = [bug for bug, losses in held_out.items() if len(set(losses[len(losses) // 3 + 1 :])) == 1]
    assert still == ["the schedule ends too early"]
    shuffled = held_out["labels shuffled"]
    assert all(abs(loss - share) < 0.02 for loss in shuffled[len(shuffled) // 2 :])
    assert abs(sum(last_ten["labels shuffled"]) / 10 - share) < 0.03


def test_a_picture_shows_every_point_and_keeps_to_80_columns():
    curve = {"train": [0.7, 0.5, 9.0, 0.0], "held_out": [0.7, 0.6, 0.3]}
    record = {"steps": 4, "eval_steps": 2, "curves": {"A": curve}}
    lines = curves.draw("A", record).splitlines()
    body = [line[6:] for line in lines if "|" in line]
    assert sum(row.count(".") for row in body) == 3 and sum(row.count("o") for row in body) == 3
    assert body[0] == "   ^" and body[-1] == "    ."
    assert lines[-1] == "held-out: 0.70 0.60 0.30"
    real = curves.draw("D", curves.read())
    assert max(map(len, real.splitlines())) <= 80


def run(*words: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-m", *words], capture_output=True, text=True, cwd=ROOT, timeout=120)


def test_the_command_lists_all_and_judges_one():
    listed = run("exercises", "--solution")
    assert listed.returncode == 0 and "16 of 16 done" in listed.stdout
    assert all(exercise.checker.TITLE in listed.stdout for exercise in ALL.values())
    assert max(map(len, listed.stdout.splitlines())) <= 100


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["3", "--solution"], 0, "right: exercises/solutions/e03_scaling.py"),
        (["3", "--solution"], 0, "    return lora_alpha / "),
        (["3", "--hint"], 0, "use_rslora"),
        (["17"], 2, "no exercise 17; they are 1 to 16"),
        (["0"], 2, "no exercise 0"),
        (["three"], 2, "no exercise three"),
    ],
)
def test_the_exit_code_says_it_too(words, code, told, capsys, monkeypatch):
    monkeypatch.chdir(ROOT)
    assert main(words) == code
    output = capsys.readouterr()
    assert told in output.out + output.err and len(output.err.splitlines()) <= 1


def test_a_wrong_answer_exits_with_1_and_names_file_and_hint(tmp_path, monkeypatch, capsys):
    exercise, wrong = ALL[3], tmp_path / "e03_scaling.py"
    wrong.write_text("def scaling(lora_alpha, r, use_rslora=False):\n    return lora_alpha\n", encoding="utf-8")
    monkeypatch.setattr(type(exercise), "attempt", wrong)
    assert main(["3"]) == 1
    output = capsys.readouterr().out
    assert "not right: you scaled by alpha alone: the rank is missing" in output and "--hint" in output


def test_the_curves_are_printed_and_a_wrong_letter_is_told(capsys):
    assert curves.main(["c"]) == 0 and "curve C" in capsys.readouterr().out
    assert curves.main(["Z"]) == 2 and "they are A B C D E F G" in capsys.readouterr().err
