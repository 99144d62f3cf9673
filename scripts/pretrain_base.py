"""Pretrain the small base model that ships in assets/gpt2-tiny: next-token prediction on plain text files.

    python scripts/pretrain_base.py --corpus BOOKS --output_dir work/base

BOOKS is a directory of .txt files, one paragraph a line, documents separated by a line `<|endoftext|>`. An interrupted
run goes on from its last checkpoint when the same command is given again. Nothing of the texts ends up in the model
directory except what the weights and the tokenizer have learned.
"""

import dataclasses
import json
import math
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tokenizers
import torch
from tqdm import tqdm

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from gpt2 import GPT2Config, GPT2LMHeadModel, Tokenizer  # noqa: E402
from training import checkpoint as ckpt  # noqa: E402
from training.device import DEVICES, PRECISIONS, Place, choose_place  # noqa: E402
from training.errors import UsageError, run_door  # noqa: E402
from training.files import atomic_directory  # noqa: E402
from training.optimization import build_optimizer, clip_gradients, learning_rate_at, set_learning_rate  # noqa: E402
from training.settings import option, parse  # noqa: E402

SEPARATOR = "<|endoftext|>"


@dataclass(frozen=True)
class PretrainConfig:
    corpus: str = option("", "directory of .txt files to learn from", group="texts")
    output_dir: str = option("work/base", "where tokens, checkpoints and the finished model go", group="texts")
    held_out: int = option(50, "every n-th document is kept for evaluation", group="texts")
    vocab_size: int = option(4096, "entries of the byte-level BPE", group="model")
    n_embd: int = option(256, "width", group="model")
    n_layer: int = option(4, "blocks", group="model")
    n_head: int = option(4, "heads per block", group="model")
    n_positions: int = option(256, "context, in tokens", group="model")
    batch_size: int = option(32, "rows of n_positions tokens per step", group="training")
    max_steps: int = option(2400, "optimizer steps", group="training")
    learning_rate: float = option(2e-3, "peak of the cosine", group="training", short="lr")
    warmup_steps: float = option(100.0, "linear warm-up", group="training")
    weight_decay: float = option(0.1, "AdamW's", group="training")
    seed: int = option(0, "initial weights and order of rows", group="training")
    eval_steps: int = option(200, "evaluate and save a checkpoint every so many steps", group="training")
    compile: bool = option(False, "torch.compile the model (needs a C++ compiler on a CPU)", group="machine")
    device: str = option("auto", "where to compute", group="machine", choices=DEVICES)
    precision: str = option("auto", "of the matrix products", group="machine", choices=PRECISIONS[:-1])


def main(config: PretrainConfig) -> None:
    place = choose_place(config.device, config.precision)
    print(place)
    work = Path(config.output_dir)
    work.mkdir(parents=True, exist_ok=True)
    # 1. Texts into one long row of token ids, kept on disk for the next start.
    tokenizer = prepare_tokens(config, work)
    train = np.load(work / "train.npy", mmap_mode="r")
    test = torch.from_numpy(np.load(work / "test.npy").astype(np.int64))
    seen = config.max_steps * config.batch_size * config.n_positions
    print(f"{len(train):,} training tokens, {len(test):,} held out; {seen:,} to be seen")
    # 2. A fresh GPT-2.
    model = build_model(config, tokenizer).to(place.device)
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters")
    # 3. The loop.
    curve = fit(model, config, place, work, train, test)
    # 4. The finished model, in half precision: it is read back into float32.
    with atomic_directory(work / "model") as directory:
        model.half().save_pretrained(directory)
        tokenizer.save_pretrained(directory)
        record = {"config": dataclasses.asdict(config), "tokens_seen": seen, "curve": curve}
        (directory / "pretraining.json").write_text(json.dumps(record, indent=1) + "\n")
    print(f"written to {work / 'model'}")


def build_model(config: PretrainConfig, tokenizer: Tokenizer) -> GPT2LMHeadModel:
    """Without dropout: each token is seen about once, there is nothing to overfit."""
    torch.manual_seed(config.seed)
    eos = tokenizer.eos_token_id
    shape = GPT2Config(
        vocab_size=tokenizer.vocab_size, n_positions=config.n_positions, n_embd=config.n_embd, n_layer=config.n_layer,
        n_head=config.n_head, bos_token_id=eos, eos_token_id=eos, pad_token_id=eos,
        embd_pdrop=0.0, attn_pdrop=0.0, resid_pdrop=0.0,
    )  # fmt: skip
    return GPT2LMHeadModel(shape)


def fit(
    model: GPT2LMHeadModel, config: PretrainConfig, place: Place, work: Path, train: np.ndarray, test: torch.Tensor
) -> list[dict]:
    """Next-token training with a cosine; returns the curve of losses and bits per byte."""
    test_bytes = json.loads((work / "tokens.json").read_text())["test_bytes"]
    parameters = dict(model.named_parameters())
    optimizer = build_optimizer(model, config.learning_rate, config.weight_decay)
    for group in optimizer.param_groups:
        group["betas"] = (0.9, 0.95)  # as GPT-3 and its followers: the gradients of a young language model move fast
    first, curve = resume(work, optimizer, parameters, config, place)
    run = torch.compile(model) if config.compile else model
    schedule = {"peak": config.learning_rate, "schedule": "cosine", "warmup_steps": config.warmup_steps}
    began, smooth = time.perf_counter(), None
    bar = tqdm(range(first, config.max_steps), initial=first, total=config.max_steps, disable=None, unit="step")
    for step in bar:
        set_learning_rate(optimizer, learning_rate_at(step, config.max_steps, **schedule))
        rows = batch(train, step, config).to(place.device)
        model.train()
        with place.autocast():
            loss = run(rows, labels=rows).loss
        loss.backward()
        clip_gradients(model, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        smooth = loss.item() if smooth is None else 0.98 * smooth + 0.02 * loss.item()
        bar.set_postfix(loss=f"{smooth:.3f}")
        done, last = step + 1, step + 1 == config.max_steps
        if last or done % config.eval_steps == 0:
            nats = evaluate(model, test, place, windows=None if last else 256)
            bits = nats * len(test) / math.log(2) / test_bytes
            speed = (done - first) * config.batch_size * config.n_positions / (time.perf_counter() - began)
            curve.append({"step": done, "train_loss": smooth, "held_out_loss": nats, "bits_per_byte": bits})
            tqdm.write(
                f"step {done}: loss {smooth:.3f}, held out {nats:.3f} ({bits:.3f} bits a byte), {speed:,.0f} tokens/s"
            )
            save(work, done, curve, optimizer, parameters, config, place)
    return curve


def save(work: Path, step: int, curve: list[dict], optimizer, parameters, config: PretrainConfig, place: Place) -> None:
    tensors = ckpt.training_tensors(parameters, optimizer, place.device)
    ckpt.save_checkpoint(work / "checkpoints", step, tensors, {"config": dataclasses.asdict(config), "curve": curve})
    ckpt.prune_checkpoints(work / "checkpoints", 2, None)


def resume(work: Path, optimizer, parameters, config: PretrainConfig, place: Place) -> tuple[int, list[dict]]:
    """(steps done, curve so far); raises UsageError for a checkpoint of other settings."""
    if not ckpt.checkpoints(work / "checkpoints"):
        return 0, []
    path, tensors, state, _ = ckpt.find_checkpoint(work)
    free = {"compile", "eval_steps", "corpus", "device", "precision"}
    changed = {k for k, v in dataclasses.asdict(config).items() if state["config"].get(k) != v} - free
    if changed:
        raise UsageError(f"{path}: has other settings ({', '.join(sorted(changed))}); give another --output_dir")
    ckpt.restore_training(tensors, parameters, optimizer, place.device)
    print(f"going on from {path}")
    return int(path.name.removeprefix("step-")), state["curve"]


def prepare_tokens(config: PretrainConfig, work: Path) -> Tokenizer:
    """Train the BPE and encode the corpus once; a later start with the same files finds both on disk."""
    if (work / "tokens.json").is_file():
        return Tokenizer(work)
    train, test = divide(read_documents(config.corpus), config.held_out)
    bpe = tokenizers.ByteLevelBPETokenizer()
    bpe.train_from_iterator(train, vocab_size=config.vocab_size, special_tokens=[SEPARATOR])
    bpe.save_model(str(work))
    tokenizer = Tokenizer(work)
    for name, part in (("test", test), ("train", train)):
        np.save(work / f"{name}.npy", encode_documents(tokenizer, part, name))
    sizes = {"test_bytes": sum(len(d.encode()) for d in test), "documents": len(train) + len(test)}
    (work / "tokens.json").write_text(json.dumps(sizes))
    return tokenizer


def read_documents(corpus: str) -> list[str]:
    """All documents of the .txt files in a directory; raises UsageError where there are none."""
    files = sorted(Path(corpus).glob("*.txt"))
    if not corpus or not files:
        raise UsageError(f"--corpus {corpus or '(not given)'}: no .txt files there")
    return [d.strip() for f in files for d in f.read_text(encoding="utf-8").split(f"\n{SEPARATOR}\n") if d.strip()]


def divide(documents: list[str], held_out: int) -> tuple[list[str], list[str]]:
    """(training, held-out) documents; every `held_out`-th is held out, whole, so that no book is on both sides."""
    return [d for i, d in enumerate(documents) if i % held_out], documents[::held_out]


def encode_documents(tokenizer: Tokenizer, documents: list[str], name: str) -> np.ndarray:
    """One long row of token ids, an end-of-text token after each document."""
    bar = tqdm(documents, desc=f"tokens of {name}", disable=None)
    ids = [np.array([*tokenizer.encode(d), tokenizer.eos_token_id], dtype=np.uint16) for d in bar]
    return np.concatenate(ids)


def batch(tokens: np.ndarray, step: int, config: PretrainConfig) -> torch.Tensor:
    """Rows at random offsets, a pure function of (seed, step): a resumed run sees what it would have seen."""
    offsets = np.random.default_rng([config.seed, step]).integers(
        0, len(tokens) - config.n_positions, config.batch_size
    )
    rows = np.stack([tokens[o : o + config.n_positions] for o in offsets]).astype(np.int64)
    return torch.from_numpy(rows)


@torch.no_grad()
def evaluate(model: GPT2LMHeadModel, tokens: torch.Tensor, place: Place, windows: int | None = None) -> float:
    """Mean loss in nats a token over `windows` held-out windows of the context's length, evenly spaced (None: all)."""
    model.eval()
    length = model.config.n_positions
    rows = tokens[: len(tokens) // length * length].view(-1, length)
    rows = rows[:: max(1, len(rows) // windows)] if windows else rows
    losses = [model(r, labels=r).loss.item() * len(r) for r in rows.to(place.device).split(64)]
    return sum(losses) / len(rows)


if __name__ == "__main__":
    words = {"prog": "scripts/pretrain_base.py", "description": __doc__.split("\n\n")[0]}
    sys.exit(run_door(lambda: main(parse(PretrainConfig, sys.argv[1:], **words))))
