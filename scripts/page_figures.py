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
    code = "\n".join(block.text for block in page.blocks if block.language in EXECUTABLE)
    known = printed(page) | _values(code)
    return [number + unit for _, number, unit in _quoted(page) if not _among(known, number, unit)]


def moved(old: Page, new: Page) -> list[tuple[int, str]]:
    """(line, number) in the prose of `new` of what outputs and tables of `old` print and those of `new` do not."""
    gone, known = printed(old) - printed(new), printed(new)
    return [
        (line, number + unit)
        for line, number, unit in _quoted(new)
        if _among(gone, number, unit) and not _among(known, number, unit)
    ]


def printed(page: Page) -> set[float]:
    """The numbers in outputs, in what is renewed, and in tables under a command."""
    outputs = [block.output.text for block in page.blocks if block.output]
    return _values("\n".join([*outputs, *(block.text for block in page.renewed), *_sort_lines(page)[1]]))


def _quoted(page: Page) -> list[tuple[int, str, str]]:
    """(line, number, unit) of the numbers in prose that are looked at."""
    text = _EXEMPT.sub("", "\n".join(_sort_lines(page)[0]))
    cited = {_value(number.removesuffix("%").strip()) for number in page.cited}
    quoted = []
    for found in _NUMBER.finditer(text):
        number, unit = found[1], found[2] or ""
        figures = len(re.sub(r"\D", "", number.split(".")[0]))
        if (figures >= 3 or "." in number or unit.strip() == "%") and _value(number) not in cited:
            quoted.append((text.count("\n", 0, found.start()) + 1, number, unit))
    return quoted


def _sort_lines(page: Page) -> tuple[list[str], list[str]]:
    """(all lines, blank where they are no prose; lines of tables that stand under a command in the same section)."""
    prose, tables, commanded = [], [], False
    fences = {block.line - 1 for block in page.blocks if block.language in EXECUTABLE}
    for number, (line, words) in enumerate(zip(page.prose.splitlines(), page.words.splitlines()), start=1):
        commanded = not line.startswith("#") and (commanded or number in fences or _COMMAND.search(line) is not None)
        is_table = line.startswith("|") and commanded
        if is_table:
            tables.append(line)
        prose.append("" if is_table or line.startswith("#") else words)
    return prose, tables


def _values(text: str) -> set[float]:
    return {_value(found) for found in _PRINTED.findall(text)}


def _value(number: str) -> float:
    return float(number.replace(",", ""))


def _among(values: set[float], number: str, unit: str) -> bool:
    return any(_rounds_to(value, number, unit.strip()) for value in values)


def _rounds_to(value: float, number: str, unit: str) -> bool:
    decimals = len(number.partition(".")[2])
    half = 0.5 * 10**-decimals * (1 + 1e-9)
    return any(abs(value * scale - _value(number)) <= half for scale in (1, _SCALES.get(unit, 1)))
