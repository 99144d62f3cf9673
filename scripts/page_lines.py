"""Lines that a page shows, beside the lines that were printed: which are missing, and what they are now."""

import re

from scripts.pages import Block

_NUMBER = r"-?\d+(?:,\d{3})*(?:\.\d+)?(?:e[+-]\d+)?"
POINTS = 10  # of per cent
_WHOLE_LINES = 1_000  # lines found count for more than any numbers that are equal in them


def unmatched_lines(shown: Block, printed: str) -> list[str]:
    """The lines shown that do not occur, each after the one before, among the lines printed.

    `...` stands for anything; under `<!-- measured -->` a number stands for any number and blanks for any blanks, but
    counts from a thousand on must be the same, and shares within POINTS: what differs more is another run, no machine.
    """
    lines = _lines(printed)
    missing = []
    for line in filter(None, map(str.rstrip, shown.text.splitlines())):
        pattern = _pattern(line, measured="measured" in shown.marks)
        found = ((i, pattern.fullmatch(candidate)) for i, candidate in enumerate(lines))
        at = next((i for i, match in found if match and _near(line, match.groups())), None)
        if at is None:
            missing.append(line)
        else:
            lines = lines[at + 1 :]
    return missing


def _near(shown: str, printed: tuple[str, ...]) -> bool:
    """Whether the numbers of a measured line can be another machine's; elsewhere they are words."""
    for found, now in zip(re.finditer(_NUMBER, shown), printed):
        value, other = (float(number.replace(",", "")) for number in (found[0], now))
        if re.match(r"\s*%", shown[found.end() :]) and abs(value - other) > POINTS:
            return False
        if re.fullmatch(r"[\d,]{4,}", found[0]) and value != other:
            return False
    return True


def renewed_lines(shown: Block, printed: str) -> tuple[list[str], list[int]]:
    """(the lines shown as they are printed now, the places of those that nothing printed looks like)

    A line becomes the printed one that has its words, whatever the numbers and blanks, in the order of the page. Lines
    without such a one, a verdict that has turned for example, become the printed lines between their neighbours' if
    these are as many. In a line with `...` only the numbers change.
    """
    old, now = shown.text.splitlines(), list(filter(None, _lines(printed)))
    places = [place for place, line in enumerate(old) if line.strip() not in ("", "...")]
    found = dict(zip(places, _align([old[place].rstrip() for place in places], now)))
    _fill_gaps(found, old, len(now))
    new, missing = list(old), []
    for place, at in found.items():
        if at is None:
            missing.append(place)
        else:
            new[place] = _renewed(old[place], now[at])
    return new, missing


def _align(shown: list[str], printed: list[str]) -> list[int | None]:
    """For each line shown the number of its printed line, so that most lines have one, and then most numbers stay.

    Taking the first that looks alike would give the row "step 100" the numbers of the row "step 10".
    """
    patterns = [_pattern(line, measured=True) for line in shown]
    best = [[0] * (len(printed) + 1) for _ in range(len(shown) + 1)]  # what can be had from here to both ends
    pairs: dict[tuple[int, int], int] = {}
    for i in reversed(range(len(shown))):
        for at in reversed(range(len(printed))):
            best[i][at] = max(best[i + 1][at], best[i][at + 1])
            if patterns[i].fullmatch(printed[at]):
                pairs[i, at] = _WHOLE_LINES + _equal_numbers(shown[i], printed[at]) + best[i + 1][at + 1]
                best[i][at] = max(best[i][at], pairs[i, at])
    chosen: list[int | None] = [None] * len(shown)
    i = at = 0
    while i < len(shown) and at < len(printed):
        if pairs.get((i, at)) == best[i][at]:
            chosen[i] = at
            i, at = i + 1, at + 1
        elif best[i][at + 1] == best[i][at]:
            at += 1
        else:
            i += 1
    return chosen


def _equal_numbers(shown: str, printed: str) -> int:
    return sum(a == b for a, b in zip(re.findall(_NUMBER, shown), re.findall(_NUMBER, printed)))


def _fill_gaps(found: dict[int, int | None], old: list[str], end: int) -> None:
    """Give lines that were not found the printed ones between their neighbours', where these are as many."""
    places = [place for place, line in enumerate(old) if line.strip()]  # those that are `...` are neighbours to none
    start = 0
    while start < len(places):
        stop = start
        while stop < len(places) and found.get(places[stop], 0) is None:
            stop += 1
        gap = places[start:stop]
        before = found.get(places[start - 1]) if start else -1
        after = found.get(places[stop]) if stop < len(places) else end
        elided = any("..." in old[place] for place in gap)
        if gap and not elided and before is not None and after is not None and after - before - 1 == len(gap):
            found.update(zip(gap, range(before + 1, after)))
        start = stop + 1


def _renewed(shown: str, printed: str) -> str:
    if "..." not in shown:
        return printed
    if _pattern(shown.rstrip(), measured=False).fullmatch(printed):
        return shown
    numbers = iter(_pattern(shown.rstrip(), measured=True).fullmatch(printed).groups())

    def renew(found: re.Match[str]) -> str:
        number = next(numbers)
        length = len(found[0].lstrip("-")) + number.startswith("-")
        return number[:length] if shown.startswith("...", found.end()) else number  # `0.1...`: so many digits hold

    return re.sub(_NUMBER, renew, shown)


def _lines(printed: str) -> list[str]:
    return [line.rstrip() for line in re.split(r"[\r\n]+", printed)]


def _pattern(line: str, measured: bool) -> re.Pattern[str]:
    """A line with `...` for anything; `measured` with any numbers, a group each, and any blanks."""
    parts = []
    for part in line.split("..."):
        words = re.split(_NUMBER, part) if measured else [part]
        literal = [re.sub(r"(?:\\ )+", r"\\s*" if measured else r" +", re.escape(word)) for word in words]
        parts.append(rf"\s*({_NUMBER})\s*".join(literal))
    return re.compile(".*?".join(parts))
