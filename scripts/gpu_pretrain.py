"""The bundled base pretrained on a GPU for as long as there is time, from tokens that pack_corpus.py has packed.

    python scripts/gpu_pretrain.py --packed work/tokens --work DIR --seconds 220

Checkpoints and the finished model go to DIR/pretraining, and gpu_weights.py carries them from there.
"""

import json
import shutil
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "scripts")]

from benchmarks.speed.gpu_stage import Findings, StageConfig  # noqa: E402  before torch: its clock counts that import

# isort: split

import torch  # noqa: E402
import torch._dynamo  # noqa: E402
from corpus import SEPARATOR, prepare_tokens  # noqa: E402
from pack_corpus import pack, read_sizes, unpack  # noqa: E402
from pretrain_base import main  # noqa: E402
from pretrain_settings import PretrainConfig  # noqa: E402

from training.errors import run_door  # noqa: E402
from training.settings import option, parse  # noqa: E402

SHARES = {"modern": 0.85, "books": 0.15}  # of the training rows; another corpus counts 1
# 32 thousand tokens a step, always: another size would be compiled anew. A checkpoint costs about half a second.
# All is read ten times and more: no file's part is raised as far as on a CPU, and the rate is lower for so many steps.
ON_A_GPU: dict[str, Any] = {"batch_size": (128,), "eval_steps": 4000, "warmup_steps": 200}
ON_A_GPU |= {"root": 0.75, "learning_rate": 3e-3}
ON_A_CPU: dict[str, Any] = {"batch_size": (2, 4), "eval_steps": 200, "vocab_size": 300, "warmup_steps": 2}
ON_A_CPU |= {"held_out": 10, "n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 32}
# What has learned before has no peak to hold: more rows a step, half the rate, falling all along.
GOING_ON: dict[str, Any] = {
    "batch_size": (256,),
    "eval_steps": 3000,
    "learning_rate": 1.5e-3,
    "cooldown": 1.0,
    "seed": 1,
}
LAST = 8.0  # seconds kept for coming to an end
TINY = 12.0  # seconds


@dataclass(frozen=True)
class GpuPretrainConfig(StageConfig):
    start: str | None = option(None, "a model to go on from, at half the rate", group="stage")
    packed: str = option("work/tokens", "what pack_corpus.py wrote; with --tiny made from the messages", group="stage")


def run(config: GpuPretrainConfig) -> None:
    found, work = Findings(config), Path(config.work).absolute() / "pretraining"
    packed = Path(config.packed)
    if config.tiny:
        packed = pack_messages(Path(config.work).absolute())
    unpack(packed, work)
    corpora = read_sizes(work)["corpora"]
    # What Triton needs; and should it fail all the same, the model runs as it is.
    headers = Path(sysconfig.get_path("include"), "Python.h").is_file()
    compiles = headers and bool(shutil.which("cc") or shutil.which("gcc")) and not config.tiny
    torch._dynamo.config.suppress_errors = True
    found.note(corpora=corpora, compiled=compiles)
    seconds = TINY if config.tiny else found.seconds_to_end - LAST
    main(PretrainConfig(
        corpus=tuple(corpora), shares=tuple(SHARES.get(name, 1.0) for name in corpora), output_dir=str(work),
        device=config.device, compile=compiles, minutes=seconds / 60,
        start=config.start, **((ON_A_CPU if config.tiny else ON_A_GPU) | (GOING_ON if config.start else {})),
    ))  # fmt: skip
    record = json.loads((work / "model" / "pretraining.json").read_text(encoding="utf-8"))
    last = record["curve"][-1]
    bits = ", ".join(f"{name} {value:.3f}" for name, value in last["bits_per_byte"].items())
    found.note(record=record, headline=f"{last['step']:,} steps, {record['tokens_seen']:,} tokens; bits a byte: {bits}")


def pack_messages(work: Path) -> Path:
    """A corpus of a few kilobytes, packed, to try all this with."""
    texts = (ROOT / "data" / "messages" / "messages.tsv").read_text(encoding="utf-8").splitlines()[:200]
    folder, tokens = work / "texts", work / "texts-tokens"
    for directory in (folder, tokens):
        directory.mkdir()
    (folder / "messages.txt").write_text(f"\n{SEPARATOR}\n".join(texts), encoding="utf-8")
    prepare_tokens([str(folder)], ON_A_CPU["held_out"], ON_A_CPU["vocab_size"], tokens)
    pack(tokens, work / "packed")
    return work / "packed"


if __name__ == "__main__":
    words = {"prog": "scripts/gpu_pretrain.py", "description": __doc__.split("\n\n")[0]}
    sys.exit(run_door(lambda: run(parse(GpuPretrainConfig, sys.argv[1:], **words)), lasting=True))
