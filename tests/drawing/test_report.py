"""A report as a page and as plain tables: every section opens with what one sees, and numbers stay what they are."""

import copy
import html
import re
import xml.etree.ElementTree as ElementTree

import pytest

import drawing
from tests.drawing import reports

KINDS = {"classifier": reports.classifier, "writer": reports.writer, "three": lambda: reports.many_labels(3),
         "forty": lambda: reports.many_labels(40)}  # fmt: skip


def shown(report) -> tuple[str, str]:
    """(page, plain)."""
    title, lead, sections = drawing.title(report), drawing.lead(report), drawing.sections(report)
    return drawing.page(title, lead, sections), drawing.plain(title, lead, sections)


def test_a_classifiers_report_has_every_section():
    assert [s.name for s in drawing.sections(reports.classifier())] == [
        "curves", "gradients", "map", "spectra", "confusions", "mistakes", "length", "thresholds", "reliability",
        "text", "memory", "missing",
    ]  # fmt: skip


def test_a_writers_report_has_its_own_sections():
    names = [s.name for s in drawing.sections(reports.writer())]
    assert names == ["curves", "gradients", "map", "spectra", "kinds", "samples", "text", "memory"]


@pytest.mark.parametrize("kind", KINDS)
def test_each_section_opens_with_a_sentence_and_each_picture_has_an_alt_text_and_is_whole(kind):
    for section in drawing.sections(KINDS[kind]()):
        assert section.says.endswith(".") and section.parts, section.name
        for part in section.parts:
            if isinstance(part, drawing.Figure) and part.picture.startswith("<svg"):
                root = ElementTree.fromstring(part.picture)
                assert len(root.findtext("{http://www.w3.org/2000/svg}desc")) > 20
            elif isinstance(part, drawing.Figure):
                assert re.search(r'aria-label="[^"]{20,}"', part.picture)


@pytest.mark.parametrize("kind", KINDS)
def test_a_page_of_a_report_is_small_and_asks_nobody(kind):
    page, plain = shown(KINDS[kind]())
    assert len(page) < 300_000 and "http" not in page.replace("http://www.w3.org/2000/svg", "").replace(
        "http-equiv", ""
    )
    assert max(map(len, plain.splitlines())) <= 100


def test_texts_of_a_report_are_text_on_the_page():
    page, plain = shown(reports.classifier())
    assert "<b>" not in page and "<i>" not in page and "&lt;b&gt;free" in page
    assert "<b>free</b> tonight" in plain


def test_the_sentences_hold_the_reports_numbers():
    page, plain = shown(reports.classifier())
    for told in ("89 of 100 test rows right", "F1 is highest at", "of the shortest 10.0 %", "spam, 90.0 %",
                 "Of full fine-tuning's updates 80.0 %", "h.1.attn.c_attn, 20.0 %"):  # fmt: skip
        assert told in html.unescape(page), told
        assert told in " ".join(plain.split()), told


@pytest.mark.parametrize("key", ["curves", "gradients", "updates", "full", "evaluation", "memory", "text", "writer"])
@pytest.mark.parametrize("empty", [None, "empty", "gone"])
@pytest.mark.parametrize("kind", ["classifier", "writer"])
def test_what_is_not_known_is_left_out(kind, key, empty):
    report = KINDS[kind]()
    whole = [s.name for s in drawing.sections(report)]
    if empty == "gone":
        del report[key]
    else:
        report[key] = None if empty is None else type(report[key] or {})()
    assert set(s.name for s in drawing.sections(report)) <= set(whole)
    shown(report)


def test_every_part_of_an_evaluation_may_be_missing():
    for key in reports.classifier()["evaluation"]:
        report = reports.classifier()
        del report["evaluation"][key]
        shown(report)
    for key in ("base", "prefix", "leave_one_out", "contributions", "cut"):
        report = copy.deepcopy(reports.classifier())
        del report["text"][key]
        shown(report)


def test_a_run_of_many_layers_stays_under_two_megabytes():
    report = reports.classifier()
    report["updates"] = [
        reports._update(b, m, None, 1.0, 32) for b in range(48) for m in ("attn.c_attn", "attn.c_proj", "mlp.c_fc")
    ]
    report["curves"] = [row | {"step": row["step"] + 60 * i} for i in range(500) for row in report["curves"]]
    report["text"]["tokens"] = report["text"]["tokens"] * 200
    for values in (report["text"]["leave_one_out"], *report["text"]["prefix"].values()):
        values *= 200
    assert len(shown(report)[0].encode()) < 2_000_000


def test_bytes_that_are_no_whole_character_are_shown_as_bytes():
    page, plain = shown(reports.writer())
    assert ">‹f0‹9f<" in page and "‹f0‹9f" in plain


def test_a_share_that_is_not_quite_all_is_not_told_as_all():
    report = reports.classifier()
    report["evaluation"]["errors"][0]["probability"] = 0.99997
    assert "> 99.9 %" in shown(report)[1]
