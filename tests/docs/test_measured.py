"""What the pages say of a GPU is what docs/measured/h200.json holds."""

import json
import re

import pytest

from scripts import gpu_tables
from scripts.page_figures import unprinted
from scripts.page_lines import unmatched_lines
from scripts.pages import ROOT, Page
from training.errors import UsageError

REPORT = json.loads(gpu_tables.H200.read_text(encoding="utf-8"))
SECTION = Page.read(ROOT / "docs" / "performance.md")


def shown():
    return next(block.output for block in SECTION.blocks if "gpu_tables.py" in block.text)


def test_the_section_on_the_gpu_shows_the_tables_of_its_report():
    printed = gpu_tables.tables(REPORT)
    assert unmatched_lines(shown(), printed) == []
    assert len(shown().text.splitlines()) == len(printed.splitlines())


@pytest.mark.parametrize("name", ["README.md", "docs/equivalence.md"])
def test_other_pages_quote_what_that_section_shows(page, name):
    paragraphs = re.split(r"\n\n", (ROOT / name).read_text(encoding="utf-8"))
    quoting = [part for part in paragraphs if re.search(r"one-gpu-once|on one GPU", part, re.IGNORECASE)]
    assert quoting
    text = "\n\n".join(re.sub(r"<!--.*?-->", "", part) for part in quoting)
    table = f"\n\n<!-- renew: python scripts/gpu_tables.py -->\n```text\n{shown().text}```\n"
    assert unprinted(page(text + table)) == []


def test_what_memory_py_predicts_is_within_a_thirtieth_of_what_was_measured():
    lanes = REPORT["stages"]["5 memory"]["commands"]["memory"]["measured"]["lanes"]
    for form in ("plain", "fast"):
        for name in gpu_tables.FULL:
            assert gpu_tables.predicted(form, name) == pytest.approx(lanes[form][f"peak_bytes, {name}"], rel=1 / 30)


def test_the_report_names_no_folder_of_the_machine_it_was_made_on():
    assert not re.search(r'"/|/tmp/', gpu_tables.H200.read_text(encoding="utf-8"))


def test_tables_of_a_report_that_lacks_a_stage_are_refused_with_its_name(tmp_path):
    path = tmp_path / "summary.json"
    path.write_text(json.dumps({"stages": {k: v for k, v in REPORT["stages"].items() if k != "4 long rows"}}))
    with pytest.raises(UsageError, match="summary.json: has no 'long'"):
        gpu_tables.main(gpu_tables.TablesConfig((str(path),)))
