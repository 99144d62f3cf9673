"""What scripts/pretrain_base.py can be told, and what of it a run that goes on must not change."""

import dataclasses
import hashlib
from dataclasses import dataclass
from pathlib import Path

from pretrain_curve import LOOK

from tasks.config import TrainConfig
from training.checkpoint import checkpoints, find_checkpoint
from training.device import DEVICES, PRECISIONS
from training.errors import UsageError
from training.settings import check_range, option

MAX_GRAD_NORM = 1.0
# These change nothing that is learned. --precision is not among the others because the loop compares it itself.
FREE = {"compile", "eval_steps", "corpus", "output_dir", "dropout", "device", "precision"}


@dataclass(frozen=True)
class PretrainConfig:
    corpus: tuple[str, ...] = option((), "directories of .txt files to learn from", group="texts")
    shares: tuple[float, ...] = option((), "of each directory in the training rows; default: alike", group="texts")
    root: float = option(0.5, "a file's part of its directory's rows is its size to this power", group="texts")
    output_dir: str = option("work/base", "where tokens, checkpoints and the finished model go", group="texts")
    held_out: int = option(50, "every n-th document of a file is kept for evaluation", group="texts")
    start: str | None = option(None, "go on from this model: its weights and shape", group="model")
    vocab_size: int = option(8192, "entries of the byte-level BPE", group="model")
    n_embd: int = option(256, "width", group="model")
    n_layer: int = option(4, "blocks", group="model")
    n_head: int = option(4, "heads per block", group="model")
    n_positions: int = option(256, "context, in tokens", group="model")
    dropout: float = option(0.1, "in the config of the finished model; pretraining uses none", group="model")
    batch_size: tuple[int, ...] = option((16, 32), "rows a step, each for an equal part of the steps", group="training")
    max_steps: int = option(4000, "optimizer steps", group="training")
    minutes: float | None = option(None, "take as many steps as fit into so many instead", group="training")
    optimizer: str = option("muon", "of the blocks' matrices", group="training", choices=("muon", "adamw"))
    learning_rate: float = option(4e-3, "peak", group="training", short="lr")
    warmup_steps: int = option(100, "linear warm-up", group="training")
    cooldown: float = option(0.6, "last share of the steps, in which the rate falls linearly to 0", group="training")
    weight_decay: float = option(0.1, "of matrices", group="training")
    seed: int = option(0, "initial weights and order of rows", group="training")
    eval_steps: int = option(200, "evaluate and save a checkpoint every so many steps", group="training")
    compile: bool = option(False, "torch.compile the model (needs a C++ compiler on a CPU)", group="machine")
    device: str = option("auto", "where to compute", group="machine", choices=DEVICES)
    precision: str = option("auto", "of the matrix products", group="machine", choices=PRECISIONS[:-1])

    def __post_init__(self) -> None:
        check_range(self, ("held_out", "max_steps", "eval_steps", "warmup_steps", "n_positions"), 1)
        if not 256 < self.vocab_size <= 65_536:
            raise UsageError(f"--vocab_size {self.vocab_size}: must be above 256, the bytes, and at most 65,536")
        if not self.batch_size or min(self.batch_size) < 1 or any(share <= 0 for share in self.shares):
            raise UsageError("--batch_size and --shares must be above 0")
        if self.shares and len(self.shares) != len(self.corpus):
            raise UsageError(f"--shares: {len(self.shares)} shares for {len(self.corpus)} directories")


def as_begun(config: PretrainConfig) -> tuple[PretrainConfig, bool]:
    """The settings, and whether there is a run in --output_dir to go on with.

    That run's own number of steps is kept where --minutes counted them, and its precision where it was measured: today
    the machine may be slower or faster.
    """
    work = Path(config.output_dir)
    if not checkpoints(work / "checkpoints"):
        return config, False
    saved = find_checkpoint(work).state
    known = {"precision": saved["precision"]} if config.precision == "auto" else {}
    if config.minutes:
        known["max_steps"] = int(saved["state"]["identity"]["--max_steps"])
    return dataclasses.replace(config, **known), True


def identity(config: PretrainConfig) -> dict[str, str]:
    """What a checkpoint must have in common with the run that goes on from it: RunState.identity."""
    settings = {f"--{name}": str(value) for name, value in dataclasses.asdict(config).items() if name not in FREE}
    with open(Path(config.output_dir) / "train.npy", "rb") as file:
        return settings | {"the training tokens": hashlib.file_digest(file, "sha256").hexdigest()}


def loop_settings(config: PretrainConfig, goes_on: bool) -> TrainConfig:
    """What train.fit reads. What is learned from, and how, it is given as objects, and compares by `identity`."""
    return TrainConfig(
        task="language", train="full", max_grad_norm=MAX_GRAD_NORM, load_best_model_at_end=False, logging_steps=LOOK,
        resume_from_checkpoint=config.output_dir if goes_on else None,
    )  # fmt: skip
