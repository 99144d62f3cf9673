"""Whether what is here is what a file was written for."""

from typing import Any


def same_fingerprint(recorded: Any, found: str) -> bool:
    """Whether two fingerprints are of one thing.

    One without parts is of an older file, from before label names, config.json and tokenizer counted: it is compared
    with the part that it knew, the first of `2:...:...`.
    """
    return recorded == found or (found.startswith("2:") and recorded == found.split(":")[1])
