"""Which base a model is: what an adapter was trained on, in a line that task.json keeps."""

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gpt2.tokenizer import read_merges, read_vocab

_TIED = "lm_head.weight"
# Of config.json what takes part in the numbers, in training or after it. Labels, padding and end token are the task's.
_COMPUTING = (
    "vocab_size", "n_positions", "n_embd", "n_layer", "n_head", "inner_size", "layer_norm_epsilon",
    "resid_pdrop", "embd_pdrop", "attn_pdrop", "initializer_range",
)  # fmt: skip


def fingerprint(tensors: dict[str, Tensor]) -> str:
    """sha256 over the tensors of a base (names, shapes, values as float32), whatever class or file they came in.

    The head is left out: it belongs to the task, not to the base.
    """
    digest = hashlib.sha256()
    bare = {name.removeprefix("transformer."): t for name, t in tensors.items() if name not in (_TIED, "score.weight")}
    for name in sorted(bare):
        tensor = bare[name].detach().to("cpu", torch.float32).contiguous()
        digest.update(f"{name} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.view(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def base_fingerprint(model: nn.Module, directory: Path) -> str:
    """`2:`, the fingerprint of the tensors, `:`, and that of what computes with them: config.json and the tokenizer.

    The same weights with another n_head, or with two words of the vocabulary changed over, are another base. Tokenizer
    files count by what they say, not by their bytes. Before `2:` there was the first part alone.
    """
    computing = [float(getattr(model.config, name)) for name in _COMPUTING]
    beside = hashlib.sha256(json.dumps([computing, *_tokenizer_of(directory)]).encode()).hexdigest()
    return f"2:{fingerprint(model.state_dict())}:{beside}"


def _tokenizer_of(directory: Path) -> list[Any]:
    """The tokens in the order of their ids, and the merges; nothing for a model that never met a text."""
    if not (directory / "vocab.json").exists():
        return []
    vocab = read_vocab(directory / "vocab.json")
    return [sorted(vocab, key=vocab.__getitem__), read_merges(directory / "merges.txt", vocab)]
