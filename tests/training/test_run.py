"""A run's directory: its name, that no run writes over another, and a log that stays in order after a resume."""

from dataclasses import dataclass
from pathlib import Path

import pytest

import training.run
from training.errors import UsageError
from training.run import MARKER, open_run, write_config
from training.settings import option, read_toml

OWN_FILES = ("config.toml", "metrics.jsonl", "results.json")
OWN_DIRECTORIES = ("adapter", "model", "checkpoints")


@dataclass(frozen=True)
class Config:
    precision: str = option("auto", "of products", group="machine")
    output_dir: str | None = option(None, "where to", group="files")
    epochs: int = option(3, "passes", group="training")


def start(output_dir: Path | str | None, default: Path | None = None, *, resume=False, overwrite=False) -> Path:
    """Open a run and leave a configuration in it, as every run does."""
    where = None if output_dir is None else str(output_dir)
    with open_run(where, default or Path("unused"), resume=resume, overwrite=overwrite) as run:
        (run.path / "config.toml").write_text("epochs = 3\n")
        return run.path


def test_without_a_name_a_run_gets_the_next_free_one(tmp_path):
    default = tmp_path / "runs" / "tiny"
    assert [start(None, default).name for _ in range(3)] == ["tiny", "tiny-2", "tiny-3"]


def test_a_file_or_foreign_directory_in_the_way_is_left_alone(tmp_path):
    (tmp_path / "tiny").write_text("mine")
    (tmp_path / "tiny-2").mkdir()
    (tmp_path / "tiny-2" / "notes.txt").write_text("mine")
    assert start(None, tmp_path / "tiny").name == "tiny-3"
    assert (tmp_path / "tiny").read_text() == "mine"


def test_two_runs_started_at_once_get_two_names(tmp_path, monkeypatch):
    default, locked, second = tmp_path / "tiny", training.run.locked, []

    def late(path):
        """The second run starts when the first has its name and not yet its lock."""
        if not second:
            second.append(None)
            second[0] = start(None, default)
        return locked(path)

    monkeypatch.setattr(training.run, "locked", late)
    first = start(None, default)
    assert first.name != second[0].name


def test_a_directory_with_a_run_is_refused_and_the_ways_out_are_told(tmp_path):
    start(tmp_path / "mine")
    with pytest.raises(UsageError, match="mine: holds a run.*--resume_from_checkpoint .*mine or --overwrite"):
        start(tmp_path / "mine")


@pytest.mark.parametrize("name", OWN_FILES + OWN_DIRECTORIES)
@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.promise("P15")
def test_where_no_run_has_left_its_marker_nothing_is_deleted(tmp_path, name, overwrite):
    (tmp_path / name).mkdir() if name in OWN_DIRECTORIES else (tmp_path / name).write_text("mine")
    with pytest.raises(UsageError, match=f"holds {name}, and no run has marked it as its own .*another --output_dir"):
        start(tmp_path, overwrite=overwrite)
    assert [p.name for p in tmp_path.iterdir() if p.name != ".lock"] == [name]


@pytest.mark.parametrize("name", OWN_FILES + OWN_DIRECTORIES)
def test_any_piece_of_a_run_is_enough_to_be_refused(tmp_path, name):
    start(tmp_path)
    for left in ("config.toml", "status.json"):
        (tmp_path / left).unlink()
    (tmp_path / name).mkdir() if name in OWN_DIRECTORIES else (tmp_path / name).write_text("old")
    with pytest.raises(UsageError, match="holds a run"):
        start(tmp_path)
    assert (tmp_path / name).exists()


@pytest.mark.promise("P15")
def test_overwriting_refuses_to_delete_what_the_new_run_reads(tmp_path):
    start(tmp_path / "run")
    (tmp_path / "run" / "model").mkdir()
    with (
        pytest.raises(UsageError, match="would delete .*run/model, from which this run reads"),
        open_run(str(tmp_path / "run"), tmp_path, overwrite=True, reads=[None, str(tmp_path / "run" / "model")]),
    ):
        pass
    assert (tmp_path / "run" / "config.toml").exists() and (tmp_path / "run" / "model").exists()


def test_a_linked_directory_of_a_run_is_unlinked_and_what_it_leads_to_stays(tmp_path):
    start(tmp_path / "run")
    (tmp_path / "far").mkdir()
    (tmp_path / "far" / "file").write_text("mine")
    (tmp_path / "run" / "checkpoints").symlink_to(tmp_path / "far")
    start(tmp_path / "run", overwrite=True)
    assert not (tmp_path / "run" / "checkpoints").exists() and (tmp_path / "far" / "file").read_text() == "mine"


def test_runs_that_is_a_link_to_nowhere_is_told(tmp_path):
    (tmp_path / "runs").symlink_to(tmp_path / "nowhere")
    with pytest.raises(UsageError, match="runs: is in the way of the runs"):
        start(None, tmp_path / "runs" / "tiny")


def test_a_directory_with_other_things_in_it_is_no_run(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    assert start(tmp_path) == tmp_path
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_overwriting_deletes_the_runs_own_files_and_no_others(tmp_path):
    start(tmp_path)
    for name in (*OWN_FILES, "report.html"):
        (tmp_path / name).write_text("old")
    for name in OWN_DIRECTORIES:
        (tmp_path / name / "deep").mkdir(parents=True)
        (tmp_path / name / "deep" / "file").write_text("old")
    (tmp_path / "notes").mkdir()
    for mine in ("notes/mine.txt", "config.toml.bak", "adapter-2"):
        (tmp_path / mine).write_text("mine")
    with open_run(str(tmp_path), tmp_path, resume=False, overwrite=True) as run:
        left = {str(p.relative_to(run.path)) for p in run.path.rglob("*")} - {".lock", MARKER, "status.json"}
    assert left == {"notes", "notes/mine.txt", "config.toml.bak", "adapter-2"}


def test_resuming_finds_everything_as_it_was(tmp_path):
    start(tmp_path)
    (tmp_path / "metrics.jsonl").write_text("{}\n")
    with open_run(str(tmp_path), tmp_path, resume=True, overwrite=False):
        assert (tmp_path / "config.toml").read_text() == "epochs = 3\n"
        assert (tmp_path / "metrics.jsonl").read_text() == "{}\n"


@pytest.mark.parametrize("how", [{"resume": True}, {"overwrite": True}])
def test_a_run_that_is_being_written_is_neither_resumed_nor_overwritten(tmp_path, how):
    with open_run(str(tmp_path), tmp_path, resume=False, overwrite=False):
        (tmp_path / "config.toml").write_text("epochs = 9\n")
        with pytest.raises(UsageError, match=r"another run \(process \d+ on .+\) is writing there"):
            start(tmp_path, **how)
        assert (tmp_path / "config.toml").read_text() == "epochs = 9\n"


def test_an_output_directory_that_is_or_lies_in_a_file_is_told(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UsageError, match="--output_dir .*file: is a file"):
        start(tmp_path / "file")
    with pytest.raises(UsageError, match="--output_dir .*cannot be created"):
        start(tmp_path / "file" / "deeper")


def test_the_saved_configuration_says_what_was_used(tmp_path):
    write_config(tmp_path, Config(epochs=5), precision="bf16")
    assert read_toml(Config, tmp_path / "config.toml") == {"precision": "bf16", "epochs": 5}
