"""Standard output that ends early, has no room, is not there or knows few characters; and too little memory."""

import contextlib
import io
import json
import resource

import pytest
import torch

import data
import train
from tasks import classifier
from tests.fresh import last_line
from tests.strangers.doors import MAINS, refusal
from training.distributed import _share_cores, lost_connection
from training.errors import run_door

pytestmark = pytest.mark.promise("P16")

# torch is imported once; each scenario is a fork that ends as a door's process does, by sys.exit and the last flush.
FORKS = """
import json, os, sys, tempfile, torch, train
from tests.strangers.doors import MAINS
from training.errors import run_door
torch.set_num_threads(1)

def closed_pipe():
    reader, writer = os.pipe()
    os.close(reader)
    return writer

def ended(door, argv, number, where):
    said = tempfile.TemporaryFile()
    pid = os.fork()
    if pid == 0:
        os.dup2(said.fileno(), 2)
        if where == "closed":
            os.close(number)
            setattr(sys, {1: "stdout", 2: "stderr"}[number], None)
        else:
            os.dup2(closed_pipe() if where == "gone" else os.open("/dev/full", os.O_WRONLY), number)
        sys.exit(run_door(lambda: MAINS[door](argv), lasting=door == "train.py"))
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    said.seek(0)
    return code, said.read().decode()

found = [ended(*entry) for entry in json.load(open(sys.argv[1]))]
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def run(tiny_base, messages_file, tmp_path_factory):
    directory = tmp_path_factory.mktemp("runs") / "run"
    settings = {"model": str(tiny_base), "dataset": str(messages_file), "device": "cpu", "precision": "fp32"}
    train.main(train.TrainConfig(**settings, max_steps=2, output_dir=str(directory)))
    return directory


@pytest.fixture(scope="module")
def ended(run, tiny_base, messages_file, tmp_path_factory):
    """(door, descriptor, what became of it) -> (exit code, stderr); the trainings' runs are beside it."""
    directory = tmp_path_factory.mktemp("ended")
    entries = []
    for door in ("train.py", "infer.py"):
        for number, where in ((1, "gone"), (1, "full"), (1, "closed"), (2, "gone")):
            if door == "train.py":
                argv = [
                    "--model",
                    tiny_base,
                    "--dataset",
                    messages_file,
                    "--output_dir",
                    directory / f"{number}-{where}",
                ]
                argv += ["--precision", "fp32", "--max_steps", 6, "--logging_steps", 1, "--device", "cpu"]
            else:
                argv = ["--adapter", run, "--input", messages_file, "--device", "cpu"]
            entries.append((door, [*map(str, argv)], number, where))
    (directory / "entries.json").write_text(json.dumps(entries))
    found = json.loads(last_line(FORKS, directory / "entries.json"))
    return directory, {(door, number, where): tuple(end) for (door, _, number, where), end in zip(entries, found)}


@pytest.mark.parametrize(("number", "where"), [(1, "gone"), (1, "full"), (1, "closed"), (2, "gone")])
def test_a_training_goes_on_to_its_end_where_nobody_reads_what_it_says(ended, number, where):
    directory, ends = ended
    assert ends["train.py", number, where] == (0, "")
    run = directory / f"{number}-{where}"
    assert (run / "adapter" / "adapter_model.safetensors").is_file() and (run / "results.json").is_file()
    assert len((run / "metrics.jsonl").read_text().splitlines()) >= 6


def test_answers_that_nobody_reads_end_without_a_word_and_a_full_disk_behind_them_is_told(ended):
    _, ends = ended
    assert ends["infer.py", 1, "gone"] == (0, "")
    assert ends["infer.py", 1, "full"] == (5, "error: standard output: No space left on device\n")
    assert ends["infer.py", 1, "closed"] == (5, "error: standard output: not writable\n")


def test_a_lost_stderr_changes_nothing_about_answers(ended):
    _, ends = ended
    assert ends["infer.py", 2, "gone"] == (0, "")


def on_ascii(*argv) -> str:
    """What infer.py prints where the terminal knows ASCII alone."""
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    with contextlib.redirect_stdout(stream):
        assert run_door(lambda: MAINS["infer.py"]([*map(str, argv)])) == 0
    stream.flush()
    return stream.buffer.getvalue().decode("ascii")


def test_an_ascii_output_gets_whole_json_and_tables_with_replacements(run, tmp_path):
    text = "caf\u00e9 \U0001f600"
    (tmp_path / "in.txt").write_text(f"{text}\n", encoding="utf-8")
    adapter = ["--adapter", run, "--device", "cpu"]
    assert json.loads(on_ascii(*adapter, "--input", tmp_path / "in.txt"))["text"] == text
    assert on_ascii(*adapter, text).endswith("caf? ?\n")


def test_what_steers_a_terminal_is_written_out_in_a_message(tmp_path):
    file = tmp_path / "in.tsv"
    file.write_text("ham\tsee\nspam\tyou\n\x1b[2J\x9b31m\u202eeggs\tx\n")
    argv = ["--model", "assets/gpt2-tiny", "--dataset", file, "--output_dir", tmp_path / "run", "--also_test", file]
    assert r"\x1b[2J\x9b31m\u202eeggs" in refusal("train.py", argv, 3)


# Memory


@pytest.fixture
def little_memory():
    """8 GiB of addresses, so that what asks for hundreds is refused on any machine."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (8 << 30, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


@pytest.mark.parametrize("rank", [10**9, 2**31 - 1])
def test_a_rank_that_no_memory_holds_has_exit_code_7_and_names_the_flag(
    rank, tiny_base, messages_file, tmp_path, little_memory
):
    argv = ["--model", tiny_base, "--dataset", messages_file, "--output_dir", tmp_path / "run", "--lora_r", rank]
    said = refusal("train.py", [*argv, "--device", "cpu", "--precision", "fp32"], 7)
    assert "error: out of memory (" in said and "bytes asked for)" in said and "--lora_r" in said
    assert "--per_device_train_batch_size, --max_length" in said and "--gradient_checkpointing" in said


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(), torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."),
        RuntimeError("Storage size calculation overflowed with sizes=[9]"), OSError(12, "Cannot allocate memory"),
        RuntimeError("numel: integer multiplication overflow"), RuntimeError("std::bad_alloc"),
    ],
)  # fmt: skip
def test_each_way_in_which_memory_is_said_to_be_short_has_exit_code_7(run, capsys, monkeypatch, error):
    def short(*_):
        raise error

    monkeypatch.setattr(classifier, "predict", short)
    assert "--batch_size" in refusal("infer.py", ["--adapter", run, "--device", "cpu", "hi"], 7)


def test_another_runtime_error_is_a_bug_and_keeps_its_traceback():
    def bug():
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="mat1"):
        run_door(bug)


# torchrun


def test_a_file_called_igloo_is_no_lost_connection():
    gloo = "[/pytorch/third_party/gloo/gloo/transport/tcp/pair.cc:547] Connection closed by peer [127.0.0.1]:1"
    assert lost_connection(RuntimeError(gloo)) and lost_connection(torch.distributed.DistError("x"))
    assert not lost_connection(data.DataError("igloo.tsv: no such file"))
    assert not lost_connection(RuntimeError("igloo.tsv: no such file"))


@pytest.mark.parametrize(("given", "threads"), [(b"A=1\0OMP_NUM_THREADS=1\0", []), (b"A=1\0XOMP_NUM_THREADS=1\0", [1])])
def test_a_number_of_threads_set_on_purpose_is_kept(monkeypatch, tmp_path, given, threads):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "99999")
    seen = []
    monkeypatch.setattr(torch, "set_num_threads", seen.append)
    monkeypatch.setattr("pathlib.Path.read_bytes", lambda path: given if path.name == "environ" else b"")
    _share_cores()
    assert seen == threads
