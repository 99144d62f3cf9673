"""A run's settings from flags, presets and the run before; and where the names in them are found."""

from os.path import exists, isfile, samefile
from pathlib import Path
from typing import Any

import data
from tasks.config import TrainConfig
from training.settings import parse_flags, read_preset, read_toml
from training.state import run_of

ROOT = Path(__file__).resolve().parent.parent


def settings_from(argv: list[str], **about: str) -> TrainConfig:
    """Flags over the preset, or, for a run to go on with, over the settings that run was started with.

    `about`: prog, description and epilog of --help.
    """
    flags = parse_flags(TrainConfig, argv, **about)
    if flags.get("resume_from_checkpoint"):
        run = run_of(Path(flags["resume_from_checkpoint"]))
        return TrainConfig(**(read_toml(TrainConfig, run / "config.toml") | flags))
    usual = "write" if flags.get("task") == "language" else "tiny"
    return recipe(flags.pop("preset", usual), **flags)


def recipe(preset: str, **changes: Any) -> TrainConfig:
    """A preset's settings with some changed. Its --also_test and --only_label go with its own rows alone."""
    settings = read_preset(TrainConfig, preset, ROOT / "presets")
    own, other = settings.get("dataset"), changes.get("dataset")
    if own and other and not _same(locate(own), locate(other)):
        settings.pop("also_test", None)
        settings.pop("only_label", None)
    return TrainConfig(**(settings | changes))


def _same(own: str, other: str) -> bool:
    return own == other or (exists(own) and exists(other) and samefile(own, other))


def locate(name: str) -> str:
    """A file as given, else the one of that name in the project: the presets' paths work from any directory."""
    ours = ROOT / name  # not the folder gpt2/, which is no model: "gpt2" is a hub id
    is_ours = not exists(name) and (isfile(ours) or isfile(ours / "config.json"))  # pathlib's raise for a long name
    return str(ours) if is_ours else name


def source_of(config: TrainConfig) -> data.Source:
    """Where the rows of --dataset come from."""
    return data.Source(locate(config.dataset), config.text_column, config.label_column, config.encoding)
