"""Pretrain the small base model that ships in assets/gpt2-tiny: next-token prediction on plain text files.

    python scripts/pretrain_base.py --corpus MODERN BOOKS --shares 0.85 0.15 --output_dir work/base --compile

MODERN and BOOKS are directories as scripts/corpus.py reads them. An interrupted run goes on from its last checkpoint
when the same command is given again. Nothing of the texts ends up in the model directory except what the weights and
the tokenizer have learned.
"""

import dataclasses
import json
import math
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from tqdm import tqdm

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "scripts")]

from corpus import HeldOut, Mixture, held_out_parts, prepare_tokens  # noqa: E402
from muon import Muon  # noqa: E402

from gpt2 import GPT2Config, GPT2LMHeadModel, Tokenizer  # noqa: E402
from training import checkpoint as ckpt  # noqa: E402
from training.device import DEVICES, PRECISIONS, Place, choose_place  # noqa: E402
from training.errors import UsageError, run_door  # noqa: E402
from training.files import atomic_directory  # noqa: E402
from training.optimization import clip_gradients, set_learning_rate  # noqa: E402
from training.settings import check_range, option, parse  # noqa: E402

WARM_UP, TRIED, AT_LEAST = 5, 20, 3.0  # steps that --minutes measures by, and seconds; the first compile
TRAINED = 0.85  # of the time that is left then: the rest is for evaluating and saving, and long runs are slower
LOOK = 50  # steps between two looks at the loss: each waits for a GPU


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


def main(config: PretrainConfig) -> None:
    began = time.perf_counter()
    place = choose_place(config.device, config.precision, config.n_embd)
    print(place)
    work = Path(config.output_dir)
    work.mkdir(parents=True, exist_ok=True)
    # 1. Texts into one long row of token ids, kept on disk for the next start.
    tokenizer = prepare_tokens(config.corpus, config.held_out, config.vocab_size, work)
    names = [Path(directory).resolve().name for directory in config.corpus]
    shares = dict(zip(names, config.shares or [1.0] * len(names)))
    texts, held_out = Mixture(work, shares, place.device, config.seed, config.root), held_out_parts(work)
    # 2. A fresh GPT-2, or one that has learned before.
    model = build_model(config, tokenizer).to(place.device)
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters")
    run = torch.compile(model, dynamic=False) if config.compile else model
    if config.minutes:
        config = dataclasses.replace(config, max_steps=steps_that_fit(model, run, config, place, texts, began))
    seen = sum(rows_at(step, config) for step in range(config.max_steps)) * config.n_positions
    print(f"{len(texts.tokens):,} training tokens, of which {seen:,} will be drawn")
    # 3. The loop.
    curve = fit(model, run, config, place, work, texts, held_out)
    # 4. The finished model, in half precision: it is read back into float32.
    model.config = dataclasses.replace(
        model.config, embd_pdrop=config.dropout, attn_pdrop=config.dropout, resid_pdrop=config.dropout
    )
    with atomic_directory(work / "model") as directory:
        model.half().save_pretrained(directory)
        tokenizer.save_pretrained(directory)
        record = {"config": dataclasses.asdict(config), "device": place.device.type, "precision": place.precision}
        record |= {"tokens_seen": seen, "curve": curve}
        if config.start:
            record["before"] = json.loads((Path(config.start) / "pretraining.json").read_text(encoding="utf-8"))
        (directory / "pretraining.json").write_text(json.dumps(record, indent=1) + "\n")
    print(f"written to {work / 'model'}")


def build_model(config: PretrainConfig, tokenizer: Tokenizer) -> GPT2LMHeadModel:
    """Without dropout: there is far more to learn than so small a model holds. UsageError for another tokenizer."""
    torch.manual_seed(config.seed)
    none = {"embd_pdrop": 0.0, "attn_pdrop": 0.0, "resid_pdrop": 0.0}
    if config.start:
        entries = [(Path(directory) / "vocab.json").read_bytes() for directory in (config.start, config.output_dir)]
        if entries[0] != entries[1]:
            raise UsageError(f"--start {config.start}: its tokenizer is not that of the tokens in {config.output_dir}")
        return GPT2LMHeadModel.from_pretrained(config.start, **none)
    eos = tokenizer.eos_token_id
    shape = GPT2Config(
        vocab_size=tokenizer.vocab_size, n_positions=config.n_positions, n_embd=config.n_embd, n_layer=config.n_layer,
        n_head=config.n_head, bos_token_id=eos, eos_token_id=eos, pad_token_id=eos, **none,
    )  # fmt: skip
    return GPT2LMHeadModel(shape)


def build_optimizers(model: GPT2LMHeadModel, config: PretrainConfig, place: Place) -> dict[str, torch.optim.Optimizer]:
    """Muon for the matrices inside the blocks, AdamW for embeddings, biases and norms; or AdamW for all."""
    inside = {name: p for name, p in model.transformer.h.named_parameters() if p.dim() == 2}
    matrices = [(p, 3 if name.endswith("c_attn.weight") else 1) for name, p in inside.items()]
    optimizers: dict[str, torch.optim.Optimizer] = {}
    if config.optimizer == "muon":
        dtype = torch.bfloat16 if place.precision == "bf16" else torch.float32
        optimizers["muon"] = Muon(matrices, config.learning_rate, config.weight_decay, dtype=dtype)
    taken = {id(p) for p, _ in matrices} if optimizers else set()
    rest = [p for p in model.parameters() if id(p) not in taken]
    groups = [
        {"params": [p for p in rest if p.dim() == 2], "weight_decay": config.weight_decay},
        {"params": [p for p in rest if p.dim() != 2], "weight_decay": 0.0},
    ]
    # betas as GPT-3 and its followers: the gradients of a young language model move fast
    optimizers["optimizer"] = torch.optim.AdamW(groups, lr=config.learning_rate, betas=(0.9, 0.95), fused=True)
    return optimizers


def steps_that_fit(model, run, config: PretrainConfig, place: Place, texts: Mixture, began: float) -> int:
    """How many steps end `config.minutes` after `began`, evaluation and saving included.

    Measured by steps at a rate of 0, which leave the weights as they are. A run that goes on takes as many as it was
    begun with.
    """
    work = Path(config.output_dir)
    if ckpt.checkpoints(work / "checkpoints"):
        return int(ckpt.find_checkpoint(work)[2]["config"]["max_steps"])
    optimizers, seconds = build_optimizers(model, config, place), []
    for rows in config.batch_size:
        first, done, passed = 0.0, -WARM_UP, 0.0
        while done < TRIED or passed < AT_LEAST:
            loss = train_step(model, run, optimizers, texts.batch(done + WARM_UP, rows, config.n_positions), place, 0.0)
            done += 1
            if done % TRIED == 0:
                loss.item()  # waits for a GPU
                first = first or time.perf_counter()
                passed = time.perf_counter() - first
        seconds.append(passed / done)
    left = 60 * config.minutes - (time.perf_counter() - began)
    steps = int(TRAINED * left * len(seconds) / sum(seconds))
    if steps < 1:
        raise UsageError(f"--minutes {config.minutes}: no step fits; a start and {TRIED} trials took longer")
    print(f"{steps:,} steps of {', '.join(f'{1e3 * s:.1f}' for s in seconds)} ms fit into {config.minutes} minutes")
    return steps


def train_step(model, run, optimizers, rows: torch.Tensor, place: Place, rate: float) -> torch.Tensor:
    """One step on rows (B, T) by `run`, the model as it is or compiled; the loss () is not waited for."""
    model.train()
    with place.autocast():
        loss = run(rows, labels=rows).loss
    loss.backward()
    clip_gradients(model, 1.0)
    for optimizer in optimizers.values():
        set_learning_rate(optimizer, rate)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    return loss.detach()


def fit(
    model: GPT2LMHeadModel, run, config: PretrainConfig, place: Place, work: Path, texts: Mixture,
    held_out: list[HeldOut],
) -> list[dict]:  # fmt: skip
    """Next-token training; returns the curve of losses and bits a byte."""
    parameters, optimizers = dict(model.named_parameters()), build_optimizers(model, config, place)
    first, curve = resume(work, optimizers, parameters, config, place)
    began, tokens, smooth = time.perf_counter(), 0, math.nan
    losses, since = torch.zeros((), device=place.device), 0  # summed since the last look
    bar = tqdm(range(first, config.max_steps), initial=first, total=config.max_steps, disable=None, unit="step")
    for step in bar:
        rows = texts.batch(step, rows_at(step, config), config.n_positions)
        losses += train_step(model, run, optimizers, rows, place, learning_rate_at(step, config))
        tokens += rows.numel()
        done, last = step + 1, step + 1 == config.max_steps
        since += 1
        if last or done % LOOK == 0 or done % config.eval_steps == 0:
            smooth, losses, since = losses.item() / since, torch.zeros_like(losses), 0
            bar.set_postfix(loss=f"{smooth:.3f}")
        if last or done % config.eval_steps == 0:
            seconds = time.perf_counter() - began
            bits = {part.corpus: bits_per_byte(model, part, place, 512 if last else 64) for part in held_out}
            curve.append({"step": done, "train_loss": smooth, "bits_per_byte": bits})
            parts = ", ".join(f"{name} {value:.3f}" for name, value in bits.items())
            tqdm.write(f"step {done}: loss {smooth:.3f}; bits a byte: {parts}; {tokens / seconds:,.0f} tokens/s")
            save(work, done, curve, optimizers, parameters, config, place)
    return curve


def rows_at(step: int, config: PretrainConfig) -> int:
    """Small batches first, while the gradients still agree; larger ones later, when they are mostly noise."""
    return config.batch_size[step * len(config.batch_size) // config.max_steps]


def learning_rate_at(step: int, config: PretrainConfig) -> float:
    """Linear warm-up, the peak, and a linear cooldown to 0 (Hägele et al. 2024, arXiv 2405.18392)."""
    left = (config.max_steps - step) / max(1.0, config.cooldown * config.max_steps)
    return config.learning_rate * min(1.0, (step + 1) / max(1, config.warmup_steps), left)


def save(work: Path, step: int, curve: list[dict], optimizers, parameters, config: PretrainConfig, place: Place):
    tensors = {name: ckpt.optimizer_tensors(optimizer, parameters) for name, optimizer in optimizers.items()}
    tensors |= {"trainable": parameters, "rng": ckpt.random_state(place.device)}
    state = {"config": dataclasses.asdict(config), "curve": curve}
    ckpt.save_checkpoint(work / "checkpoints", step, tensors, state)
    ckpt.prune_checkpoints(work / "checkpoints", 2, None)


def resume(work: Path, optimizers, parameters, config: PretrainConfig, place: Place) -> tuple[int, list[dict]]:
    """(steps done, curve so far); raises UsageError for a checkpoint of other settings."""
    if not ckpt.checkpoints(work / "checkpoints"):
        return 0, []
    path, tensors, state, _ = ckpt.find_checkpoint(work)
    free = {"compile", "eval_steps", "corpus", "output_dir", "dropout", "device", "precision"}
    now = json.loads(json.dumps(dataclasses.asdict(config)))  # as it was written: JSON has no tuples
    changed = {k for k, v in now.items() if state["config"].get(k) != v} - free
    if changed:
        raise UsageError(f"{path}: has other settings ({', '.join(sorted(changed))}); give another --output_dir")
    ckpt.restore_parameters(parameters, tensors["trainable"])
    for name, optimizer in optimizers.items():
        ckpt.restore_optimizer(optimizer, parameters, tensors[name])
    ckpt.restore_random_state(tensors["rng"], place.device)
    print(f"going on from {path}")
    return int(path.name.removeprefix("step-")), state["curve"]


def bits_per_byte(model: GPT2LMHeadModel, part: HeldOut, place: Place, windows: int | None = None) -> float:
    """The model's loss on held-out text: what a byte costs, in bits, over `windows` windows (None: all)."""
    return part.bits_per_byte(evaluate(model, part.tokens, place, windows))


@torch.no_grad()
def evaluate(model: GPT2LMHeadModel, tokens: torch.Tensor, place: Place, windows: int | None = None) -> float:
    """Mean loss in nats a token over `windows` held-out windows of the context's length, evenly spaced (None: all)."""
    model.eval()
    length = min(model.config.n_positions, len(tokens))
    rows = tokens[: len(tokens) // length * length].view(-1, length)
    if windows and windows < len(rows):
        rows = rows[torch.linspace(0, len(rows) - 1, windows).long()]
    with place.autocast():
        losses = [model(r, labels=r).loss * len(r) for r in rows.to(place.device).split(32)]
    return torch.stack(losses).sum().item() / len(rows)


if __name__ == "__main__":
    words = {"prog": "scripts/pretrain_base.py", "description": __doc__.split("\n\n")[0]}
    sys.exit(run_door(lambda: main(parse(PretrainConfig, sys.argv[1:], **words))))
