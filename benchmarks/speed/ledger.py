"""What training costs before a clock is started: arithmetic and memory of LoRA beside full fine-tuning, and padding.

    python benchmarks/speed/ledger.py                                 per token, for GPT-2 of 124 M
    python benchmarks/speed/ledger.py --dataset FILE --tokenizer DIR  and for an epoch over these messages

docs/performance.md explains the numbers. A product (N, in) x (in, out) counts 2 N in out FLOP.
"""

import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402

import gpt2  # noqa: E402
import lora  # noqa: E402
from benchmarks.speed.plan import LORA  # noqa: E402
from benchmarks.speed.table import columns  # noqa: E402
from benchmarks.speed.workload import BUNDLED, grouped_batches, prepare_task, random_batches  # noqa: E402
from training.errors import run_door  # noqa: E402
from training.settings import check_range, option, parse  # noqa: E402

ROW = 72  # tokens of the row whose attention is counted


@dataclass(frozen=True)
class LedgerConfig:
    model: str | None = option(None, "directory of the base; default: the shape of GPT-2 of 124 M", group="what")
    dataset: str | None = option(None, "file of labelled messages; count an epoch over them", group="what")
    tokenizer: str = option(str(BUNDLED), "vocab.json and merges.txt for the messages", group="what")
    batch_size: int = option(32, "rows per step", group="what")
    seed: int = option(42, "order of rows", group="what")

    def __post_init__(self) -> None:
        check_range(self, ("batch_size",), 1)


@dataclass(frozen=True)
class Ledger:
    """Weights, counted on the models themselves. FLOP are per token, one step of training."""

    matrices: int  # weights in the frozen matrices of all blocks
    whole: int  # of the classifier
    low_rank: int  # in A and B
    trained: int  # by LoRA: A, B and the head

    @classmethod
    def of(cls, config: gpt2.GPT2Config) -> "Ledger":
        with torch.device("meta"):
            model = gpt2.GPT2ForSequenceClassification(config)
            matrices = sum(p.numel() for p in model.transformer.h.parameters() if p.ndim == 2)
            whole = sum(p.numel() for p in model.parameters())
            lora.apply_lora(model, lora.LoraConfig(**LORA, task_type="SEQ_CLS"))
        trained = {name: p.numel() for name, p in lora.trainable_parameters(model).items()}
        return cls(matrices, whole, sum(n for name, n in trained.items() if "lora_" in name), sum(trained.values()))

    def full_flop(self) -> int:
        """Forward, gradients of the inputs, gradients of the weights: each multiplies every weight once a token."""
        return 3 * 2 * self.matrices

    def lora_flop(self) -> int:
        return 2 * 2 * self.matrices + 3 * 2 * self.low_rank


def per_token(ledger: Ledger, config: gpt2.GPT2Config) -> str:
    once, side = f"{2 * ledger.matrices / 1e9:.3f}", f"{6 * ledger.low_rank / 1e9:.3f}"
    full, ours = ledger.full_flop(), ledger.lora_flop()
    attention = 3 * 4 * ROW * config.n_embd * config.n_layer
    rows = [
        ["GFLOP per token", "full", "LoRA"],
        ["forward through the matrices", once, once],
        ["backward, gradients of their inputs", once, once],
        ["backward, gradients of their weights", once, "-"],
        ["A and B, forward and backward", "-", side],
        ["together", f"{full / 1e9:.3f}", f"{ours / 1e9:.3f}"],
        ["LoRA / full", "", f"{ours / full:.2f}"],
        [f"not counted: attention, in a row of {ROW}", f"{attention / 1e9:.3f}", f"{attention / 1e9:.3f}"],
    ]
    return columns(rows)


def in_memory(ledger: Ledger) -> str:
    whole, trained = ledger.whole, ledger.trained
    rows = [
        ["fp32", "full", "LoRA"],
        ["trained weights", f"{whole:,}", f"{trained:,}"],
        ["their share, as peft counts", "", f"{trained / (whole + trained):.2%}"],
        ["gradients, MB", f"{4 * whole / 1e6:.1f}", f"{4 * trained / 1e6:.1f}"],
        ["AdamW's state, MB", f"{8 * whole / 1e6:.1f}", f"{8 * trained / 1e6:.1f}"],
        ["file to keep, MB", f"{4 * whole / 1e6:.1f}", f"{4 * trained / 1e6:.1f}"],
    ]
    return columns(rows)


def per_epoch(ledger: Ledger, config: LedgerConfig) -> str:
    task = prepare_task(gpt2.Tokenizer(Path(config.tokenizer)), Path(config.dataset), 1024)
    drawn = {draw: draw(task, config.batch_size, config.seed) for draw in (random_batches, grouped_batches)}
    widths = {d: [(len(rows), [len(task.ids[row]) for row in rows]) for rows in b] for d, b in drawn.items()}
    random, grouped = widths[random_batches], widths[grouped_batches]
    tokens = sum(sum(lengths) for _, lengths in random)
    rows = [["an epoch", "positions", "real", "TFLOP"]]
    for name, batches in (("random batches, padded", random), ("grouped by length, padded", grouped)):
        positions = sum(n * max(lengths) for n, lengths in batches)
        real = sum(sum(lengths) for _, lengths in batches) / positions
        rows.append([name, f"{positions:,}", f"{real:.1%}", f"{positions * ledger.lora_flop() / 1e12:.1f}"])
    rows.append(["no padding", f"{tokens:,}", "100.0%", f"{tokens * ledger.lora_flop() / 1e12:.1f}"])
    return columns(rows)


def run(argv: list[str]) -> None:
    config = parse(LedgerConfig, argv, prog="benchmarks/speed/ledger.py", description=__doc__)
    shape = gpt2.read_config(gpt2.resolve_model(config.model)) if config.model else gpt2.GPT2Config()
    ledger = Ledger.of(shape)
    print(per_token(ledger, shape), in_memory(ledger), sep="\n\n")
    if config.dataset:
        print("\n" + per_epoch(ledger, config))


if __name__ == "__main__":
    sys.exit(run_door(lambda: run(sys.argv[1:])))
