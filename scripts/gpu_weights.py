"""Carry the model that gpu_pretrain.py has trained: one tar, in pieces that are small enough.

    python scripts/gpu_weights.py --work DIR --out OUT;  cat OUT/model.tar.* | tar x

Where training was stopped, its newest checkpoint's weights in float32 and its state take the place of the model.
"""

import io
import sys
import tarfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "scripts")]

from pretrain_curve import curve_of  # noqa: E402

from benchmarks.speed.gpu_stage import Findings, StageConfig  # noqa: E402
from training.errors import UsageError, run_door  # noqa: E402
from training.settings import option, parse  # noqa: E402

PIECE, MOST = 15_000_000, 6  # bytes of a piece, pieces


@dataclass(frozen=True)
class WeightsConfig(StageConfig):
    out: str = option(".", "where the pieces go", group="stage")


def main(config: WeightsConfig) -> None:
    found, work = Findings(config), Path(config.work) / "pretraining"
    files, curve = kept_files(work), curve_of(work)
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for path in files:
            tar.add(path, arcname=f"model/{path.name}")
    pieces = write_pieces(packed.getvalue(), Path(config.out))
    step = curve[-1]["step"] if curve else 0
    said = f"{files[0].parent.relative_to(work)} in {len(pieces)} pieces; last evaluated after step {step:,}"
    found.note(files=[path.name for path in files], pieces=pieces, curve=curve, headline=said)
    print(said)


def kept_files(work: Path) -> list[Path]:
    """The finished model, or what the newest checkpoint has of it."""
    if (work / "model").is_dir():
        return sorted((work / "model").iterdir())
    checkpoints = sorted((work / "checkpoints").glob("step-*"))
    if not checkpoints:
        raise UsageError(f"{work}: neither a model nor a checkpoint")
    weights = [checkpoints[-1] / name for name in ("trainable.safetensors", "state.json")]
    return [*weights, work / "vocab.json", work / "merges.txt"]


def write_pieces(content: bytes, out: Path) -> list[str]:
    """model.tar.00, model.tar.01, ...; their names."""
    count = -(-len(content) // PIECE)
    if count > MOST:
        raise UsageError(f"{len(content):,} bytes are more than {MOST} pieces of {PIECE:,}")
    names = [f"model.tar.{number:02d}" for number in range(count)]
    for number, name in enumerate(names):
        (out / name).write_bytes(content[number * PIECE : (number + 1) * PIECE])
    return names


if __name__ == "__main__":
    words = {"prog": "scripts/gpu_weights.py", "description": __doc__.split("\n\n")[0]}
    sys.exit(run_door(lambda: main(parse(WeightsConfig, sys.argv[1:], **words))))
