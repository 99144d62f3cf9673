"""Can the tests of writing fail? One mistake at a time is planted in the code, and the test named beside it is run."""

import contextlib
import io
from pathlib import Path

import pytest
import torch

from tests.faults.planting import plant
from tests.faults.writing_faults import WRITING_FAULTS

ROOT = Path(__file__).resolve().parents[2]


def run(tests: list[str], folder: Path, *more: str) -> tuple[int, str]:
    """pytest's exit code for these tests, run here and now with `more` flags, and what it prints."""
    flags = [*more, "-q", "-x", "-p", "no:cacheprovider", f"--rootdir={ROOT}", f"-c{ROOT / 'pyproject.toml'}"]
    flags += [f"--basetemp={folder}", "--capture=sys", "-W", "ignore::pytest.PytestAssertRewriteWarning"]
    threads = torch.get_num_threads()
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(out):
        code = pytest.main([*flags, *(str(ROOT / test) for test in tests)])
    torch.set_num_threads(threads)
    return int(code), out.getvalue()


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Where the tests write. On sound code they pass."""
    path = tmp_path_factory.mktemp("tests")
    code, printed = run(sorted({seen.test for seen in WRITING_FAULTS}), path / "sound")
    assert code == pytest.ExitCode.OK, printed
    return path


@pytest.mark.parametrize("seen", WRITING_FAULTS, ids=[seen.fault.name for seen in WRITING_FAULTS])
def test_a_planted_mistake_is_seen_by_its_test(seen, folder, monkeypatch):
    plant(seen.fault, monkeypatch)
    code, printed = run([seen.test], folder / "planted")
    assert code == pytest.ExitCode.TESTS_FAILED, f"{printed}\nnot seen; people make this mistake: {seen.fault.why}"


def test_no_mistake_is_listed_twice_and_there_are_more_than_a_dozen():
    names = [seen.fault.name for seen in WRITING_FAULTS]
    assert len(set(names)) == len(names) > 12
