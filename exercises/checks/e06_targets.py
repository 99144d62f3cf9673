"""Exercise 6: the names of a real GPT-2, beside names made to be confused with them."""

from collections.abc import Callable

import gpt2
from exercises.judge import compare

TITLE = "Which layers target_modules names"
CHAPTER = "docs/05-wrapping.md"
HINT = 'name == target or name.endswith("." + target), for any target; one pass over names keeps their order.'
SEE = "lora/targets.py, _find_targets"


def right(names: list[str], targets: list[str]) -> list[str]:
    parts = [name.split(".") for name in names]
    wanted = [target.split(".") for target in targets]
    return [name for name, own in zip(names, parts) if any(own[-len(t) :] == t for t in wanted)]


MISTAKES = {
    "you look for the target anywhere in the name: `c_attn` is in `c_attn_norm` too": lambda names, targets: [
        name for name in names if any(target in name for target in targets)
    ],
    "the dot is missing: `my_c_proj` ends in `c_proj` as well, and is another layer": lambda names, targets: [
        name for name in names if any(name.endswith(target) for target in targets)
    ],
    "you compare the last part only: a target such as `mlp.c_proj` has two": lambda names, targets: [
        name for name in names if name.split(".")[-1] in targets
    ],
    "you compare whole names only: a target is mostly the end of a name": lambda names, targets: [
        name for name in names if name in targets
    ],
    "a name that is the target itself counts too: `score` has no dot before it": lambda names, targets: [
        name for name in names if any(name.endswith(f".{target}") for target in targets)
    ],
    "you compare any part of the name: `attn` would take in `attn.c_proj`": lambda names, targets: [
        name for name in names if any(f".{target}." in f".{name}." for target in targets)
    ],
    "the order is that of the targets: it must be that of the names": lambda names, targets: list(
        dict.fromkeys(name for target in targets for name in right(names, [target]))
    ),
    "a name that two targets match is there twice": lambda names, targets: [
        name for name in names for target in targets if right([name], [target])
    ],
    "a name that two targets match is there twice, and in the order of the targets": lambda names, targets: [
        name for target in targets for name in right(names, [target])
    ],
    "only the first target is looked at": lambda names, targets: right(names, targets[:1]),
}


def check(matching: Callable) -> None:
    small = gpt2.GPT2Config(n_layer=2, n_embd=8, n_head=2, vocab_size=10, n_positions=8)
    names = [name for name, _ in gpt2.GPT2ForSequenceClassification(small).named_modules() if name]
    odd = ["score", "my_score", "h.0.c_attn_norm", "h.0.my_c_proj", "h.0.c_proj.inner", "c_proj"]
    model = "the names in a GPT-2 of two blocks"
    cases = {
        f'matching({model}, ["c_attn", "c_proj"])': (names, ["c_attn", "c_proj"]),
        f'matching({model}, ["mlp.c_proj", "attn"])': (names, ["mlp.c_proj", "attn"]),
        f'matching({model}, ["score", "c_proj", "attn.c_proj"])': (names, ["score", "c_proj", "attn.c_proj"]),
        f'matching({odd}, ["c_attn", "c_proj", "score"])': (odd, ["c_attn", "c_proj", "score"]),
        f"matching({model}, [])": (names, []),
    }
    compare(matching, right, cases, MISTAKES)
