"""Invented command lines: settings, a UsageError on one line, or the help; nothing else, and nothing is loaded."""

import contextlib
import dataclasses
import io

import pytest

import generate
import infer
import train
from tests.strangers.doors import of
from tests.strangers.fuzzing import examples, hypothesis
from training.errors import UsageError, run_door

given, st = hypothesis.given, hypothesis.strategies
pytestmark = pytest.mark.promise("P16")

CONFIGS = {"train.py": train.TrainConfig, "infer.py": infer.InferConfig, "generate.py": generate.GenerateConfig}
VALUES = [
    "0",
    "1",
    "-1",
    "0.5",
    "2",
    "nan",
    "inf",
    "-inf",
    "1e400",
    "1e-400",
    "9" * 30,
    "9" * 5000,
    "true",
    "no",
    "",
    " ",
]
VALUES += [
    "language",
    "classification",
    "lora",
    "full",
    "tiny",
    "tiny.toml",
    "x.csv",
    "-",
    "--",
    "\udcff",
    "a\nb",
    "x" * 5000,
]
VALUES += ["\x1b[2J", "../..", "/dev/null", "runs", "évé", "=", "auto", "epoch", "steps"]


def words(config) -> "st.SearchStrategy[list[str]]":
    flags = [f"--{field.name}" for field in dataclasses.fields(config)]
    flags += [flag.replace("_", "-") for flag in flags] + ["--help", "-h", "--lr", "--batch_size", "--nonsense", "-x"]
    value = st.sampled_from(VALUES) | st.integers().map(str) | st.floats().map(str) | st.text(max_size=9)
    word = st.tuples(st.sampled_from(flags), value).map(list) | st.tuples(value).map(list)
    joined = st.tuples(st.sampled_from(flags), value).map(lambda pair: ["=".join(pair)])
    return st.lists(word | joined, max_size=5).map(lambda parts: [word for part in parts for word in part])


@pytest.mark.parametrize("door", CONFIGS)
def test_any_words_after_a_door_are_settings_or_a_usage_error(door):
    config = CONFIGS[door]
    read = train.read_settings if door == "train.py" else lambda argv: of(config, argv, door)

    @examples()
    @given(argv=words(config))
    def check(argv):
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()) as err:
            try:
                found = read(argv)
            except SystemExit as end:
                assert end.code == 0 and {"-h", "--help"} & {word.split("=")[0] for word in argv}
                return
            except UsageError as error:
                said = error
            else:
                assert isinstance(found, config)
                return

            def again():
                raise said

            assert run_door(again) == 2
        assert err.getvalue().startswith("error: ") and err.getvalue().count("\n") == 1
        assert err.getvalue()[:-1].isprintable() and len(err.getvalue()) < 3000

    check()
