"""--help fits a terminal and shows what a run takes; --help all names every flag."""

import dataclasses
import re

import pytest

import generate
import infer
import train
from tasks.settings import ROOT
from tests.strangers.doors import MAINS, refusal
from training.settings import read_preset

CONFIGS = {"train.py": train.TrainConfig, "infer.py": infer.InferConfig, "generate.py": generate.GenerateConfig}
PRESETS = sorted(path.stem for path in (ROOT / "presets").glob("*.toml"))


@pytest.fixture
def helped(monkeypatch, capsys):
    """helped(door, words, columns): what the door prints; it ends well, and says nothing on stderr."""

    def show(door, *words, columns=100):
        monkeypatch.setenv("COLUMNS", str(columns))
        with pytest.raises(SystemExit) as ended:
            MAINS[door](words)
        out, err = capsys.readouterr()
        assert ended.value.code == 0 and not err
        return out

    return show


def flags_on(page: str) -> set[str]:
    return set(re.findall(r"^  --(\w+)", page, re.MULTILINE))


def value_on(page: str, flag: str) -> str | None:
    """What stands in brackets at a flag, None for nothing."""
    about = re.search(rf"^  --{flag}\b(?:.|\n(?=   +\S))*", page, re.MULTILINE)[0]
    found = re.search(r"\[([^\]]*)\]$", " ".join(about.split()))
    return found and found[1]


def shown(value) -> str | None:
    """How a setting's value is written there."""
    if value in (None, (), "") or value is False:
        return None
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)


@pytest.mark.parametrize("columns", [80, 120])
@pytest.mark.parametrize("door", CONFIGS)
def test_the_help_has_at_most_seventy_lines_and_none_is_wider_than_the_terminal(helped, door, columns):
    lines = helped(door, "--help", columns=columns).splitlines()
    assert len(lines) <= 70 and max(map(len, lines)) <= columns


@pytest.mark.parametrize("door", CONFIGS)
def test_help_all_names_every_flag_and_the_help_all_that_are_not_rare(helped, door):
    fields = [field for field in dataclasses.fields(CONFIGS[door]) if not field.metadata["positional"]]
    assert flags_on(helped(door, "--help", "all")) == {field.name for field in fields}
    common = {field.name for field in fields if not field.metadata["rare"]}
    page = helped(door, "-h")
    assert flags_on(page) == common
    more = len(fields) - len(common)
    assert (f"\n{more} more flags: {door} --help all\n" in page) == (more > 0)


def test_the_help_shows_what_a_plain_run_takes_not_the_defaults_of_the_dataclass(helped):
    page, plain = helped("train.py", "--help=all"), train.read_settings([])
    assert plain.split != train.TrainConfig().split
    for field in dataclasses.fields(plain):
        assert value_on(page, field.name) == shown(getattr(plain, field.name)), field.name


@pytest.mark.parametrize("preset", PRESETS)
def test_with_a_preset_beside_it_the_help_shows_that_preset(helped, preset):
    page = helped("train.py", "--help", "all", "--preset", preset)
    for name, value in read_preset(train.TrainConfig, preset, ROOT / "presets").items():
        assert value_on(page, name) == shown(value), name


def test_with_flags_beside_it_the_help_shows_what_a_run_with_these_takes(helped):
    page = helped("train.py", "--task", "language", "--lr", "0.5", "-h")
    assert value_on(page, "preset") == "write" and value_on(page, "learning_rate") == "0.5"
    assert value_on(page, "lora_r") == shown(read_preset(train.TrainConfig, "write", ROOT / "presets")["lora_r"])
    assert value_on(helped("train.py", "--dataset", "mine.csv", "--help"), "also_test") is None


def test_help_is_given_beside_words_that_are_wrong_too(helped):
    assert helped("train.py", "--lrr", "3", "--help") == helped("train.py", "--help")
    assert helped("infer.py", "hello", "--threshold", "much", "--help", "all") == helped("infer.py", "-h", "all")


def test_the_help_of_a_preset_that_is_not_there_says_so():
    assert "--preset sedd: no such preset; there are" in refusal("train.py", ["--help", "--preset", "sedd"], 2)


def test_after_two_dashes_help_is_a_text_like_any_other():
    assert infer.parse(infer.InferConfig, ["--", "--help"], prog="infer.py", description="").texts == ("--help",)


def test_a_wrong_flag_is_no_invitation_to_one_of_another_subject():
    for wrong, told in [
        ("--config", "; there is --dataset_config ("),
        ("--load_in_4bit", "; there is --load_best_model_at_end ("),
        ("--labels", "; there are --label_column, --only_label ("),
        ("--bf16", "; there is --precision ("),
        ("--save", "; there are --save_strategy, --save_steps, --save_total_limit ("),
        ("--model_name_or_path", "; there are --model, --metric_for_best_model, --load_best_model_at_end ("),
        ("--quantize", " ("),
        ("--at_the_of", " ("),
    ]:
        assert f"unknown flag {wrong}{told}see train.py --help)" in refusal("train.py", [wrong, "1"], 2)
