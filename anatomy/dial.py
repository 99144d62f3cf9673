"""An adapter to turn by hand: another time of its run, a smaller rank, a weaker or stronger update.

    dial = Dial("runs/tiny")
    dial.answer("free prize!", step=dial.steps[3], rank=2, strength=0.5)

Strength scales the update and moves the head between the untrained and the trained one; 0 is the base to the bit. What
was asked last is kept, so that turning costs the answer alone. Threads wait for one another.
"""

import contextlib
import threading
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from anatomy import texts, writer
from anatomy.cuts import cut_weights, spectra_of
from anatomy.opened import ADAPTER, copy_into, open_run
from anatomy.updates import place_of
from tasks.language import SAMPLE_TOKENS
from training.errors import UsageError

STRONGEST = 1.5


class Dial:
    """A run of --train lora, or an adapter alone, which has one time only. Raises UsageError for whole weights."""

    def __init__(self, run: str | Path, device: str = "cpu", model: str | Path | None = None):
        self.opened = opened = open_run(run, model, device)
        if opened.base is None:
            raise UsageError(f"{run}: is a whole model, which has no adapter to turn; give a run of --train lora")
        self.task, self.config = opened.task, opened.model.peft_config[ADAPTER]
        self.label_names = opened.classifier.label_names if opened.classifier else []
        known = opened.kept_step
        self.best = known if known is not None else max(opened.steps, default=0)  # the adapter's own
        self.best_step = opened.best_step
        self.steps = sorted({*opened.steps, self.best})  # [0] of an adapter alone, whose step is not known
        self.ranks = list(range(1, self.config.r + 1))
        self._trained = {name: tensor.clone() for name, tensor in opened.weights().items()}  # of the best step
        self._head = opened.head.original_module.weight.detach().clone() if opened.head else None
        self._lock, self._set = threading.Lock(), (self.best, self.config.r, 1.0)
        self._spectra = lru_cache(maxsize=16)(lambda step: spectra_of(opened, self._weights(step)))
        self._base_of = lru_cache(maxsize=8)(self._answer_of_base)

    def answer(self, text: str, step: int | None = None, rank: int | None = None, strength: float = 1.0) -> dict:
        """The contract's "text" without what takes long: tokens, base and tuned, and after each prefix.

        Of a writer: tokens and what each costs. Raises DataError for an empty text.
        """
        with self._lock:
            base = self._base_of(text)
            with self._turned(step, rank, strength):
                tuned = self._look(text, base.get("label"))
        found = base | {"tuned": tuned["now"]}
        return found | ({"prefix": {"base": base["prefix"], "tuned": tuned["prefix"]}} if "prefix" in tuned else {})

    def probabilities(
        self, text: str, step: int | None = None, rank: int | None = None, strength: float = 1.0
    ) -> list[float]:
        """One for each of `label_names`."""
        self._require("classification")
        with self._lock, self._turned(step, rank, strength):
            return texts.probabilities(self.opened, text)

    def spectrum(self, step: int | None = None, rank: int | None = None, strength: float = 1.0) -> list[dict]:
        """Singular values of each layer's update as it is turned, those that are cut away left out."""
        step, rank, strength = self._asked(step, rank, strength)
        with self._lock:
            rows = self._spectra(step).items()
        return [
            {"layer": place_of(path)["layer"], "singular_values": (s.values[:rank] * strength).tolist()}
            for path, s in rows
        ]

    @torch.inference_mode()
    def next_tokens(
        self, prompt: str, step: int | None = None, rank: int | None = None, strength: float = 1.0, k: int = 10
    ) -> tuple[list[dict], bool]:
        """The k tokens that a writer finds likeliest to come next, with the probability that the base gives them; and
        whether only the prompt's end was read, as in `sample`."""
        self._require("language")
        read, cut = self.opened.prompt(prompt, SAMPLE_TOKENS)
        ids = torch.tensor([read], device=self.opened.place.device)
        with self._lock:
            with self.opened.base():
                base = self._next(ids)
            with self._turned(step, rank, strength):
                tuned = self._next(ids)
        top = tuned.topk(min(k, len(tuned))).indices.tolist()
        told = texts.tokens(self.opened, top)
        return [token | {"base": base[i].item(), "tuned": tuned[i].item()} for token, i in zip(told, top)], cut

    def sample(
        self, prompt: str, step: int | None = None, rank: int | None = None, strength: float = 1.0, seed: int = 0
    ) -> str:
        """What a writer goes on with; one seed gives one text."""
        self._require("language")
        with self._lock, self._turned(step, rank, strength):
            return writer.write(self.opened, prompt, seed)

    def _next(self, ids: Tensor) -> Tensor:
        with self.opened.place.autocast():
            return self.opened.model(ids).logits[0, -1].float().softmax(dim=-1).cpu()

    def _answer_of_base(self, text: str) -> dict[str, Any]:
        ids, cut = self.opened.encode(text)
        shown = ids if self.task == "classification" else ids[1:]
        found = {"text": text, "cut": cut, "bytes": len(text.encode()), "tokens": texts.tokens(self.opened, shown)}
        if self.task == "classification":
            found |= {"pooled": len(ids) - 1, "label_names": self.label_names}
            found["label"] = self._label_of(text)
        with self.opened.base():
            base = self._look(text, found.get("label"))
        return found | {"base": base["now"]} | ({"prefix": base["prefix"]} if "prefix" in base else {})

    def _label_of(self, text: str) -> str:
        """The label that log-odds are of: the second of two, else the tuned model's answer."""
        if len(self.label_names) == 2:
            return self.label_names[1]
        with self._turned(None, None, 1.0):
            return self.opened.classifier.label(texts.probabilities(self.opened, text))

    def _look(self, text: str, label: str | None) -> dict[str, Any]:
        """What the model says as it is now."""
        row = torch.tensor([self.opened.encode(text)[0]], device=self.opened.place.device)
        if label is None:
            return {"now": writer.token_nats(self.opened, self.opened.model, row)[0].tolist()}
        logits = texts.prefix_logits(self.opened, row)
        prefix = texts.log_odds(logits, self.label_names.index(label))
        return {"now": texts.probabilities(self.opened, text), "prefix": prefix}

    def _require(self, task: str) -> None:
        if self.task != task:
            raise UsageError(f"{self.opened.path}: is {'a writer' if self.task == 'language' else 'a classifier'}")

    def _asked(self, step: int | None, rank: int | None, strength: float) -> tuple[int, int, float]:
        step, rank = self.best if step is None else step, self.config.r if rank is None else rank
        if step not in self.steps or rank not in self.ranks or not 0 <= strength <= STRONGEST:
            raise UsageError(
                f"step {step}, rank {rank}, strength {strength:g}: there are the steps "
                f"{', '.join(map(str, self.steps))}, ranks 1 to {self.config.r}, strengths 0 to {STRONGEST}"
            )
        return step, rank, strength

    @contextlib.contextmanager
    def _turned(self, step: int | None, rank: int | None, strength: float) -> Iterator[None]:
        """Within it the model is turned so."""
        asked = self._asked(step, rank, strength)
        if asked[2] == 0:
            with self.opened.base():
                yield
            return
        if asked != self._set:
            self._set = None  # what is half turned is turned anew
            self._turn(*asked)
            self._set = asked
        yield

    def _turn(self, step: int, rank: int, strength: float) -> None:
        weights = dict(self._weights(step))
        if rank < self.config.r:
            weights = cut_weights(self.opened, weights, self._spectra(step), rank)
        if self._head is not None and strength != 1:
            name = next(name for name in weights if name.endswith("score.weight"))
            weights[name] = self._head + strength * (weights[name] - self._head)
        copy_into(self.opened.weights(), weights)
        for layer in self.opened.layers.values():
            layer.scaling[ADAPTER] = strength * self.config.scaling

    def _weights(self, step: int) -> Mapping[str, Tensor]:
        return self._trained if step == self.best else self.opened.snapshot(step)
