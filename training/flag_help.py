"""What `--help` prints: the flags that people use, and with `--help all` every one. Built by training/settings.py."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

LEFT = 36  # columns of the flags; a longer one has its text on the next line
WIDEST = 110


@dataclass(frozen=True)
class Entry:
    """A flag, or a text that needs none, as the help shows it."""

    group: str
    typed: str  # "--lora_r INT"
    text: str
    rare: bool


def help_page(
    entries: Sequence[Entry], prog: str, description: str, epilog: str, width: int, *, everything: bool
) -> str:
    """The page for a terminal of `width` columns, without the rare flags unless `everything` is asked for."""
    width = max(40, min(width, WIDEST) - 1)
    chosen = [entry for entry in entries if everything or not entry.rare]
    texts = "".join(f" [{entry.typed} ...]" for entry in entries if not entry.typed.startswith("-"))
    lines = [f"usage: {prog} [flags]{texts}", "", *textwrap.wrap(description, width)]
    lines += textwrap.wrap("In [brackets]: what is taken where the flag is not given.", width)
    for group in dict.fromkeys(entry.group for entry in chosen):
        lines += ["", f"{group}:"]
        for entry in chosen:
            lines += _lines(entry, width) if entry.group == group else []
    if more := len(entries) - len(chosen):
        lines += ["", f"{more} more flag{'s' * (more > 1)}: {prog} --help all"]
    return "\n".join([*lines, *(["", epilog] if epilog else [])]) + "\n"


def _lines(entry: Entry, width: int) -> list[str]:
    text = textwrap.wrap(entry.text, width - LEFT, break_on_hyphens=False)
    first = f"  {entry.typed}"
    beside = text.pop(0) if text and len(first) < LEFT else ""
    return [f"{first:<{LEFT}}{beside}".rstrip(), *(" " * LEFT + line for line in text)]
