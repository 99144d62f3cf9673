"""Write with what `train.py --task language` has learned, and see the base model beside the tuned one.

`load_writer` is the one place that puts base, adapter and tokenizer together for writing.
"""

import contextlib
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

import gpt2
import lora
from tasks.model import put_on
from tasks.product import load_product
from tasks.record import TaskRecord
from tasks.settings import locate
from training.device import DEVICES, PRECISIONS, Place, choose_place
from training.errors import UsageError, run_door
from training.settings import check_range, option, parse

EXAMPLES = """examples:
  python generate.py --adapter runs/write "See you"
  python generate.py --adapter runs/write --temperature 0.7 "See you"
  python generate.py --adapter runs/write --greedy --compare "See you"
  cat prompt.txt | python generate.py --adapter runs/write -"""
NOT_CLEAR = "\N{REPLACEMENT CHARACTER}"  # what bytes decode to that are no character, or none as yet


@dataclass(frozen=True)
class GenerateConfig:
    prompts: tuple[str, ...] = option(
        (), "what to go on from; none: a new text; -: standard input", group="what", positional=True
    )
    adapter: str | None = option(None, "directory of an adapter, of a trained model, or of a run", group="model")
    model: str | None = option(None, "the base, where it is not found by itself; alone: the base writes", group="model")
    merge: bool = option(False, "fold the adapter into the weights first", group="model")
    compare: bool = option(False, "what the base writes beside what the tuned model writes", group="what")
    max_new_tokens: int = option(64, "tokens to write at most", group="writing")
    greedy: bool = option(False, "always the likeliest token; otherwise they are drawn", group="writing")
    temperature: float = option(1.0, "below 1 the likely gets likelier", group="writing")
    top_k: int | None = option(None, "only the k likeliest tokens", group="writing")
    top_p: float | None = option(0.95, "only the likeliest that together have this probability", group="writing")
    repetition_penalty: float = option(1.0, "above 1: what has been said gets less likely", group="writing")
    num_return_sequences: int = option(1, "texts for each prompt, written at once", group="writing")
    seed: int = option(0, "of the draws", group="writing")
    device: str = option("auto", "where to compute", group="machine", choices=DEVICES)
    precision: str = option("fp32", "of the matrix products", group="machine", choices=PRECISIONS)
    fast: bool | None = option(None, "fast form of the layers; default: where it was tried", group="machine")

    def __post_init__(self) -> None:
        check_range(self, ("max_new_tokens", "num_return_sequences", "top_k"), 1)
        check_range(self, ("seed",), 0)
        self.how()

    def how(self) -> gpt2.GenerationConfig:
        """The settings of the writing; raises UsageError for one that makes no sense."""
        drawn = {"temperature": self.temperature, "top_k": self.top_k, "top_p": self.top_p}
        if self.greedy and (self.temperature, self.top_k, self.top_p) != (1.0, None, 0.95):
            raise UsageError("--greedy draws nothing; leave out --temperature, --top_k and --top_p")
        if self.greedy and self.num_return_sequences > 1:
            raise UsageError("--greedy gives one text for a prompt; leave out --num_return_sequences")
        try:
            return gpt2.GenerationConfig(
                max_new_tokens=self.max_new_tokens, repetition_penalty=self.repetition_penalty,
                do_sample=not self.greedy, num_return_sequences=self.num_return_sequences,
                **({} if self.greedy else drawn),
            )  # fmt: skip
        except ValueError as error:
            raise UsageError(f"--{error}") from None


@dataclass(frozen=True)
class Writer:
    """A tuned model and all it needs to write: `"".join(writer.pieces("See you", how))`."""

    model: torch.nn.Module
    tokenizer: gpt2.Tokenizer
    place: Place
    base: Callable[[], contextlib.AbstractContextManager[Any]]  # within it, the model is the untrained one
    record: TaskRecord | None
    is_adapter: bool  # else its weights are those of a whole model, and the untrained ones are not there

    def start(self, prompt: str, how: gpt2.GenerationConfig, seed: int = 0) -> gpt2.Generation:
        """The writing, not begun. A text starts with the end token, as in training; raises UsageError for no room."""
        try:
            prompt.encode()
        except UnicodeEncodeError:
            raise UsageError("the prompt holds bytes that are not UTF-8 and so are no text") from None
        ids = [self.tokenizer.eos_token_id, *self.tokenizer.encode(prompt)]
        most = self.model.config.n_positions
        if len(ids) >= most:
            raise UsageError(f"the prompt has {len(ids):,} tokens, the model {most:,} positions; give a shorter one")
        return gpt2.generate(self.model, torch.tensor([ids], device=self.place.device), how, seed=seed)

    def pieces(self, prompt: str, how: gpt2.GenerationConfig, seed: int = 0) -> Iterator[str]:
        """One text, piece by piece as it is written; what is not a whole character yet is kept back."""
        return self.stream(self.start(prompt, how, seed))

    def stream(self, writing: gpt2.Generation) -> Iterator[str]:
        written: list[int] = []
        told = ""
        with self.place.autocast():
            for tokens in writing:
                if int(tokens[0]) == self.tokenizer.eos_token_id:
                    break
                written.append(int(tokens[0]))
                text = self.tokenizer.decode(written)
                if not text.endswith(NOT_CLEAR):
                    yield text.removeprefix(told)
                    told = text
        yield self.tokenizer.decode(written).removeprefix(told)

    def texts(self, writing: gpt2.Generation) -> list[str]:
        """All texts, when they are written."""
        first, end = writing.length, self.tokenizer.eos_token_id
        with self.place.autocast():
            for _ in writing:
                pass
        rows = writing.ids[:, first:].tolist()
        return [self.tokenizer.decode(row[: row.index(end)] if end in row else row) for row in rows]


def load_writer(
    adapter: str | Path | None,
    model: str | Path | None = None,
    device: str = "auto",
    precision: str = "fp32",
    fast: bool | None = None,
    merge: bool = False,
) -> Writer:
    """A Writer from an adapter (ours or peft's), a trained model, a run that holds one of them, or `model` alone.

    Where the base is found, and what is refused: `tasks.product.load_product`. Raises ValueErrors.
    """
    base = None if model is None else locate(str(model))
    product = load_product(adapter or gpt2.resolve_model(base), base, "language")
    place = choose_place(device, precision, product.model.config.n_embd, fast)
    network = product.model.requires_grad_(False)
    if merge and product.is_adapter:
        network = lora.merge_and_unload(network)
    put_on(network, place)
    tokenizer = gpt2.Tokenizer.from_pretrained(product.home)
    # With this token train.py has ended each text, whatever the base's config.json names.
    network.config = network.config.replace(eos_token_id=tokenizer.eos_token_id)
    return Writer(network, tokenizer, place, product.base, product.record, product.is_adapter)


def main(config: GenerateConfig) -> None:
    if config.adapter is None and config.model is None:
        raise UsageError("--adapter DIRECTORY is needed, e.g. --adapter runs/write (see generate.py --help)")
    if config.compare and config.merge:
        raise UsageError("--compare needs the base, which --merge folds away; leave out one of the two")
    how = config.how()
    prompts = prompts_of(config)
    choose_place(config.device, config.precision)  # a wrong flag is told before anything is loaded
    writer = load_writer(config.adapter, config.model, config.device, config.precision, config.fast, config.merge)
    if config.compare and not writer.is_adapter:
        raise UsageError("--compare: this is a whole model, and its base is not beside it; give an adapter")
    for prompt in prompts:
        if config.compare:
            with writer.base():
                show(writer, prompt, how, config.seed, "base:  ")
            show(writer, prompt, how, config.seed, "tuned: ")
        else:
            show(writer, prompt, how, config.seed, "")


def prompts_of(config: GenerateConfig) -> list[str]:
    given = config.prompts or ("",)
    try:
        return [sys.stdin.read().removesuffix("\n") if prompt == "-" else prompt for prompt in given]
    except UnicodeDecodeError as error:
        raise UsageError(f"standard input: byte {error.start + 1} is not {error.encoding}") from None


def show(writer: Writer, prompt: str, how: gpt2.GenerationConfig, seed: int, head: str) -> None:
    """Prompt and text; one text is shown as it comes where somebody watches. Why it ended early goes to stderr."""
    writing = writer.start(prompt, how, seed)
    if how.num_return_sequences == 1:
        print(f"{head}{prompt}", end="", flush=True)
        for piece in writer.stream(writing):
            print(piece, end="", flush=sys.stdout.isatty())
        print(flush=True)
    else:
        for text in writer.texts(writing):
            print(f"{head}{prompt}{text}", flush=True)
    if writing.ended == "n_positions":
        most = writer.model.config.n_positions
        print(f"stopped at the model's last position: prompt and text are {most:,} tokens", file=sys.stderr)


if __name__ == "__main__":
    about = {"prog": "generate.py", "description": __doc__.split("\n\n")[0], "epilog": EXAMPLES}
    lighter = "a smaller --num_return_sequences or --max_new_tokens"
    sys.exit(run_door(lambda: main(parse(GenerateConfig, sys.argv[1:], **about)), lighter=lighter))
