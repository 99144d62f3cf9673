"""A disk that fails at any one call, or from then on: told in one line, and what was saved before is as it was."""

import errno
import re
from pathlib import Path

import pytest

from tests.trust import calls, trees
from tests.trust.conftest import RESUME, recorded
from tests.trust.server import Run, plan

pytestmark = pytest.mark.promise("P9")


def check_told(run: Run, run_dir: Path) -> None:
    """Success, with the adapter there; or one line that ends with the last checkpoint known to be whole."""
    code, said = run.process.exitcode, run.stderr
    assert code in (0, 5), f"exit code {code}: {said}"
    if code == 5:
        assert said.startswith("error: ") and said.count("\n") == 1, said
        saved = re.search(r"the last whole checkpoint is (\S+step-\d+)", said)
        assert saved, said
        assert trees.is_whole(run.cwd / saved[1]), said
    else:
        assert said == "" and (run_dir / "adapter").is_dir()


def fail_everywhere(server, argv, before: Path | None, window: str, folder: Path, check, **how) -> list[int]:
    """The N-th call of a window fails, for all N. Returns the exit codes."""
    first = folder / "recorded"
    trees.copied(before, first) if before else first.mkdir()
    found, codes, wrong = recorded(server, argv, first, window), [], []
    for number, (name, target) in enumerate(found, 1):
        if how.get("error") == errno.ENOSPC and name != "fsync":
            continue
        cwd = folder / str(number)
        trees.copied(before, cwd) if before else cwd.mkdir()
        run = server.start(argv, cwd, [plan(calls.fail_at, window, number, **how)])
        codes.append(run.finish())
        try:
            assert "Traceback" not in run.stderr, run.stderr
            trees.check_tree(cwd / "run", clean=False)
            check(run, cwd)
        except AssertionError as error:
            wrong.append(f"{window}, call {number}, {name} {target}: {str(error)[-300:]}")
    print(f"{window}, {how}: {len(codes)} calls, exit codes {sorted(set(codes))}")
    assert not wrong, "\n".join(wrong)
    return codes


@pytest.mark.slow
@pytest.mark.parametrize(
    "how",
    [{"error": errno.EIO}, {"error": errno.EIO, "for_ever": True}, {"error": errno.ENOSPC}],
    ids=["once", "for-ever", "full-at-fsync"],
)
def test_whichever_call_of_a_save_fails_it_is_told_and_nothing_saved_before_is_lost(
    server, after_20, ends_whole, tmp_path, how
):
    def check(run: Run, cwd: Path) -> None:
        check_told(run, cwd / "run")
        assert {10, 20} <= set(trees.steps(cwd / "run")) or run.process.exitcode == 0
        if run.process.exitcode == 5 and not how.get("for_ever"):
            status = trees.strict((cwd / "run" / "status.json").read_bytes())
            assert (status["status"], status["exit_code"]) == ("failed", 5) and status["message"] in run.stderr
        ends_whole(cwd)

    codes = fail_everywhere(server, RESUME, after_20, "save 1", tmp_path, check, **how)
    assert 5 in codes, "a failed save is an error"


@pytest.mark.slow
def test_whichever_call_fails_while_the_adapter_appears_it_is_told(server, undisturbed, ends_whole, tmp_path):
    def check(run: Run, cwd: Path) -> None:
        check_told(run, cwd / "run")
        trees.check_product(cwd / "run" / "adapter")

    codes = fail_everywhere(server, RESUME, undisturbed.parent, "publish", tmp_path, check, error=errno.EIO)
    assert 5 in codes


@pytest.mark.slow
def test_whichever_call_fails_at_the_start_it_is_told_before_a_step_is_made(server, flags, tmp_path):
    def check(run: Run, cwd: Path) -> None:
        assert run.process.exitcode in (0, 2, 5), f"exit code {run.process.exitcode}: {run.stderr}"
        if run.process.exitcode:
            assert run.stderr.startswith("error: ") and run.stderr.count("\n") == 1, run.stderr
            assert "step 1/24" not in run.stdout

    codes = fail_everywhere(server, flags, None, "start", tmp_path, check, error=errno.EIO)
    assert codes.count(0) < len(codes) / 2


@pytest.mark.slow
def test_each_file_is_on_the_disk_before_it_gets_its_name_and_only_then_are_older_ones_deleted(
    server, after_20, tmp_path
):
    found = recorded(server, RESUME, trees.copied(after_20, tmp_path / "run"), "save 1")
    published = next(n for n, (_, target) in enumerate(found) if re.search(r"\.tmp-step-000021", target))
    hidden = found[published][1].split("/")[2]

    def at(pattern: str, names: tuple[str, ...]) -> list[int]:
        return [n for n, (name, target) in enumerate(found) if name in names and re.fullmatch(pattern, target)]

    renamed = at(rf"run/checkpoints/{re.escape(hidden)}", ("rename",))
    assert len(renamed) == 1
    for file in ("trainable.safetensors", "optimizer.safetensors", "rng.safetensors", "state.json", "MANIFEST.json"):
        path = rf"run/checkpoints/{re.escape(hidden)}/{re.escape(file)}"
        written, synced = at(path, ("write", "save_file")), at(path, ("fsync",))
        assert written and max(written) < min(synced) and max(synced) < renamed[0], file
    assert at(rf"run/checkpoints/{re.escape(hidden)}", ("fsync",))[-1] < renamed[0], "the directory's entries"
    assert at(r"run/metrics\.jsonl", ("fsync",))[0] < renamed[0], "the log of the steps that the checkpoint counts"
    durable = min(n for n in at("run/checkpoints", ("fsync",)) if n > renamed[0])
    deleted = at(r"run/checkpoints/.*step-000018.*", ("rename", "unlink", "rmdir"))
    assert deleted and min(deleted) > durable


@pytest.mark.long
@pytest.mark.parametrize("save", [1, 2, 3, 4])
@pytest.mark.parametrize("for_ever", [False, True])
def test_four_saves_fail_at_every_call(server, flags, ends_whole, tmp_path, save, for_ever):
    def check(run: Run, cwd: Path) -> None:
        if save > 1:
            check_told(run, cwd / "run")
        assert run.process.exitcode in (0, 5)
        ends_whole(cwd)

    window = f"save {save}"
    assert 5 in fail_everywhere(server, flags, None, window, tmp_path, check, error=errno.EIO, for_ever=for_ever)
