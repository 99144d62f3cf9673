"""Learn all there is to learn of one GPU in nine minutes: what works there, how fast, how lean; the rest pretrains.

    python scripts/gpu_report.py --out DIR                         on an NVIDIA GPU
    python scripts/gpu_report.py --out DIR --device cpu --tiny     to see that it runs

Each stage is processes under a limit, and none can take what is left from those after it. DIR/summary.json is whole
after each: what it measured, and of what failed the last lines. DIR/log.txt has the output, model.tar.* the base.
The messages are those of SMS_SPAM_FILE, the tokenizer that of GPT2_TOKENIZER_DIR, where these are set.
"""

import time

BEGAN = time.perf_counter()  # what the imports take belongs to the minutes

import signal  # noqa: E402
import sys  # noqa: E402
import tempfile  # noqa: E402
from dataclasses import dataclass  # noqa: E402
from pathlib import Path  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from scripts.stages import Command, Record, Stage, run_stages  # noqa: E402
from training.device import choose_place  # noqa: E402
from training.errors import UsageError, run_door  # noqa: E402
from training.settings import check_range, option, parse  # noqa: E402

PLANNED = 9  # minutes that the stages' seconds are written for
TESTS = tuple(f"tests/{name}.py" for name in ("test_cuda", "test_device", "gpt2/test_varlen_attention"))
ONLY_ON_A_GPU = "only on a GPU; the tests have it on a CPU"


# fmt: off
@dataclass(frozen=True)
class ReportConfig:
    out: str = option("", "an empty folder for the report", group="what")
    minutes: float = option(PLANNED, "for everything; with more the pretraining is longer", group="what")
    tokens: str = option("work/tokens", "for the pretraining, as pack_corpus.py packs them", group="what")
    device: str = option("cuda", "where to compute", group="what", choices=("cuda", "cpu"))
    tiny: bool = option(False, "small shapes throughout", group="what")

    # fmt: on
    def __post_init__(self) -> None:
        check_range(self, ("minutes",), 0.1)
        if not self.out:
            raise UsageError("--out: give an empty folder for the report")
        if Path(self.out).is_dir() and any(Path(self.out).iterdir()):
            raise UsageError(f"--out {self.out}: is not empty; give another")
        if self.device == "cpu" and not self.tiny:
            raise UsageError("--device cpu: the real shapes take hours there; add --tiny")


def main(config: ReportConfig, began: float | None = None) -> dict:
    """Returns what summary.json holds. `began`, of time.perf_counter, is when the minutes began."""
    began = time.perf_counter() if began is None else began
    choose_place(config.device, "fp32")  # says in one line what is not there
    out = Path(config.out).absolute()
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="gpu-report-") as name:
        say = lambda line: print(f"[{time.perf_counter() - began:6.1f} s] {line}", flush=True)  # noqa: E731
        record = Record(out, Path(name), say, {"minutes": config.minutes, "device": config.device, "tiny": config.tiny})
        run_stages(stages_of(config, Path(name)), record, began + 60 * config.minutes, ROOT)
        record.summary["seconds"] = round(time.perf_counter() - began, 2)
        record.write()
    print(table_of(record.summary))
    return record.summary


def stages_of(config: ReportConfig, work: Path) -> list[Stage]:
    python, scale = sys.executable, min(1.0, config.minutes / PLANNED)
    on = ["--device", config.device]

    def own(name: str, script: str, *more: str, missing: str = "") -> Command:
        given = ["--work", str(work), "--json", "{json}", "--seconds", "{seconds}", *on, *["--tiny"] * config.tiny]
        return Command(name, [python, script, *given, *more], missing=missing)

    def other(name: str, *words: str) -> Command:
        missing = ONLY_ON_A_GPU if config.device == "cpu" else ""
        return Command(name, [python, *words, *on, "--json", "{json}"], missing=missing)

    pytest = [python, "-m", "pytest", "-W", "default", "-q", "-p", "no:cacheprovider", *TESTS]
    lacking, out = "", str(Path(config.out).absolute())
    if not config.tiny and not (Path(config.tokens) / "tokens.json").is_file():
        lacking = f"{config.tokens}: no tokens there; scripts/pack_corpus.py packs them"
    tokens = str(Path(config.tokens).absolute())
    stages = [
        Stage("1 facts", 25, [  # 15 and the first import of everything
            own("facts", "benchmarks/speed/gpu_facts.py"),
        ]),
        Stage("2 does it work", 80, [
            Command("tests", pytest), other("equivalence", "benchmarks/equality/equivalence.py"),
            other("rule E", "benchmarks/equality/rule_e.py"),
        ], together=True),
        Stage("3 messages", 90, [own("messages", "benchmarks/speed/gpu_timing.py", "--what", "messages")]),
        Stage("4 long rows", 60, [own("long", "benchmarks/speed/gpu_timing.py", "--what", "long")]),
        Stage("5 memory", 40, [own("memory", "benchmarks/speed/gpu_profile.py")]),
        Stage("6 train.py", 30, [training(form, work, config) for form in ("plain", "fast")]),
    ]  # fmt: skip
    weights = Stage("8 weights", 8, [own("weights", "scripts/gpu_weights.py", "--out", out, missing=lacking)])
    rest = 60 * config.minutes / scale - sum(stage.seconds for stage in [*stages, weights])
    pretraining = own("pretraining", "scripts/gpu_pretrain.py", "--packed", tokens, missing=lacking)
    stages += [Stage("7 pretraining", rest, [pretraining]), weights]
    return [Stage(s.name, scale * s.seconds, s.commands, s.together) for s in stages]


def training(form: str, work: Path, config: ReportConfig) -> Command:
    """A whole run of train.py as people start it; tiny, of three steps on a few rows."""
    run = work / f"run-{form}"
    words = [sys.executable, "train.py", "--device", config.device, "--output_dir", str(run)]
    if config.tiny:
        rows = work / "rows.tsv"
        texts = (ROOT / "data" / "messages" / "messages.tsv").read_text(encoding="utf-8").splitlines(keepends=True)
        rows.write_text("".join(texts[:100]), encoding="utf-8")
        words += ["--dataset", str(rows), "--max_steps", "3"]
    return Command(f"train {form}", [*words, "--fast", str(form == "fast")], run / "results.json")


def table_of(summary: dict) -> str:
    """A line for each command: what became of it, and what it says of itself."""
    lines = []
    for stage, passed in summary["stages"].items():
        for name, did in passed["commands"].items():
            lines.append(f"{stage:<16} {name:<12} {did['status']:<24} {did['seconds']:6.1f} s  {said_of(did)}")
    return "\n".join(lines)


def said_of(did: dict) -> str:
    measured = did.get("measured") or {}
    if "train_seconds" in measured:  # train.py's results
        return f"{measured['train_seconds']:.1f} s of training, accuracy {measured['after']['accuracy']:.2%}"
    return measured.get("headline") or (did["last_lines"] or [""])[-1]


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what is running is ended too
    words = {"prog": "scripts/gpu_report.py", "description": __doc__.split("\n\n")[0]}
    sys.exit(run_door(lambda: main(parse(ReportConfig, sys.argv[1:], **words), BEGAN), lasting=True))
