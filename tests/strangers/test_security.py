"""No file of a stranger runs code, reaches for the network or a file elsewhere, or costs more than a second."""

import json
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.strangers.cost import bounded
from tests.strangers.spoiling import ADAPTER, CONFIG, A, content, entry, fields, header, write_fields

ROOT = Path(__file__).resolve().parent.parent.parent
MODULES = ("json", "sitecustomize", "usercustomize", "torch", "gpt2", "lora", "data", "tokenizers")


def payload(canary: Path) -> bytes:
    """A pickle that makes the file `canary` where it is loaded, as pickles can."""
    return f"cbuiltins\nopen\n(V{canary}\nVw\ntR.".encode()


def code(canary: Path) -> str:
    return f"open({str(canary)!r}, 'w').close()\n"


def test_the_canary_sings_where_a_pickle_is_loaded(tmp_path):
    """Or the tests below would show nothing."""
    pickle.loads(payload(tmp_path / "canary")).close()
    assert (tmp_path / "canary").exists()
    exec(code(tmp_path / "second"))
    assert (tmp_path / "second").exists()


def hostile(work: Path, trained: Path, tiny_base: Path, canary: Path) -> None:
    """One directory below `work`/hostile for each way in which a file has run code somewhere."""

    def copy(name, of=trained):
        return Path(shutil.copytree(of, work / "hostile" / name))

    for name in ("adapter_model.bin", "adapter_model.pt", "pytorch_model.bin", "optimizer.pt", "training_args.bin"):
        directory = copy(f"adapter with {name}")
        (directory / ADAPTER).rename(directory / name)
        (directory / name).write_bytes(payload(canary))
    (copy("pickle as weights") / ADAPTER).write_bytes(payload(canary))
    write_fields(copy("pickle as settings") / CONFIG, r=4)
    (work / "hostile" / "pickle as settings" / CONFIG).write_bytes(payload(canary))
    directory = copy("names of code")
    evil = {"auto_mapping": {"base_model_class": "Evil", "parent_library": "evil"}, "megatron_core": "evil"}
    evil |= {"tokenizer_kwargs": {"trust_remote_code": True}, "custom": "evil.py"}
    write_fields(directory / CONFIG, **evil)
    directory = copy("code beside")
    for module in (*MODULES, "modeling", "configuration_gpt2", "__init__", "evil"):
        (directory / f"{module}.py").write_text(code(canary))
    directory = copy("rows from a script")
    (directory / "rows").mkdir()
    (directory / "rows" / "rows.py").write_text(code(canary))
    record = json.loads((directory / "task.json").read_text())
    write_fields(directory / "task.json", dataset=record["dataset"] | {"name": str(directory / "rows")})
    directory = copy("base with code", tiny_base)
    (directory / "model.safetensors").rename(directory / "pytorch_model.bin")
    (directory / "pytorch_model.bin").write_bytes(payload(canary))
    remote = {"auto_map": {"AutoModelForCausalLM": "modeling.Evil"}, "trust_remote_code": True}
    write_fields(directory / "config.json", **remote)
    (directory / "modeling.py").write_text(code(canary))
    (directory / "tokenizer.json").write_text(json.dumps({"pre_tokenizer": {"type": "Split", "pattern": "(a+)+$"}}))
    for name, file, pattern in (("rank", CONFIG, "rank_pattern"), ("layers", CONFIG, "layers_pattern")):
        write_fields(copy(f"pattern for {name}") / file, **{pattern: "(.+)+!"})
    write_fields(copy("pattern for targets") / CONFIG, target_modules="(.+)+!")
    directory = copy("base elsewhere")
    write_fields(directory / "task.json", base=record["base"] | {"name": "evil/x"})
    write_fields(directory / CONFIG, base_model_name_or_path="https://evil.example/x")


@pytest.mark.slow
@pytest.mark.promise("P10")
def test_no_file_runs_code_starts_a_program_or_reaches_out(trained, tiny_base, tmp_path):
    work, canary = tmp_path / "work", tmp_path / "canary"
    (work / "hostile").mkdir(parents=True)
    (work / "out").mkdir()
    shutil.copytree(trained, work / "good")
    hostile(work, trained, tiny_base, canary)
    here = tmp_path / "here"  # a directory of data, with modules in it that Python imports where it looks for them
    here.mkdir()
    for module in MODULES:
        (here / f"{module}.py").write_text(code(canary))
    command = [sys.executable, str(ROOT / "tests" / "strangers" / "watched.py"), str(work)]
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | {"PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(command, cwd=here, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["seen"] == [] and told["imported"] == [] and not canary.exists()
    assert "Traceback" not in done.stderr and len(told["codes"]) > 12
    loaded = {"names of code", "code beside", "rows from a script"}
    for name, (infers, samples, writes, trains) in told["codes"].items():
        assert (writes, trains) == (4, 4), name
        assert infers == (0 if name in loaded - {"names of code"} else 4), name
        assert samples == (3 if name == "rows from a script" else infers), name
    assert str(here) not in told["path"] and "" not in told["path"]


@pytest.mark.slow
@pytest.mark.promise("P10")
def test_a_door_imports_nothing_from_the_directory_it_is_started_in(tmp_path):
    """As python starts it: the directory of the script is where modules are looked for, not that of the data."""
    for module in MODULES:
        (tmp_path / f"{module}.py").write_text(code(tmp_path / "canary"))
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    command = [sys.executable, str(ROOT / "infer.py"), "--help"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and "usage: " in done.stdout and not (tmp_path / "canary").exists()


def holes(file, size):
    """A file that is as long as a disk and takes no room on it."""

    def spoil(directory):
        with open(directory / file, "r+b") as opened:
            opened.truncate(size)

    return spoil


def million_tensors(directory):
    line = '"base_model.model.%06d":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}'
    header(ADAPTER, lambda h: "{" + ",".join(line % i for i in range(10**6)) + "}")(directory)


DEAR = {
    "r of 10**9": fields(CONFIG, r=10**9),
    "a shape of 2**40": entry(ADAPTER, A, shape=[2**40]),
    "a shape of 10**9 nothings": entry(ADAPTER, A, shape=[10**9, 0]),
    "a header of 100 MB": header(ADAPTER, lambda h: " " * 100_000_000),
    "10**6 tensors": million_tensors,
    "a file of 2**40 bytes": holes(ADAPTER, 2**40),
    "settings of 2**40 bytes": holes(CONFIG, 2**40),
    "settings of 50 MB": content(CONFIG, b"[" * 50_000_000),
    "a task of 50 MB": content("task.json", b"[" * 50_000_000),
    "a task of many small things": content("task.json", b'{"seed": [' + b"{}," * 1_398_000 + b"0]}"),
    "a pattern that takes for ever": fields(CONFIG, target_modules="([a-z0-9._]+)+!"),
    "patterns that take for ever": fields(CONFIG, rank_pattern={"([a-z0-9._]+)+!": 4}),
    "60,000 targets": fields(CONFIG, target_modules=[f"x{i}" for i in range(60_000)]),
    "20,001 labels": fields("task.json", label_names=[str(i) for i in range(20_001)]),
}
DEAR_BASES = {
    "10**9 blocks": fields("config.json", n_layer=10**9),
    "10**9 wide": fields("config.json", n_embd=10**9),
    "10**9 labels": fields("config.json", id2label=None, num_labels=10**9),
    "a config of 50 MB": content("config.json", b"[" * 50_000_000),
    "a vocabulary of 50 MB": content("vocab.json", b"[" * 50_000_000),
    "a vocabulary of many small things": content("vocab.json", b'{"a": [' + b"{}," * 1_398_000 + b"0]}"),
    "a vocabulary of 2**40 bytes": holes("vocab.json", 2**40),
    "merges of 50 MB": content("merges.txt", b"a b\n" * 12_500_000),
    "a million merges": content("merges.txt", b"a b\n" * 1_048_000),
    "weights with a hole": holes("model.safetensors", 2**40),
    "a header of 100 MB": header("model.safetensors", lambda h: " " * 100_000_000),
}


@pytest.mark.promise("P11")
@pytest.mark.parametrize("name", DEAR)
def test_a_dear_adapter_is_refused_in_a_second_and_200_mb(adapter, asks, refused, name):
    asks(adapter)()
    (adapter.parent / "out.jsonl").unlink()
    DEAR[name](adapter)
    main = asks(adapter)

    def measured():
        with bounded(seconds=1, megabytes=200):
            main()

    refused(measured)


@pytest.mark.promise("P11")
@pytest.mark.parametrize("name", DEAR_BASES)
def test_a_dear_base_is_refused_in_a_second_and_200_mb(adapter, base, asks, refused, name):
    asks(adapter)()
    (adapter.parent / "out.jsonl").unlink()
    DEAR_BASES[name](base)
    main = asks(adapter, model=str(base))

    def measured():
        with bounded(seconds=1, megabytes=200):
            main()

    refused(measured)
