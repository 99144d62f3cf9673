"""A good adapter and a good base, to be spoilt, and the doors that must refuse them without leaving a trace."""

import shutil
from pathlib import Path

import pytest

import infer
import train
from training.errors import run_door


@pytest.fixture(scope="session")
def trained(tiny_base, messages_file, tmp_path_factory) -> Path:
    """The adapter of a small classifier, whose run ended well."""
    run = tmp_path_factory.mktemp("trained") / "run"
    settings = {"model": str(tiny_base), "dataset": str(messages_file), "device": "cpu", "precision": "fp32"}
    train.main(train.TrainConfig(**settings, learning_rate=1e-2, max_steps=3, lora_r=4, output_dir=str(run)))
    return run / "adapter"


@pytest.fixture
def adapter(trained, tmp_path) -> Path:
    """A copy to spoil."""
    return Path(shutil.copytree(trained, tmp_path / "adapter"))


@pytest.fixture
def base(tiny_base, tmp_path) -> Path:
    """A copy to spoil."""
    return Path(shutil.copytree(tiny_base, tmp_path / "base"))


@pytest.fixture
def infers(tmp_path, capsys):
    """infers(adapter, ...): exit code of infer.py, what it printed, what it said on stderr."""

    def run(adapter, **settings):
        capsys.readouterr()
        config = infer.InferConfig(**({"adapter": str(adapter), "device": "cpu"} | settings))
        return run_door(lambda: infer.main(config)), *capsys.readouterr()

    return run


@pytest.fixture
def refused(tmp_path, capsys):
    """refused(main, code): the one line with which a door stops, and nothing below tmp_path has changed.

    train.py has said on stdout by then what it will learn from; the others say nothing.
    """

    def run(main, code=4, silent=True):
        before = tree(tmp_path)
        capsys.readouterr()
        found, told = run_door(main), capsys.readouterr()
        assert found == code and not (silent and told.out), told.err
        assert told.err.startswith("error: ") and told.err.count("\n") == 1 and "Traceback" not in told.err
        assert tree(tmp_path) == before
        return told.err

    return run


@pytest.fixture
def asks(tmp_path):
    """asks(adapter, ...): what infer.py does when it is asked for the label of a text."""

    def main(adapter, **settings):
        asked = {"texts": ("free prize",), "output": str(tmp_path / "out.jsonl"), "device": "cpu"}
        return lambda: infer.main(infer.InferConfig(**({"adapter": str(adapter)} | asked | settings)))

    return main


@pytest.fixture
def trains(messages_file, tmp_path):
    """trains(base): what train.py does on it."""

    def main(base, **settings):
        given = {"model": str(base), "dataset": str(messages_file), "device": "cpu", "precision": "fp32"}
        given |= {"max_steps": 1, "output_dir": str(tmp_path / "run")}
        return lambda: train.main(train.TrainConfig(**(given | settings)))

    return main


def tree(directory: Path) -> dict[str, object]:
    """Every file below a directory and what is in it; of a large one how large, of a link or pipe that it is there."""

    def held(path: Path) -> object:
        if not path.is_file() or path.is_symlink():
            return None
        size = path.stat().st_size
        return path.read_bytes() if size < 2**20 else size

    return {str(path): held(path) for path in sorted(directory.rglob("*"))}
