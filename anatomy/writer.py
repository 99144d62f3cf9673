"""A writer looked at: what each kind of token costs it, and what it writes as it learns."""

import dataclasses
import os
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

import data
import gpt2
from anatomy.opened import Opened
from anatomy.texts import tokens
from tasks.language import SAMPLE_SEED, SAMPLE_TOKENS, Windows
from tasks.settings import locate
from training.errors import UsageError
from training.fingerprint import same_fingerprint

MOST = 20_000  # target tokens that are looked at
KINDS = ("word start", "inside a word", "number", "punctuation", "blank", "end of text", "other")
AT_ONCE = 4_000_000  # logits in memory: rows times vocabulary


def recorded_windows(opened: Opened) -> Windows:
    """The texts that were learned from, divided as then. Raises DataError, StateError and UsageError, as
    `tasks.evaluate.recorded_rows` does for rows with labels."""
    record = opened.record
    if record is None:
        raise UsageError("there is no task.json, so its texts are not known")
    source = record.source()
    named = {name: getattr(source, name, None) for name in ("name", "validation_dataset", "test_dataset")}
    named = {name: locate(value) for name, value in named.items() if value is not None}
    for value in named.values():
        if not os.path.exists(value):  # a name in a file opens what is here and nothing else
            raise data.DataError(f"task.json: its texts, {value[:200]!r}, are not here")
    source = dataclasses.replace(source, **named)
    documents = data.load_documents(source, data.TextRule(**record.text_rule), record.dataset.get("only_label"))
    if not same_fingerprint(record.dataset["fingerprint"], documents.fingerprint()):
        raise data.DataError(f"{source.name}: its texts have changed since training, and so has the test part")
    documents, split = data.split_documents(documents, **record.split)
    seen = data.count_seen(documents, split)
    return Windows.of(documents, split, seen, opened.tokenizer, opened.max_length)


def by_kind(opened: Opened, windows: Windows, notes: list[str]) -> dict[str, Any]:
    """Nats a token of the test texts, by kind of token, of base and tuned model."""
    chosen, targets = [], 0
    for window in windows.of_part("test"):
        if targets < MOST:
            chosen.append(window)
            targets += len(window.targets)
    if len(chosen) < len(windows.of_part("test")):
        notes.append(f"nats by kind of token are those of the first {targets:,} tokens of the test part")
    kinds = [kind for window in chosen for kind in kinds_of(opened, window.ids)[window.first_target - 1 :]]
    costs = {"tuned": _costs(opened, opened.model, chosen)}
    try:
        with opened.untrained() as base:
            costs["base"] = _costs(opened, base, chosen)
    except ValueError as error:
        notes.append(f"no base beside the tuned model: {error}")
    rows = []
    for kind in KINDS:
        at = torch.tensor([i for i, other in enumerate(kinds) if other == kind], dtype=torch.long)
        if len(at):
            rows.append({"kind": kind, "tokens": len(at)} | {n: float(c[at].mean()) for n, c in costs.items()})
    return {"kinds": rows, "nats": {name: float(cost.mean()) for name, cost in costs.items()}, "tokens": targets}


def _costs(opened: Opened, model: Any, windows: Sequence[data.Window]) -> Tensor:
    """Nats of each target token of the windows, in their order, float64."""
    costs: list[Tensor | None] = [None] * len(windows)
    per_batch = max(1, AT_ONCE // model.config.vocab_size // max(len(window.ids) for window in windows))
    for numbers in data.by_length([window.ids for window in windows], per_batch):
        batch = data.collate([windows[i].ids for i in numbers], 0)
        nats = token_nats(opened, model, batch.input_ids, batch.attention_mask)
        for row, i in enumerate(numbers):
            costs[i] = nats[row, windows[i].first_target - 1 : len(windows[i].ids) - 1]
    return torch.cat(costs).double()


@torch.inference_mode()
def token_nats(opened: Opened, model: Any, ids: Tensor, mask: Tensor | None = None) -> Tensor:
    """(B, T) ids -> (B, T - 1): what each token but the first costs after those before it."""
    ids = ids.to(opened.place.device)
    with opened.place.autocast():
        logits = model(ids, mask).logits[:, :-1].float()
    return -logits.log_softmax(dim=-1).gather(2, ids[:, 1:, None])[..., 0].cpu()


def kinds_of(opened: Opened, ids: Sequence[int]) -> list[str]:
    """Which of KINDS each token but the first is."""
    end = opened.tokenizer.eos_token_id
    texts = ["" if token == end else opened.tokenizer.token_bytes(token).decode(errors="replace") for token in ids]
    return ["end of text" if token == end else kind_of(*pair) for token, pair in zip(ids[1:], pairwise(texts))]


def kind_of(before: str, text: str) -> str:
    """Of a token by what stands in it, and whether its letters go on from those of the one before."""
    bare = text.strip()
    if not bare:
        return "blank"
    if bare[0].isalpha():
        return "inside a word" if text[0].isalpha() and before[-1:].isalpha() else "word start"
    if bare[0].isdigit():
        return "number"
    return "punctuation" if bare[0].isascii() else "other"


def text_costs(opened: Opened, text: str, notes: list[str]) -> dict[str, Any]:
    """The contract's "text" of a writer: nats of each token, of base and tuned model; the end token before the first
    costs nothing."""
    ids, cut = opened.encode(text)
    row = torch.tensor([ids])
    found = {"text": text, "cut": cut, "bytes": len(text.encode()), "tokens": tokens(opened, ids[1:])}
    found["tuned"] = token_nats(opened, opened.model, row)[0].tolist()
    try:
        with opened.untrained() as base:
            found["base"] = token_nats(opened, base, row)[0].tolist()
    except ValueError as error:
        notes.append(f"no base beside the tuned model: {error}")
    return found


def samples(opened: Opened) -> list[dict[str, Any]]:
    """What the model writes at each kept step, with the same seed each time."""
    rows = []
    for step in opened.steps:
        with opened.at(opened.snapshot(step)):
            rows.append({"step": step, "text": write(opened, "")})
    return rows or [{"step": opened.kept_step, "text": write(opened, "")}]


def write(opened: Opened, prompt: str, seed: int = SAMPLE_SEED, most: int = SAMPLE_TOKENS) -> str:
    """What goes on from the prompt, or from the end of one that is too long; "" where the text ends at once."""
    ids, _ = opened.prompt(prompt, most)
    room = opened.model.config.n_positions - len(ids)
    how = gpt2.GenerationConfig(max_new_tokens=min(most, room), do_sample=True, temperature=0.8, top_k=40)
    with opened.place.autocast():
        row = torch.tensor([ids], device=opened.place.device)
        written = gpt2.generate_ids(opened.model, row, how, seed=seed)[0, len(ids) :].tolist()
    end = opened.tokenizer.eos_token_id
    return opened.tokenizer.decode(written[: written.index(end)] if end in written else written)
