"""How much memory training takes on a GPU: predicted by arithmetic, and, where there is a GPU, measured.

    python benchmarks/speed/memory.py                                              GPT-2's four sizes, 8 x 512 tokens
    python benchmarks/speed/memory.py --sizes 774M --batch_size 4 16 --train lora  some of them

Gigabytes (10^9 bytes) that tensors take at most during a step of `train.py`, plain form and fast (`--fast`), all
dropouts on. Rows are of full length: where they are not, the plain form takes this much, and the fast one less.
"""

import functools
import gc
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402

import gpt2  # noqa: E402
from benchmarks.speed.ledger import Ledger  # noqa: E402
from benchmarks.speed.plan import LORA  # noqa: E402
from benchmarks.speed.stand_in import batch_of, build, trainer_of  # noqa: E402
from gpt2.packed_attention import GROUP  # noqa: E402
from training.device import choose_place  # noqa: E402
from training.errors import UsageError, run_door  # noqa: E402
from training.settings import option, parse  # noqa: E402

SIZES = {
    "124M": gpt2.GPT2Config(),
    "355M": gpt2.GPT2Config(n_embd=1024, n_layer=24, n_head=16),
    "774M": gpt2.GPT2Config(n_embd=1280, n_layer=36, n_head=20),
    "1.5B": gpt2.GPT2Config(n_embd=1600, n_layer=48, n_head=25),
}
WAYS, PRECISIONS, FORMS = ("head", "lora", "full"), ("fp32", "bf16"), ("plain", "fast")
DEVICES = ("auto", "cpu", "cuda")
ledger_of = functools.cache(Ledger.of)
KERNELS = 2 * 32 * 2**20  # what cuBLAS keeps to work in on an H100, for each of two threads; elsewhere it is less


# fmt: off
@dataclass(frozen=True)
class MemoryConfig:
    sizes: tuple[str, ...] = option(tuple(SIZES), "of GPT-2", group="what", choices=tuple(SIZES))
    batch_size: tuple[int, ...] = option((8,), "rows per step", group="what")
    length: tuple[int, ...] = option((512,), "tokens of each row", group="what")
    train: tuple[str, ...] = option(WAYS, "what trains", group="what", choices=WAYS)
    precision: tuple[str, ...] = option(PRECISIONS, "of matrix products", group="what", choices=PRECISIONS)
    gradient_checkpointing: bool = option(False, "compute each block again in the backward pass", group="what")
    device: str = option("auto", "cuda: measure, too; auto: if there is one", group="how", choices=DEVICES)
    json: str | None = option(None, "also write every number to this file", group="how")

    def __post_init__(self) -> None:
        limit = gpt2.GPT2Config().n_positions
        if min(self.batch_size) < 1:
            raise UsageError(f"--batch_size {min(self.batch_size)}: must be at least 1")
        if not 1 <= min(self.length) <= max(self.length) <= limit:
            raise UsageError(f"--length: GPT-2 reads 1 to {limit} tokens")
# fmt: on


@dataclass(frozen=True)
class Training:
    """A step of training, and what it keeps in memory. Letters: D n_embd, I width of the MLP, H heads, r rank."""

    shape: gpt2.GPT2Config
    rows: int
    length: int
    way: str
    precision: str
    form: str
    checkpointing: bool = False

    @property
    def tokens(self) -> int:
        return self.rows * self.length

    @property
    def half(self) -> int:
        """Bytes of what a matrix product reads and writes."""
        return 2 if self.precision == "bf16" else 4

    @property
    def holds_frozen(self) -> bool:
        """Whether frozen matrices and embeddings are kept in bf16 alone, and activations with them."""
        return self.form == "fast" and self.precision == "bf16" and self.way == "lora"

    @property
    def has_kernel(self) -> bool:
        """Whether attention is one kernel, which never holds the weights; in fp32 there is none without padding."""
        return self.form == "plain" or self.precision == "bf16"

    def parts(self) -> dict[str, float]:
        """Bytes; `peak` is less than the sum, as gradients come while activations go."""
        ledger, embeddings = ledger_of(self.shape), (self.shape.vocab_size + self.shape.n_positions) * self.shape.n_embd
        lora = ledger.trained if self.way == "lora" else 0  # A, B and a second head
        trained = {"head": self.shape.num_labels * self.shape.n_embd, "lora": lora, "full": ledger.whole}[self.way]
        frozen = ledger.matrices + embeddings if self.holds_frozen else 0
        casts = 0  # weights in bf16, which the backward pass needs again
        if self.half == 2 and self.way != "head":
            casts += 0 if self.holds_frozen else 2 * ledger.matrices
            casts += 2 * ledger.low_rank if self.way == "lora" else 0
        parts = {
            "weights": 4 * (ledger.whole + lora) - 2 * frozen,
            "gradients": 4 * trained,
            "optimizer": 8 * trained,  # AdamW keeps two averages of every gradient
            "activations": self.activations(casts),
            "workspace": self.workspace(),
            "kernels": KERNELS,
        }
        within = 4 * embeddings if self.way == "full" else 0  # the last gradients: all activations are gone by then
        one_block = self.tokens * sum(self.block().values()) + casts / self.shape.n_layer
        backward = max(parts["activations"], parts["gradients"] - within + one_block) + parts["workspace"]
        steady = parts["weights"] + parts["optimizer"] + parts["kernels"]
        return parts | {"peak": steady + max(backward, parts["gradients"])}

    def activations(self, casts: float) -> float:
        """What the backward pass needs of the forward pass: of the blocks, the ends, and weights cast to bf16."""
        layers, D = self.shape.n_layer, self.shape.n_embd
        block, last = sum(self.block().values()), sum(self.last_block().values())
        stream = D * (2 if self.holds_frozen else 4)  # what runs from block to block
        if self.way == "head":
            blocks = 0
        elif self.checkpointing:  # the input of each, and all of the one that is computed again
            blocks, casts = layers * stream + block, casts / layers
        else:
            blocks = (layers - 1) * block + last
        ends = D if self.way == "full" else 0  # the mask of the embeddings' dropout
        if self.form == "plain":  # the input of the score and, if it is wanted, of the last norm
            ends += D * self.half + (4 * D if self.way != "head" else 0)
        return self.tokens * (blocks + ends) + casts

    def block(self) -> dict[str, float]:
        """Bytes that a block keeps of each token."""
        if self.way == "head":  # no gradient enters the blocks
            return {}
        D, width, H, r, half = self.shape.n_embd, self.shape.inner_size, self.shape.n_head, LORA["r"], self.half
        kept = {
            "inputs of the norms": 2 * 4 * D,
            "queries, keys, values": 3 * D * half,
            "masks of the two dropouts": 2 * D,
            # Spelled out, GELU keeps x/2 and x, tanh and 1 + tanh, the last three in fp32; torch's own keeps x.
            "GELU": width * (half + 3 * 4) if self.form == "plain" else width * half,
        }
        if self.has_kernel:
            kept["attention: its output, a sum a head"] = D * half + 4 * H
        else:
            kept["attention: its weights, twice, and a mask"] = H * self.length * (4 + 4 + 1)
        if self.way == "lora":  # of c_attn and both c_proj
            kept["LoRA: inputs of A, masks, inputs of B"] = (2 * D + width) * (half + 1) + 3 * r * half
        else:
            kept["inputs of the matrices"] = (2 * D + width) * half + (0 if self.has_kernel else D * half)
        return kept

    def last_block(self) -> dict[str, float]:
        """The fast form's: behind the keys and values it computes the last token of each row alone."""
        if self.form == "plain" or self.way == "head":
            return self.block()
        D, half = self.shape.n_embd, self.half
        kept = {"input of the norm": 4 * D, "queries, keys, values": 3 * D * half}
        kept["input of c_attn"] = D * (half + 1) if self.way == "lora" else D * half
        if self.has_kernel:
            kept["attention: its output"] = D * half
        return kept

    def workspace(self) -> float:
        """Temporaries that are alive together where most is: two of the MLP's width, gradients or outputs."""
        D, width = self.shape.n_embd, self.shape.inner_size
        if self.way != "head":
            return self.tokens * 2 * width * (4 if self.form == "plain" else self.half)
        mlp = self.tokens * (2 * width * self.half + 3 * 4 * D)
        if self.form == "plain":
            return mlp + self.tokens * 2 * width * 4  # GELU, spelled out
        if self.has_kernel:
            return mlp
        group = min(self.rows, GROUP) * self.shape.n_head * self.length**2  # the weights, thrice, and a mask
        return max(mlp, self.tokens * 7 * 4 * D + group * (3 * 4 + 1))


def measure(training: Training) -> int | None:
    """Bytes of one step on the GPU, of the second, as the first makes AdamW's state; None if there are not enough."""
    place = choose_place("cuda", training.precision, fast=training.form == "fast")
    try:
        model = build(training.shape, training.way, training.form, training.precision, place.device)
        model.transformer.gradient_checkpointing = training.checkpointing
        step = trainer_of(model, batch_of([training.length] * training.rows), place)
        step()
        torch.cuda.reset_peak_memory_stats()
        step()
        return torch.cuda.max_memory_allocated()
    except torch.cuda.OutOfMemoryError:
        return None
    finally:
        model = step = None
        gc.collect()
        torch.cuda.empty_cache()


def table_of(rows: list[dict[str, Any]], on_gpu: bool) -> str:
    """A Markdown table: a line for each size, batch and way to train; columns for precisions and forms."""
    lines: dict[tuple[str, ...], list[str]] = {}
    heads = ["", "rows × tokens", "trained"]
    for row in rows:
        line = lines.setdefault(
            (row["size"], f"{row['rows']} × {row['length']}", row["train"].replace("lora", "LoRA")), []
        )
        head = f"{row['precision']}, {row['form']}"
        line.append(f"{row['peak'] / 1e9:.1f}")
        if head not in heads:
            heads.append(head)
        if on_gpu:
            line.append("out of memory" if row["measured"] is None else f"{row['measured'] / 1e9:.1f}")
            if len(heads) < 3 + len(line):
                heads.append("measured")
    cells = [heads, *([*key, *line] for key, line in lines.items())]
    head, *body = (f"| {' | '.join(row)} |" for row in cells)
    return "\n".join([head, "|---" * len(heads) + "|", *body])


def main(config: MemoryConfig) -> list[dict[str, Any]]:
    """Print the table; returns what `--json` writes."""
    on_gpu = config.device == "cuda" or (config.device == "auto" and torch.cuda.is_available())
    if on_gpu:
        choose_place("cuda")  # refuses where there is none
    cases = [(s, b, n, w) for s in config.sizes for b in config.batch_size for n in config.length for w in config.train]
    rows = []
    for size, batch, length, way in cases:
        for precision, form in ((p, f) for p in config.precision for f in FORMS):
            training = Training(SIZES[size], batch, length, way, precision, form, config.gradient_checkpointing)
            row = {"size": size, "rows": batch, "length": length, "train": way, "precision": precision, "form": form}
            row |= training.parts() | ({"measured": measure(training)} if on_gpu else {})
            rows.append(row)
    if config.json:
        Path(config.json).write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
    print(table_of(rows, on_gpu))
    return rows


if __name__ == "__main__":
    words = {"prog": "benchmarks/speed/memory.py", "description": __doc__}
    sys.exit(run_door(lambda: main(parse(MemoryConfig, sys.argv[1:], **words))))
