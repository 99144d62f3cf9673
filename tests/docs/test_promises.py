"""The page of promises and the marks on the tests are one set: no promise without a test, no mark without a promise."""

import ast
import re
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ROW = re.compile(r"^\| (P\d+) \|.*\| ([^|]*) \|$", re.MULTILINE)


def marked() -> dict[str, set[str]]:
    """The files whose tests carry the mark of each promise."""
    found = defaultdict(set)
    for path in (ROOT / "tests").rglob("test_*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "pytest.mark.promise":
                found[ast.literal_eval(node.args[0])].add(str(path.relative_to(ROOT / "tests")))
    return dict(found)


def promised() -> dict[str, set[str]]:
    """The files, below tests/, that the page names for each promise."""
    rows = ROW.findall((ROOT / "docs" / "promises.md").read_text(encoding="utf-8"))
    assert [name for name, _ in rows] == [f"P{n}" for n in range(1, 17)], "each once, in order"
    return {name: set(re.findall(r"`([^`]+)`", cell)) for name, cell in rows}


def test_the_page_names_for_each_promise_the_tests_that_carry_its_mark():
    page, tests = promised(), marked()
    differ = {name: sorted(page.get(name, set()) ^ tests.get(name, set())) for name in {*page, *tests}}
    assert not any(differ.values()), {name: files for name, files in differ.items() if files}
