"""scripts/gpu_report.py: a stage that fails, hangs or is killed costs its own numbers and nobody else's."""

import importlib.util
import json
import lzma
import os
import tarfile
import time
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def scripts(monkeypatch):
    """scripts.gpu_report and its neighbours, importable as the door imports them."""
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    return importlib.import_module


def shell(code: str) -> list[str]:
    """A command that starts in no time; "$out" is the file for its numbers."""
    return ["sh", "-c", f'out="$1"\n{code}', "sh", "{json}"]


NOTE = """echo '{"found": 1}' > "$out"\n"""
HANG = "sleep 600"


def run(scripts, tmp_path, stages, seconds=30.0):
    module = scripts("scripts.stages")
    out, work = tmp_path / "out", tmp_path / "work"
    out.mkdir()
    work.mkdir()
    record = module.Record(out, work, say=lambda line: None)
    began = time.perf_counter()
    module.run_stages([module.Stage(*stage) for stage in stages(module.Command)], record, began + seconds, ROOT)
    return json.loads((out / "summary.json").read_text())["stages"], time.perf_counter() - began


def test_a_stage_that_fails_or_hangs_or_is_killed_leaves_its_last_lines_and_the_next_goes_on(scripts, tmp_path):
    def stages(command):
        return [
            ("hangs", 3, [command("hangs", shell(f"{NOTE}echo so far; {HANG}"))]),
            ("good", 3, [command("good", shell(NOTE + "echo well done"))]),
            ("broken", 3, [command("broken", shell("echo before; echo what went wrong >&2; exit 1"))]),
            ("killed", 3, [command("killed", shell(NOTE + "kill -9 $$"))]),
            ("absent", 3, [command("absent", ["never"], missing="no tokens there")]),
            ("last", 5, [command("last", shell(NOTE))]),
        ]

    stages, _ = run(scripts, tmp_path, stages, seconds=20)
    did = {name: stage["commands"][name] for name, stage in stages.items()}
    assert did["good"]["status"] == "ok" and did["good"]["measured"] == {"found": 1}
    assert did["good"]["last_lines"] == ["well done"]
    assert did["broken"]["status"] == "failed (exit code 1)" and "measured" not in did["broken"]
    assert did["broken"]["last_lines"] == ["before", "what went wrong"]
    assert did["killed"]["status"] == "failed (exit code -9)" and did["killed"]["measured"] == {"found": 1}
    assert did["absent"] == {"status": "skipped", "seconds": 0.0, "last_lines": ["no tokens there"]}
    assert did["hangs"]["status"].startswith("stopped after") and did["hangs"]["measured"] == {"found": 1}
    assert did["hangs"]["last_lines"] == ["so far"]
    assert did["last"]["status"] == "ok"
    log = (tmp_path / "out" / "log.txt").read_text()
    assert "well done" in log and "what went wrong" in log


def test_a_stage_that_overruns_takes_nothing_from_those_after_it_and_may_use_what_was_left_before(scripts, tmp_path):
    def stages(command):
        quick, endless = shell(""), shell(HANG)
        return [
            ("quick", 3, [command("quick", quick)]),
            ("endless", 1, [command("endless", endless)]),
            ("after", 4, [command("after", quick)]),
        ]

    stages, seconds = run(scripts, tmp_path, stages, seconds=8)
    assert 2 < stages["endless"]["seconds"] < 5  # its second and what the quick one left of three
    assert stages["after"]["commands"]["after"]["status"] == "ok" and seconds < 8


def test_what_a_command_started_ends_with_it(scripts, tmp_path):
    def stages(command):
        return [("parent", 3, [command("parent", shell("sleep 600 & echo $!; wait"))])]

    stages, _ = run(scripts, tmp_path, stages, seconds=3)
    pid = int(stages["parent"]["commands"]["parent"]["last_lines"][0])
    for _ in range(50):  # whoever adopted it may take a moment to notice
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return
        if Path(f"/proc/{pid}/stat").exists() and Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z":
            return
        time.sleep(0.1)
    os.kill(pid, 9)
    pytest.fail("the child of a stopped command still ran")


def test_commands_side_by_side_run_at_the_same_time(scripts, tmp_path):
    def waits(mine: str, other: str) -> list[str]:
        return shell(f"touch '{tmp_path}/{mine}'; until [ -e '{tmp_path}/{other}' ]; do sleep 0.1; done\n{NOTE}")

    def stages(command):
        return [("both", 20, [command("one", waits("a", "b")), command("two", waits("b", "a"))], True)]

    stages, _ = run(scripts, tmp_path, stages, seconds=20)
    assert [did["status"] for did in stages["both"]["commands"].values()] == ["ok", "ok"]


def test_the_stages_fit_into_the_minutes_and_most_of_the_rest_is_pretraining(scripts, tmp_path):
    module = scripts("scripts.gpu_report")
    for minutes in (3, 9, 15):
        config = module.ReportConfig(out=str(tmp_path / "out"), minutes=minutes, device="cpu", tiny=True)
        planned = {stage.name: stage.seconds for stage in module.stages_of(config, tmp_path)}
        assert sum(planned.values()) == pytest.approx(60 * minutes)
        assert planned["7 pretraining"] > 0.35 * 60 * minutes and all(seconds > 2 for seconds in planned.values())


@pytest.mark.parametrize(
    "flags, message",
    [
        ({}, "--out: give an empty folder"),
        ({"out": "full"}, "--out full: is not empty"),
        ({"out": "new", "device": "cpu"}, "add --tiny"),
        ({"out": "new", "minutes": 0.0}, "--minutes 0.0"),
    ],
)
def test_a_report_that_cannot_be_made_is_refused_in_one_line(scripts, tmp_path, monkeypatch, flags, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "summary.json").touch()
    with pytest.raises(ValueError, match=message):
        scripts("scripts.gpu_report").ReportConfig(**flags)


def test_packed_tokens_unpack_to_what_they_were_or_to_the_first_part_of_each_file(scripts, tmp_path, monkeypatch):
    module = scripts("pack_corpus")
    tokens, train, test = tmp_path / "tokens", np.arange(300, dtype=np.uint16), np.arange(30, dtype=np.uint16)
    tokens.mkdir()
    np.save(tokens / "train.npy", train)
    np.save(tokens / "test.npy", test)
    sizes = [("talk", 100, 10), ("talk", 40, 5), ("books", 160, 15)]
    files = [{"corpus": c, "name": "a.txt", "train": n, "test": m, "test_bytes": 4 * m} for c, n, m in sizes]
    known = {"corpora": ["talk", "books"], "held_out": 50, "vocab_size": 300, "files": files}
    (tokens / "tokens.json").write_text(json.dumps(known))
    for name in module.SMALL:
        (tokens / name).write_text(name)
    module.main(module.PackConfig(tokens=str(tokens), packed=str(tmp_path / "all")))
    module.main(module.PackConfig(tokens=str(tmp_path / "again"), unpack=str(tmp_path / "all")))
    for name in ("train.npy", "test.npy", *module.SMALL):
        assert (tmp_path / "again" / name).read_bytes() == (tokens / name).read_bytes()
    assert json.loads((tmp_path / "again" / "tokens.json").read_text()) == known

    module.pack(tokens, tmp_path / "some", (0.5, 0.25))
    module.unpack(tmp_path / "some", tmp_path / "part")
    kept = [*range(50), *range(100, 120), *range(140, 180)]
    assert np.load(tmp_path / "part" / "train.npy").tolist() == kept
    assert np.load(tmp_path / "part" / "test.npy").tolist() == test.tolist()
    assert [file["train"] for file in module.read_sizes(tmp_path / "part")["files"]] == [50, 20, 40]
    module.pack(tokens, tmp_path / "even", (1.0, 0.25), most=60)
    assert [file["train"] for file in module.read_sizes(tmp_path / "even")["files"]] == [60, 40, 40]
    with pytest.raises(ValueError, match="one for each of talk, books"):
        module.pack(tokens, tmp_path / "no", (0.5, 0.5, 0.5))
    monkeypatch.setattr(module, "MOST", 100)
    with pytest.raises(ValueError, match="--keep fewer"):
        module.pack(tokens, tmp_path / "no")
    assert not (tmp_path / "no").exists()
    assert lzma.decompress((tmp_path / "all" / "train.npy.xz").read_bytes()).startswith(b"\x93NUMPY")


def test_weights_are_carried_in_pieces_that_join_to_one_tar(scripts, tmp_path, monkeypatch):
    module = scripts("gpu_weights")
    monkeypatch.setattr(module, "PIECE", 10_000)
    checkpoint = tmp_path / "pretraining" / "checkpoints" / "step-000020"
    checkpoint.mkdir(parents=True)
    (checkpoint / "trainable.safetensors").write_bytes(bytes(range(256)) * 100)
    (checkpoint / "state.json").write_text("{}")
    log = [{"step": 19, "loss": 2.0}, {"step": 20, "loss": 1.0}]
    log += [{"step": 20, "part": "validation", "loss": 1.5, "bits_per_byte": {"talk": 2.5}}, {"step": 21, "loss": 0.5}]
    lines = "".join(json.dumps(entry) + "\n" for entry in log)
    (tmp_path / "pretraining" / "metrics.jsonl").write_text(lines)
    for name in ("vocab.json", "merges.txt"):
        (tmp_path / "pretraining" / name).touch()
    (tmp_path / "out").mkdir()
    found = tmp_path / "found.json"
    module.main(module.WeightsConfig(work=str(tmp_path), out=str(tmp_path / "out"), json=str(found)))
    curve = json.loads(found.read_text())["curve"]
    assert curve == [{"step": 20, "train_loss": 1.5, "bits_per_byte": {"talk": 2.5}}]
    pieces = sorted((tmp_path / "out").iterdir())
    assert len(pieces) > 2 and all(piece.stat().st_size <= 10_000 for piece in pieces)
    (tmp_path / "joined.tar").write_bytes(b"".join(piece.read_bytes() for piece in pieces))
    with tarfile.open(tmp_path / "joined.tar") as tar:
        assert tar.extractfile("model/trainable.safetensors").read() == bytes(range(256)) * 100
    monkeypatch.setattr(module, "MOST", 2)
    with pytest.raises(ValueError, match="more than 2 pieces"):
        module.main(module.WeightsConfig(work=str(tmp_path), out=str(tmp_path / "out")))


@pytest.mark.slow
@pytest.mark.skipif(
    not all(map(importlib.util.find_spec, ("transformers", "peft", "accelerate"))),
    reason="what is compared with is not installed: pip install -r requirements-dev.txt",
)
def test_the_whole_report_on_a_cpu_with_one_stage_killed_has_the_numbers_of_all_others(
    scripts, tmp_path, monkeypatch, capsys
):
    module = scripts("scripts.gpu_report")
    real = module.stages_of

    def with_one_killed(config, work):
        stages = real(config, work)
        killed = module.Command("long", shell("kill -9 $$"))
        return [module.Stage(s.name, s.seconds, [killed]) if s.name == "4 long rows" else s for s in stages]

    monkeypatch.setattr(module, "stages_of", with_one_killed)
    out = tmp_path / "out"
    summary = module.main(module.ReportConfig(out=str(out), minutes=5, device="cpu", tiny=True))
    did = {name: d for stage in summary["stages"].values() for name, d in stage["commands"].items()}
    not_ok = {name: d for name, d in did.items() if d["status"] not in ("ok", "skipped")}
    assert list(not_ok) == ["long"] and not_ok["long"]["status"] == "failed (exit code -9)", not_ok
    assert {name for name, d in did.items() if d["status"] == "skipped"} == {"equivalence", "rule E"}
    messages = did["messages"]["measured"]
    assert len(messages["ratios"]) == 4 and messages["rounds"] == 3
    losses = messages["losses_without_dropout"]
    assert all(abs(a - b) < 0.02 for lane in losses.values() for a, b in zip(lane, losses["trainer"]))
    lanes = did["memory"]["measured"]["lanes"]
    assert all(lane["eval_rows_per_second"] > 0 and len(lane["profile"]["top"]) <= 25 for lane in lanes.values())
    assert did["train fast"]["measured"]["steps"] == 3
    assert did["pretraining"]["measured"]["record"]["curve"] and did["weights"]["measured"]["pieces"] == [
        "model.tar.00"
    ]
    files = list(out.iterdir())
    assert json.loads((out / "summary.json").read_text()) == summary
    assert len(files) <= 8 and all(file.stat().st_size <= 16e6 for file in files) and summary["seconds"] < 300
    assert "4 long rows      long         failed (exit code -9)" in capsys.readouterr().out
