"""What a run that goes on must have in common with the run that was stopped."""

import dataclasses
from os.path import isfile
from pathlib import Path
from typing import Any

from training.device import Place
from training.errors import StateError, UsageError
from training.fingerprint import same_fingerprint

SAME, MAY, UNUSED = "same", "may", "unused"  # of an option: must not change on a resume; may; means nothing then


def compare(path: Path, saved: dict[str, Any], config: Any, identity: dict[str, str], place: Place) -> list[str]:
    """Lines on the settings that differ and may; raises UsageError, naming all that may not.

    A setting that the checkpoint does not name had its default. Fingerprints decide about base and rows, not names.
    """
    if not isinstance(saved.get("config"), dict) or not isinstance(saved.get("state"), dict):
        raise StateError(f"{path / 'state.json'}: holds no settings or no state; take another checkpoint")
    changed, told, settings = [], [], settings_of(config)
    for option in dataclasses.fields(config):
        before, now = saved["config"].get(option.name, _json(option.default)), settings[option.name]
        rule = option.metadata["resume"]
        if before != now and rule == SAME:
            changed.append(f"--{option.name} (it was {_shown(before)})")
        elif before != now and rule == MAY and option.name != "resume_from_checkpoint":
            told.append(f"changed since then: --{option.name} is {_shown(now)}, it was {_shown(before)}")
    size, precision = saved.get("world_size", 1), saved.get("precision")
    if size != place.ranks.size:
        changed.append(f"the number of processes (it was {_shown(size)})")
    if precision != place.precision:
        changed.append(f"the precision (it was {_shown(precision)})")
    known = saved["state"].get("identity")
    known = known if isinstance(known, dict) else {}
    changed += [what for what, value in identity.items() if not same_fingerprint(known.get(what), value)]
    if changed:
        raise UsageError(f"{path}: cannot go on with a change of {', '.join(changed)}; start a new run for that")
    return told


def settings_of(config: Any) -> dict[str, Any]:
    """As they come back from JSON."""
    return {name: _json(value) for name, value in vars(config).items()}


def run_of(path: Path) -> Path:
    """The run that a path given to --resume_from_checkpoint belongs to: the run itself or one of its checkpoints."""
    run = path if isfile(path / "config.toml") else path.parent.parent  # pathlib raises for a name that is too long
    if not isfile(run / "config.toml"):
        raise UsageError(f"--resume_from_checkpoint {path}: no run there (a run has a config.toml)")
    return run


def _json(value: Any) -> Any:
    """As it comes back from JSON, in which a tuple is a list."""
    return list(value) if isinstance(value, tuple) else value


def _shown(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else "not given" if value is None else f"{value}"
