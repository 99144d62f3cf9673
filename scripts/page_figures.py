"""The numbers in a page's prose: each is printed by something on the page, or cited as somebody else's."""

import re

from scripts.pages import EXECUTABLE, Page

_NUMBER = re.compile(r"(?<![\w.])(\d+(?:,\d{3})*(?:\.\d+)?)(?!\d|\.\d|,\d{3})(?:(\s?%|\s?million\b|\s?M\b)|(?!\w))")
_PRINTED = re.compile(r"\d+(?:,\d{3})*(?:\.\d+)?(?:e[+-]?\d+)?")
_NAMES = "python|torch|transformers|peft|tokenizers|safetensors|datasets|accelerate|numpy|matplotlib|scikit-learn"
_EXEMPT = re.compile(rf"\b(?:{_NAMES}|version) \d+(?:\.\d+)+|\b\d{{4}}\.\d{{4,5}}\b|\b(?:19|20)\d\d\b", re.IGNORECASE)
_COMMAND = re.compile(r"`(?:python |benchmarks/|scripts/)")
_SCALES = {"%": 100, "million": 1e-6, "M": 1e-6}


def unprinted(page: Page) -> list[str]:
    """The numbers in prose that nothing on the page prints.

    Looked at are numbers with a decimal point, a % or three figures and more. A number counts as printed if one in
    an output, a block of code or a table under a command rounds to it; 98.7 % may be printed as 0.987. Headings, code
    spans, years, versions, arXiv ids and what the page cites are left out.
    """
    prose, tables = _sort_lines(page)
    blocks = [text for b in page.blocks if b.language in EXECUTABLE for text in (b.text, b.output and b.output.text)]
    printed = [_value(found) for text in (*blocks, *tables) if text for found in _PRINTED.findall(text)]
    cited = {_value(number.removesuffix("%").strip()) for number in page.cited}
    missing = []
    for number, unit in _NUMBER.findall(_EXEMPT.sub("", "\n".join(prose))):
        figures = len(re.sub(r"\D", "", number.split(".")[0]))
        if not (figures >= 3 or "." in number or unit.strip() == "%") or _value(number) in cited:
            continue
        if not any(_rounds_to(value, number, unit.strip()) for value in printed):
            missing.append(number + unit)
    return missing


def _sort_lines(page: Page) -> tuple[list[str], list[str]]:
    """(lines of prose, lines of tables that stand under a command in the same section)."""
    prose, tables, commanded = [], [], False
    fences = {block.line - 1 for block in page.blocks if block.language in EXECUTABLE}
    for number, (line, words) in enumerate(zip(page.prose.splitlines(), page.words.splitlines()), start=1):
        commanded = not line.startswith("#") and (commanded or number in fences or _COMMAND.search(line) is not None)
        if line.startswith("|") and commanded:
            tables.append(line)
        elif not line.startswith("#"):
            prose.append(words)
    return prose, tables


def _value(number: str) -> float:
    return float(number.replace(",", ""))


def _rounds_to(value: float, number: str, unit: str) -> bool:
    decimals = len(number.partition(".")[2])
    half = 0.5 * 10**-decimals * (1 + 1e-9)
    return any(abs(value * scale - _value(number)) <= half for scale in (1, _SCALES.get(unit, 1)))
