"""Where a model's files are: in a local directory, or on the Hugging Face hub.

A local path never touches the network. A hub id looks into the local cache first.
"""

import re
from pathlib import Path

from gpt2.config import CheckpointError

MODEL_FILES = ("config.json", "model.safetensors", "vocab.json", "merges.txt")
_ALIASES = {name: f"openai-community/{name}" for name in ("gpt2", "gpt2-medium", "gpt2-large", "gpt2-xl")}
_HUB_ID = re.compile(r"[\w][\w.-]*/[\w][\w.-]*")


def resolve_model(name_or_path: str | Path, *, download: bool = True) -> Path:
    """The local directory that holds a model's files, fetched from the hub where `name_or_path` is a hub id.

    Raises CheckpointError, saying which files to put where, if there is no such directory and no network.
    """
    directory = Path(name_or_path)
    if (directory / "config.json").is_file():
        return directory
    name = str(name_or_path)
    hub_id = _ALIASES.get(name, name)
    looks_local = isinstance(name_or_path, Path) or name.startswith((".", "/", "~")) or not _HUB_ID.fullmatch(hub_id)
    beside_files = directory.parent != Path(".") and directory.parent.is_dir()
    if looks_local or ((directory.is_dir() or beside_files) and name not in _ALIASES):
        what = "has no config.json" if directory.is_dir() else "no such directory"
        raise CheckpointError(f"{name}: {what}; a model directory holds {', '.join(MODEL_FILES)}")
    return _from_hub(hub_id, download)


def _from_hub(hub_id: str, download: bool) -> Path:
    # Imported here: a run on local files should not wait for it.
    from huggingface_hub import snapshot_download

    try:
        cached = Path(snapshot_download(hub_id, allow_patterns=list(MODEL_FILES), local_files_only=True))
        if all((cached / file).is_file() for file in MODEL_FILES):
            return cached
    except Exception:  # noqa: BLE001 - not in the cache, told apart by nothing but the hub's own error classes
        pass
    reason = "it is not in the local cache"
    if download:
        try:
            fetched = Path(snapshot_download(hub_id, allow_patterns=list(MODEL_FILES)))
            missing = [file for file in MODEL_FILES if not (fetched / file).is_file()]
            if not missing:
                return fetched
            reason = f"{', '.join(missing)} did not come"
        except Exception as error:  # noqa: BLE001 - offline, unknown id, no permission: all end in the same advice
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    raise CheckpointError(
        f"{hub_id}: could not be fetched from the Hugging Face hub ({reason}). Without a network, put "
        f"{', '.join(MODEL_FILES)} of https://huggingface.co/{hub_id} into a directory and pass --model DIRECTORY"
    )
