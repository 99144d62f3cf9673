"""Flags and presets: one dataclass, several spellings, and an answer to every wrong one that helps."""

import dataclasses
from dataclasses import dataclass

import pytest

from training.errors import UsageError
from training.settings import check_range, option, parse, parse_flags, read_preset, read_toml, to_toml


@dataclass(frozen=True)
class Config:
    preset: str = option("tiny", "recipe", group="what")
    output_dir: str | None = option(None, "where to", group="what")
    learning_rate: float = option(1e-3, "peak rate, 100% of it", group="training", short="lr")
    per_device_train_batch_size: int = option(32, "rows", group="training", short="batch_size")
    max_steps: int = option(-1, "updates", group="training")
    schedule: str = option("linear", "after the warm-up", group="training", choices=("linear", "constant"))
    target_modules: tuple[str, ...] = option(("c_attn", "c_proj"), "layers", group="LoRA")
    use_rslora: bool = option(False, "scale by the root", group="LoRA")
    load_best: bool = option(True, "end with the best", group="LoRA")
    texts: tuple[str, ...] = option((), "what to classify", group="what", positional=True)


def of(*argv: str) -> Config:
    return parse(Config, argv, prog="door.py", description="A door.")


@pytest.fixture
def toml(tmp_path):
    """Write a preset file and read it."""

    def read(content: str | bytes) -> dict:
        path = tmp_path / "mine.toml"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return read_toml(Config, path)

    return read


def test_without_flags_everything_has_its_default():
    assert of() == Config()


@pytest.mark.parametrize("flag", ["--learning_rate", "--learning-rate", "--lr"])
@pytest.mark.parametrize("form", ["two words", "equals"])
def test_underscores_dashes_and_the_short_form_are_the_same_flag(flag, form):
    argv = [flag, "3e-4"] if form == "two words" else [f"{flag}=3e-4"]
    assert of(*argv).learning_rate == 3e-4


@pytest.mark.parametrize(
    "flag", ["--per_device_train_batch_size", "--per-device-train-batch-size", "--batch_size", "--batch-size"]
)
def test_a_long_flag_has_four_spellings(flag):
    assert of(flag, "8").per_device_train_batch_size == 8


def test_only_the_flags_given_are_reported_so_that_they_can_override_a_preset():
    assert parse_flags(Config, ["--lr", "1"], prog="p", description="") == {"learning_rate": 1.0}


@pytest.mark.parametrize("argv, value", [([], True), (["yes"], True), (["False"], False), (["0"], False)])
def test_a_switch_may_stand_alone_or_with_a_value(argv, value):
    assert of("--use_rslora", *argv).use_rslora is value


def test_lists_negative_numbers_and_texts_are_read():
    config = of("hello you", "--target_modules", "c_attn", "c_fc", "--max_steps", "-1")
    assert config.target_modules == ("c_attn", "c_fc")
    assert config.texts == ("hello you",)
    assert config.max_steps == -1


@pytest.mark.parametrize(
    "wrong, right",
    [
        ("--learning_rat", "learning_rate"),
        ("--learning-rates", "learning_rate"),
        ("--batchsize=4", "batch_size"),
        ("--use_rs_lora", "use_rslora"),
        ("-lr", "lr"),
        ("--lora_target_modules", "target_modules"),
    ],
)
def test_a_wrong_flag_is_answered_with_the_nearest_right_one(wrong, right):
    with pytest.raises(UsageError, match=rf"^unknown flag {wrong.split('=')[0]}; did you mean --{right}\?"):
        of(wrong, "4")


def test_a_wrong_flag_that_is_no_near_miss_is_answered_with_flags_of_its_subject():
    with pytest.raises(UsageError, match=r"^unknown flag --rate_of_warming; there is --learning_rate \(see"):
        of("--rate_of_warming")


def test_a_flag_like_no_other_points_to_the_help():
    with pytest.raises(UsageError, match=r"^unknown flag --xyzzy \(see door.py --help\)"):
        of("--xyzzy")


def test_a_flag_is_not_guessed_from_its_first_letters():
    with pytest.raises(UsageError, match="unknown flag --learning"):
        of("--learning", "1")


@pytest.mark.parametrize(
    "argv, told",
    [
        (["--use_rslora=perhaps"], "use_rslora.*'perhaps' is neither true nor false"),
        (["--batch_size", "many"], "batch_size.*invalid int value: 'many'"),
        (["--batch_size", "2.5"], "batch_size.*invalid int value: '2.5'"),
        (["--lr", "1e-"], "lr.*invalid float value: '1e-'"),
        (["--schedule", "linaer"], "schedule.*'linaer'.*linear.*constant"),
        (["--lr"], "lr.*expected one argument"),
        (["--output_dir=--"], "--output_dir: expected one argument"),
    ],
)
def test_a_wrong_value_is_told_with_its_flag(argv, told):
    with pytest.raises(UsageError, match=told):
        of(*argv)


def test_the_help_shows_values_choices_groups_and_no_flag_twice(capsys):
    with pytest.raises(SystemExit) as end:
        of("--help")
    said = capsys.readouterr().out
    assert end.value.code == 0
    assert "--learning_rate, --lr FLOAT" in said
    assert "peak rate, 100% of it [0.001]" in said
    assert "[c_attn c_proj]" in said
    assert "--load_best true|false" in said and "[True]" in said
    assert "[TEXT ...]" in said
    assert "linear|constant" in said
    assert "LoRA:" in said
    assert "--learning-rate" not in said
    assert "None" not in said and "[False]" not in said and "[]" not in said
    assert "more flag" not in said


def test_a_preset_is_found_by_name_and_by_path_and_its_values_have_the_field_types(tmp_path):
    (tmp_path / "mine.toml").write_text('learning_rate = 1\ntarget_modules = ["c_fc"]\nuse_rslora = true\n')
    values = read_preset(Config, "mine", tmp_path)
    assert values == {"learning_rate": 1.0, "target_modules": ("c_fc",), "use_rslora": True, "preset": "mine"}
    assert isinstance(values["learning_rate"], float)
    assert read_preset(Config, str(tmp_path / "mine.toml"), tmp_path / "elsewhere") == values


def test_a_wrong_preset_lists_those_there_are(tmp_path):
    for name in ("tiny", "seed"):
        (tmp_path / f"{name}.toml").write_text("")
    with pytest.raises(UsageError, match=r"--preset sedd: no such preset; there are seed, tiny"):
        read_preset(Config, "sedd", tmp_path)


def test_an_unknown_key_in_a_preset_is_answered_with_the_nearest(toml):
    with pytest.raises(UsageError, match=r"mine\.toml: unknown setting 'learning_rat'; did you mean 'learning_rate'\?"):
        toml("learning_rat = 1e-3\n")


@pytest.mark.parametrize(
    "line",
    ['learning_rate = "fast"', "max_steps = 1.5", "max_steps = true", "use_rslora = 1", "preset = 3"]
    + ["target_modules = [1]", "learning_rate = [1.0]", "output_dir = 7", "learning_rate = true"],
)
def test_a_value_of_a_wrong_type_in_a_preset_is_named(toml, line):
    name = line.split(" = ")[0]
    with pytest.raises(UsageError, match=rf"mine\.toml: {name} must be (float|int|bool|str), not"):
        toml(line + "\n")


def test_a_value_that_is_not_among_the_choices_is_refused_in_a_preset_too(toml):
    with pytest.raises(UsageError, match="schedule.*linaer"):
        toml('schedule = "linaer"\n')


@pytest.mark.parametrize("content", ["learning_rate = \n", "= 1\n", b"preset = '\xff'\n", "a = 1\na = 2\n"])
def test_a_file_that_is_no_toml_is_named(toml, content):
    with pytest.raises(UsageError, match=r"mine\.toml: cannot be read as TOML"):
        toml(content)


ODD = [
    "",
    "C:\\new\\table",
    'say "hi"',
    "line\nbreak\r\ttab",
    "café 😀 \u2028\x85",
    "\x00\x07\x1f\x7f",
    "# no = comment",
    "'''",
]  # noqa: E501 - one odd string after the other


@pytest.mark.parametrize("text", ODD)
def test_a_saved_configuration_reads_back_whatever_its_strings_hold(toml, text):
    config = Config(output_dir=text, target_modules=(text, "c_attn"), texts=(text,))
    assert Config(**toml(to_toml(config))) == config


@pytest.mark.parametrize("number", [2e-5, 1e-300, 0.1 + 0.2, 1e22, 3.0, -0.0, float("inf")])
def test_a_saved_configuration_reads_back_to_the_last_bit_of_its_numbers(toml, number):
    saved = Config(**toml(to_toml(Config(learning_rate=number, max_steps=-(2**40)))))
    assert repr(saved.learning_rate) == repr(number)
    assert saved.max_steps == -(2**40)


def test_a_setting_that_is_none_is_left_out_and_empty_lists_and_switches_are_kept(toml):
    config = Config(target_modules=(), load_best=False)
    assert "output_dir" not in to_toml(config)
    assert toml(to_toml(config)) == {k: v for k, v in dataclasses.asdict(config).items() if v is not None}


@pytest.mark.parametrize("value", [0.5, -1, float("nan"), float("inf")])
def test_a_number_out_of_its_range_is_named(value):
    with pytest.raises(UsageError, match="--learning_rate .*: must be at least 1"):
        check_range(Config(learning_rate=value), ["learning_rate"], 1)


def test_a_seed_too_large_for_torch_is_named():
    with pytest.raises(UsageError, match=r"--max_steps 9+: must be at least 0 and below 2\*\*63"):
        check_range(Config(max_steps=10**20 - 1), ["max_steps"], 0)


@pytest.mark.parametrize(
    ("value", "told"), [(0.0, "above 0$"), (1.0, "above 0 and below 1$"), (float("nan"), "above 0$")]
)
def test_a_share_may_be_neither_nothing_nor_all(value, told):
    check_range(Config(learning_rate=0.5), ["learning_rate"], 0, below=1, open=True)
    with pytest.raises(UsageError, match=f"--learning_rate .*: must be {told}"):
        check_range(Config(learning_rate=value), ["learning_rate"], 0, below=1, open=True)


def test_a_number_at_its_least_and_a_missing_one_pass():
    check_range(Config(learning_rate=1.0, output_dir=None), ["learning_rate", "output_dir"], 1)
