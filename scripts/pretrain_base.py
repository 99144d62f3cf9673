"""Pretrain the small base model that ships in assets/gpt2-tiny: next-token prediction on plain text files.

    python scripts/pretrain_base.py --corpus MODERN BOOKS --shares 0.85 0.15 --output_dir work/base --compile

MODERN and BOOKS are directories as scripts/corpus.py reads them; the loop is train.py's. An interrupted run goes on
from its last checkpoint when the same command is given again. Nothing of the texts ends up in the model directory
except what the weights and the tokenizer have learned.
"""

import dataclasses
import json
import sys
import time
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "scripts")]

from corpus import Mixture, held_out_parts, prepare_tokens  # noqa: E402
from muon import Joined, Muon  # noqa: E402
from pretrain_curve import curve_of  # noqa: E402
from pretrain_scores import HeldOutTexts  # noqa: E402
from pretrain_settings import PretrainConfig, as_begun, identity, loop_settings  # noqa: E402
from pretrain_steps import Steps, learning_rate_at, steps_that_fit  # noqa: E402

import train  # noqa: E402
from gpt2 import GPT2Config, GPT2LMHeadModel, Tokenizer  # noqa: E402
from training.device import Place, choose_place  # noqa: E402
from training.errors import UsageError, run_door  # noqa: E402
from training.files import atomic_directory  # noqa: E402
from training.run import open_run  # noqa: E402
from training.settings import parse  # noqa: E402
from training.state import RunState  # noqa: E402


def main(config: PretrainConfig) -> None:
    began = time.perf_counter()
    work = Path(config.output_dir)
    work.mkdir(parents=True, exist_ok=True)
    config, goes_on = as_begun(config)
    place = choose_place(config.device, config.precision, config.n_embd, fast=False)
    print(place)
    # 1. Texts into one long row of token ids, kept on disk for the next start.
    tokenizer = prepare_tokens(config.corpus, config.held_out, config.vocab_size, work)
    names = [Path(directory).resolve().name for directory in config.corpus]
    shares = dict(zip(names, config.shares or [1.0] * len(names)))
    texts = Mixture(work, shares, place.device, config.seed, config.root)
    # 2. A fresh GPT-2, or one that has learned before.
    model = build_model(config, tokenizer).to(place.device)
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters")
    forward = torch.compile(model, dynamic=False) if config.compile else model
    if config.minutes and not goes_on:
        trial = build_optimizer(model, config, place)
        config = dataclasses.replace(config, max_steps=steps_that_fit(forward, trial, texts, config, place, began))
    # 3. The loop.
    steps, state = Steps(texts, config), RunState(identity(config))
    print(f"{len(texts.tokens):,} training tokens, of which {steps.tokens:,} will be drawn")
    task = HeldOutTexts(held_out_parts(work), state, steps.total)
    optimizer, rate = build_optimizer(model, config, place), lambda n: learning_rate_at(n, config)
    again = "the same command"
    with open_run(str(work), work, place.ranks, resume=True, again=again) as run:
        train.fit(model, optimizer, rate, steps, task, loop_settings(config, goes_on), place, run, state, forward)
        # 4. The finished model, in half precision: it is read back into float32.
        model.config = dataclasses.replace(
            model.config, embd_pdrop=config.dropout, attn_pdrop=config.dropout, resid_pdrop=config.dropout
        )
        with atomic_directory(work / "model") as directory:
            model.half().save_pretrained(directory)
            tokenizer.save_pretrained(directory)
            record = {"config": dataclasses.asdict(config), "device": place.device.type, "precision": place.precision}
            record |= {"tokens_seen": steps.tokens, "curve": curve_of(work)}
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


def build_optimizer(model: GPT2LMHeadModel, config: PretrainConfig, place: Place) -> torch.optim.Optimizer:
    """Muon for the matrices inside the blocks, AdamW for embeddings, biases and norms; or AdamW for all."""
    inside = {} if config.optimizer == "adamw" else dict(model.transformer.h.named_parameters())
    matrices = {p: 3 if name.endswith("c_attn.weight") else 1 for name, p in inside.items() if p.dim() == 2}
    rest = [p for p in model.parameters() if p not in matrices]
    groups = [
        {"params": [p for p in rest if p.dim() == 2], "weight_decay": config.weight_decay},
        {"params": [p for p in rest if p.dim() != 2], "weight_decay": 0.0},
    ]
    # betas as GPT-3 and its followers: the gradients of a young language model move fast
    adamw = torch.optim.AdamW(groups, lr=config.learning_rate, betas=(0.9, 0.95), fused=True)
    dtype = torch.bfloat16 if place.precision == "bf16" else torch.float32
    muon = Muon(list(matrices.items()), config.learning_rate, config.weight_decay, dtype=dtype) if matrices else None
    return Joined(adamw, muon) if muon else adamw


if __name__ == "__main__":
    words = {"prog": "scripts/pretrain_base.py", "description": __doc__.split("\n\n")[0]}
    sys.exit(run_door(lambda: main(parse(PretrainConfig, sys.argv[1:], **words)), lasting=True))
