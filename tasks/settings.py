"""A run's settings from flags, presets and the run before; and where the names in them are found."""

import dataclasses
import shlex
from os.path import exists, isfile, samefile
from pathlib import Path
from typing import Any

import data
import gpt2
from data.dataset import is_hub_id
from tasks.config import TrainConfig
from training.distributed import was_restarted
from training.errors import UsageError
from training.resume import UNUSED, run_of
from training.run import run_of_launch
from training.settings import TABS, parse_flags, read_preset, read_toml

ROOT = Path(__file__).resolve().parent.parent
DATASETS = ("dataset", "validation_dataset", "test_dataset", "also_test")


def settings_from(argv: list[str], **about: str) -> TrainConfig:
    """Flags over the preset, or, for a run to go on with, over the settings that run was started with.

    `about`: prog, description and epilog of --help.
    """
    flags = parse_flags(TrainConfig, argv, usual=_settings_for, **about)
    if flags.get("resume_from_checkpoint"):
        ignored = [
            f.name for f in dataclasses.fields(TrainConfig) if f.name in flags and f.metadata["resume"] == UNUSED
        ]
        if ignored:
            raise UsageError(f"--{ignored[0]}: a run that goes on has its own; leave it out")
        config = _settings_of(flags)
        for name, value in hub_names(config).items():
            if name not in flags:  # the file of a run may be anybody's
                raise UsageError(
                    f"the run's {name}, {value}, is not on this machine, and for a name in a file nothing is fetched; "
                    f"type --{name} {shlex.quote(value)}, or give its new place"
                )
        return config
    config = TrainConfig(**_settings_for(flags))
    run = run_of_launch(config.output_dir, default_directory(config)) if was_restarted() else None
    return config if run is None else _settings_of({"resume_from_checkpoint": str(run)})


def _settings_for(flags: dict[str, Any]) -> dict[str, Any]:
    """The settings that flags ask for: their preset's, or that of their task, and over it they themselves.

    Of a run that goes on, those that it was started with take the place of a preset.
    """
    if flags.get("resume_from_checkpoint"):
        return vars(_settings_of(flags))
    usual = "write" if flags.get("task") == "language" else "tiny"
    return _over_preset(**({"preset": usual} | flags))


def _settings_of(flags: dict[str, Any]) -> TrainConfig:
    """Flags over the settings of the run that they name."""
    run = run_of(Path(flags["resume_from_checkpoint"]))
    return TrainConfig(**(read_toml(TrainConfig, run / "config.toml") | {"overwrite": False} | flags))


def hub_names(config: TrainConfig) -> dict[str, str]:
    """The settings that name what is not on this machine, or a data set that is looked for on the hub."""
    names = {}
    try:
        gpt2.resolve_model(locate(config.model), download=False)
    except gpt2.CheckpointError:
        names["model"] = config.model
    for name in DATASETS:
        value = getattr(config, name)
        names |= {name: value} if value and is_hub_id(locate(value)) else {}
    return names


def retyped(config: TrainConfig) -> list[str]:
    """The flags that a command to go on with the run must name again: nothing else lets it reach for the hub."""
    return [f"--{name} {shlex.quote(value)}" for name, value in hub_names(config).items()]


def default_directory(config: TrainConfig) -> Path:
    """Where a run goes that is told nothing, if that name is free."""
    return Path("runs") / config.preset


def recipe(preset: str, **changes: Any) -> TrainConfig:
    """A preset's settings with some changed. Its other files and its --only_label go with its own rows alone."""
    return TrainConfig(**_over_preset(preset, **changes))


def _over_preset(preset: str, **changes: Any) -> dict[str, Any]:
    settings = read_preset(TrainConfig, preset, ROOT / "presets")
    own, other = settings.get("dataset"), changes.get("dataset")
    if own and other and not _same(locate(own), locate(other)):
        for name in (*DATASETS[1:], "only_label"):
            settings.pop(name, None)
    return settings | changes


def _same(own: str, other: str) -> bool:
    return own == other or (exists(own) and exists(other) and samefile(own, other))


def locate(name: str) -> str:
    """A file as given, else the one of that name in the project: the presets' paths work from any directory."""
    ours = ROOT / name  # not the folder gpt2/, which is no model: "gpt2" is a hub id
    is_ours = not exists(name) and (isfile(ours) or isfile(ours / "config.json"))  # pathlib's raise for a long name
    return str(ours) if is_ours else name


def files_of(config: TrainConfig) -> list[str]:
    """What a run reads, where it is on this machine."""
    return [locate(name) for name in (config.model, *(getattr(config, name) for name in DATASETS)) if name]


def source_of(config: TrainConfig) -> data.Source:
    """Where the rows of --dataset come from."""
    held_out = {name: getattr(config, name) for name in ("validation_dataset", "test_dataset")}
    return data.Source(
        locate(config.dataset), text_columns(config.text_column), config.label_column, **table_flags(config),
        config=config.dataset_config, split=config.dataset_split,
        **{name: value and locate(value) for name, value in held_out.items()},
    )  # fmt: skip


def text_columns(names: tuple[str, ...] | str | None) -> str | list[str] | None:
    """What --text_column says, as data.Source has it."""
    if names is None or isinstance(names, str):
        return names
    return list(names) if len(names) > 1 else next(iter(names), None)


def table_flags(config: Any) -> dict[str, Any]:
    """How a file is read, by the flags that train.py and infer.py have alike: fields of data.Source."""
    characters = {name: getattr(config, name) for name in ("delimiter", "quotechar")}
    characters = {name: "\t" if value in TABS else value for name, value in characters.items()}
    return characters | {
        name: getattr(config, name) for name in ("encoding", "encoding_errors", "header", "on_bad_row")
    }
