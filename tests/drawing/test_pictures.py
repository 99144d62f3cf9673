"""Pictures: whole files, said in words, readable in light and dark, the same each time."""

import itertools
import math
import re
import xml.etree.ElementTree as ElementTree

import pytest

from drawing import bars, heat, lines, reliability, stacked
from drawing.lines import thinned
from drawing.scale import in_bytes, short, span, tick_label, ticks, widened
from drawing.svg import COLORS, DARK, LIGHT, escape, fitted

SVG = "{http://www.w3.org/2000/svg}"
NASTY = "<script>alert(1)</script> & \"'\x00\x1b\ud800\u202e ]]>"


def pictures(words: str = "words", value: float = 0.25) -> dict[str, str]:
    """One of each kind, with `words` wherever words go and `value` among the numbers."""
    said = {"title": words, "desc": words}
    return {
        "lines": lines({words: [(0, value), (1, 0.5)], "b": [(0, 0.1)]}, **said, x_label=words, y_label=words),
        "log": lines({words: [(0.1, value), (10, 0.5)]}, **said, log_x=True, log_y=True, marks=[words], rule=1),
        "reliability": reliability([(0.5, value, 3), (0.9, 0.8, 9)], **said),
        "bars": bars([(words, [value, -1.0]), ("b", [None, 2.0])], [words, "b"], label=words, **said),
        "stacked": stacked([(words, [value, None, 1.0])], [words, "b", "c"], label=words, **said),
        "heat": heat([words, "b"], [words, "c"], [[value, None], [0.0, 3.0]], corner=words, **said),
    }


@pytest.mark.parametrize("kind", pictures())
def test_a_picture_is_a_file_of_its_own_that_says_what_it_shows(kind):
    root = ElementTree.fromstring(pictures("what one sees")[kind])
    assert root.tag == f"{SVG}svg" and root.get("role") == "img"
    named = root.get("aria-labelledby").split()
    assert {e.tag for e in root.iter() if e.get("id") in named} == {f"{SVG}title", f"{SVG}desc"}
    assert "prefers-color-scheme:dark" in root.findtext(f"{SVG}style")


@pytest.mark.parametrize("kind", pictures())
def test_no_text_breaks_out_of_a_picture(kind):
    root = ElementTree.fromstring(pictures(NASTY)[kind])
    assert {e.tag.removeprefix(SVG) for e in root.iter()} <= {
        "svg", "title", "desc", "style", "rect", "text", "line", "path", "circle",
    }  # fmt: skip
    assert root.findtext(f"{SVG}title").startswith("<script>")  # as words


@pytest.mark.parametrize("kind", pictures())
def test_a_picture_is_the_same_each_time_and_holds_no_long_number(kind):
    first, again = pictures(value=1 / 3)[kind], pictures(value=1 / 3)[kind]
    assert first == again
    assert not re.findall(r'[ "ML]-?\d+\.\d{3,}', re.sub("<style>.*</style>", "", first))


@pytest.mark.parametrize("kind", pictures())
def test_all_of_a_picture_lies_within_its_frame(kind):
    for value in (0.0, 1e-9, 0.25, 1.0):
        root = ElementTree.fromstring(pictures("a name that is far too long for the place it gets", value)[kind])
        width, height = map(float, root.get("viewBox").split()[2:])
        for e in root.iter():
            x, y = (float(e.get(name, e.get(f"c{name}", 0))) for name in "xy")
            assert 0 <= x <= width and 0 <= y <= height, ElementTree.tostring(e)
            assert float(e.get("width", 0)) >= 0 and x + float(e.get("width", 0)) <= width + 0.1


def test_empty_and_constant_input_is_drawn_too():
    said = {"title": "t", "desc": "d"}
    for picture in (
        lines({}, **said), lines({"a": []}, **said), lines({"a": [(1, 0.0), (2, 0.0)]}, **said),
        lines({"a": [(1, None), (2, math.nan)]}, **said, log_y=True), bars([], **said), bars([("a", [None])], **said),
        bars([("a", [0.0])], **said), stacked([], ["a"], **said), stacked([("a", [0])], ["a"], **said),
        heat([], [], [], **said), heat(["a"], ["b"], [[0.0]], **said), reliability([], **said),
    ):  # fmt: skip
        ElementTree.fromstring(picture)
        assert "nan" not in picture and "inf" not in picture.replace("infer", "")


def test_a_gap_in_a_curve_stays_a_gap():
    picture = lines({"a": [(0, 1.0), (1, 2.0), (2, None), (3, 1.0), (4, 2.0)]}, title="t", desc="d")
    assert picture.count("<path") == 2


def test_a_long_curve_keeps_its_peaks_and_its_order():
    points = [(i, {777: 1000.0, 3333: -1000.0}.get(i, math.sin(i))) for i in range(10_000)]
    kept = thinned(points)
    assert len(kept) <= 410 and {(777, 1000.0), (3333, -1000.0)} <= set(kept)
    assert [x for x, _ in kept] == sorted(x for x, _ in kept)


def luminance(color: str) -> float:
    """WCAG 2's relative luminance of #rrggbb."""
    parts = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    return sum(
        w * (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4)
        for w, c in zip((0.2126, 0.7152, 0.0722), parts)
    )


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", [LIGHT, DARK], ids=["light", "dark"])
def test_text_has_contrast_aa_on_paper_and_on_every_tint(scheme):
    for name in ("ink", "soft"):
        assert contrast(scheme[name], scheme["paper"]) >= 4.5
    for tint in ("tint", "up", "down"):
        assert contrast(scheme["ink"], scheme[tint]) >= 4.5
    assert contrast(scheme["c0"], scheme["paper"]) >= 4.5  # links
    assert all(contrast(scheme[f"c{i}"], scheme["paper"]) >= 3 for i in range(COLORS))  # lines and bars


# Machado, Oliveira and Fernandes 2009: what eyes without the red, or the green, receptor make of linear RGB.
BLIND = {
    "protan": ((0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216), (-0.003882, -0.048116, 1.051998)),
    "deutan": ((0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.011820, 0.042940, 0.968881)),
}


@pytest.mark.parametrize("kind", BLIND)
@pytest.mark.parametrize("scheme", [LIGHT, DARK], ids=["light", "dark"])
def test_colours_are_apart_for_colour_blind_readers(scheme, kind):
    def seen(color):
        linear = [(int(color[i : i + 2], 16) / 255) ** 2.2 for i in (1, 3, 5)]
        mixed = [sum(w * c for w, c in zip(row, linear)) for row in BLIND[kind]]
        return [max(0.0, min(1.0, c)) ** (1 / 2.2) for c in mixed]

    pairs = [("up", "down"), *itertools.combinations(("c0", "c1", "c2", "c3"), 2)]
    for a, b in pairs:
        assert math.dist(seen(scheme[a]), seen(scheme[b])) > 0.2, (a, b)


@pytest.mark.parametrize("low, high", [(0, 1), (0, 620), (-3.2, 7.9), (1e-9, 3e-9), (5, 5.0001), (0, 3e9)])
def test_ticks_are_round_few_and_inside(low, high):
    found = ticks(low, high, 5)
    assert 1 <= len(found) <= 7
    assert all(low - 1e-9 * abs(low) <= v <= high * (1 + 1e-9) for v in found)
    outer = widened(low, high, 5)
    assert outer[0] <= low + 1e-9 * abs(low) and outer[1] >= high * (1 - 1e-9)


def test_ticks_of_a_log_axis_are_powers_of_ten():
    assert [tick_label(v) for v in ticks(1e-5, 1e-2, 5, log=True)] == ["1e-5", "0.0001", "0.001", "0.01"]
    assert span([], log=True) == (0.1, 1.0) and span([3.0, 3.0]) == (1.5, 4.5)


def test_numbers_are_short():
    assert [short(v) for v in (0, 2, 2.0, 0.01234, 1.234, 12.34, 1234, 140e6, 2.5e-7, None)] == [
        "0", "2", "2.00", "0.0123", "1.23", "12.3", "1,234", "140M", "2.5e-07", "-",
    ]  # fmt: skip
    assert [in_bytes(b) for b in (930, 1500, 21e6, 4.3e9)] == ["930 B", "1.5 kB", "21 MB", "4.3 GB"]
    assert fitted("a long name", 30) == "a l…" and escape("\x00<") == "\ufffd&lt;"
