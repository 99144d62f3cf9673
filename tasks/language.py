"""Texts that a model learns to write like: next-token prediction, and what each token of held-out texts costs."""

import dataclasses
import math
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

import data
import gpt2
from tasks.record import TaskRecord
from training.device import Place
from training.evaluation import summed_loss
from training.metrics import Metric

METRICS = (
    Metric("loss", "nats a token", "{:.4f}".format, higher_is_better=False, in_progress=True),
    Metric("perplexity", "perplexity", lambda value: "above 1e307" if value is None else f"{value:,.1f}"),
    Metric("bits_per_byte", "bits a byte", "{:.4f}".format, higher_is_better=False, in_progress=True),
)
SAMPLE_SEED, SAMPLE_TOKENS = 0, 40  # of what is written at each evaluation


@dataclass(frozen=True)
class Windows:
    """Documents as windows of token ids. The rows of a step are windows; `split` holds their numbers."""

    documents: data.Documents
    windows: list[data.Window]
    split: data.Split
    seen: int  # test documents that stand word for word among those that train
    max_length: int
    pad_token_id: int

    @classmethod
    def of(
        cls, documents: data.Documents, split: data.Split, seen: int, tokenizer: gpt2.Tokenizer, max_length: int
    ) -> "Windows":
        """`split` holds numbers of documents here."""
        windows, numbers = [], []
        for part in (split.train, split.val, split.test):
            eos = tokenizer.eos_token_id
            cut = data.make_windows(tokenizer, documents.items, part, eos_token_id=eos, max_length=max_length)
            numbers.append(list(range(len(windows), len(windows) + len(cut))))
            windows += cut
        return cls(documents, windows, data.Split(*numbers), seen, max_length, tokenizer.eos_token_id)

    def micro_batches(self, rows: Sequence[int], batch_size: int) -> list[data.Batch]:
        """The windows of one optimizer step, in order, in batches of at most `batch_size`.

        For no windows one batch that counts for nothing: a process whose share is empty must take part in the step.
        """
        if not rows:
            nothing = data.Window(array("i", [self.pad_token_id] * 2), first_target=2, document=-1)
            return [data.collate_windows([nothing], self.pad_token_id)]
        return [self._batch(rows[start : start + batch_size]) for start in range(0, len(rows), batch_size)]

    def eval_batches(self, rows: Sequence[int], batch_size: int) -> Iterator[data.Batch]:
        """Windows of similar length together."""
        for positions in data.by_length([self.windows[row].ids for row in rows], batch_size):
            yield self._batch([rows[position] for position in positions])

    def tokens(self, rows: Sequence[int]) -> int:
        return sum(len(self.windows[row].ids) for row in rows)

    def of_part(self, part: str) -> list[data.Window]:
        return [self.windows[row] for row in getattr(self.split, part)]

    def bytes_of(self, part: str) -> int:
        """UTF-8 bytes of what is learned of the documents of a part."""
        return self.documents.n_bytes({window.document for window in self.of_part(part)})

    def _batch(self, rows: Sequence[int]) -> data.Batch:
        return data.collate_windows([self.windows[row] for row in rows], self.pad_token_id)


@dataclass(frozen=True)
class Language:
    """The task behind `--task language`: the next token of each text, its end included."""

    rows: Windows
    tokenizer: gpt2.Tokenizer
    source: data.Source
    rule: data.TextRule
    division: dict[str, Any]
    only_label: str | None
    prompt: str  # what samples go on from

    kind, task_type, metrics = "language", "CAUSAL_LM", METRICS

    @classmethod
    def prepare(cls, config: Any, source: data.Source, tokenizer: gpt2.Tokenizer, max_length: int) -> "Language":
        """All documents read, divided and tokenised; `config` is a TrainConfig. Raises DataError."""
        rule = data.TextRule(config.strip)
        documents = data.load_documents(source, rule, config.only_label)
        how = {"kind": config.split, "test_size": config.test_size, "val_size": config.val_size}
        how["seed"] = config.split_seed
        documents, split = data.split_documents(documents, **how)
        rows = Windows.of(documents, split, data.count_seen(documents, split), tokenizer, max_length)
        return cls(rows, tokenizer, source, rule, how, config.only_label, config.sample_prompt)

    def beside(self, name: str, tokenizer: gpt2.Tokenizer) -> "Language":
        """The texts of another file, which only test: all of them, whatever their label."""
        source = dataclasses.replace(self.source, name=name)
        documents, own = data.load_documents(source, self.rule), self.rows
        used = {own.documents.texts[window.document] for part in ("train", "val") for window in own.of_part(part)}
        seen = sum(text in used for text in documents.texts)
        split = data.Split([], [], list(range(len(documents.items))))
        return dataclasses.replace(
            self, rows=Windows.of(documents, split, seen, tokenizer, own.max_length), source=source
        )

    @property
    def label_names(self) -> list[str]:
        return []

    @property
    def fingerprint(self) -> str:
        """Of the documents."""
        return self.rows.documents.fingerprint()

    def describe(self) -> str:
        """What a user should know of the texts before training starts."""
        rows = self.rows
        texts, tokens = len({w.document for w in rows.windows}), sum(len(w.targets) for w in rows.windows)
        what = f"{rows.documents.name}: {texts:,} texts, {tokens:,} tokens to learn"
        if not rows.split.train:
            seen = f"{rows.seen:,} of them also train or choose, word for word"
            return "\n".join([f"{what}, which only test; {seen}", *rows.documents.notes])
        windows = "{:,} train, {:,} validation, {:,} test windows".format(*map(len, dataclasses.astuple(rows.split)))
        lines = [f"{what}; {windows} of at most {rows.max_length} tokens", *rows.documents.notes]
        lines.append(f"{rows.seen:,} of the test texts stand word for word in the training part")
        if not rows.split.val:
            lines.append("no validation part: the best checkpoint is chosen on test, which flatters the test score")
        return "\n".join(lines)

    def whereabouts(self, rows: Sequence[int]) -> list[str]:
        """`file:line` of the documents whose windows these are."""
        numbers = dict.fromkeys(self.rows.windows[row].document for row in rows)
        return [self.rows.documents.items[number].where for number in numbers]

    def load_model(self, directory: Path) -> nn.Module:
        """The base; a text ends for it with the tokenizer's end token, whatever its config.json names."""
        ends = {"pad_token_id": self.rows.pad_token_id, "eos_token_id": self.tokenizer.eos_token_id}
        return gpt2.GPT2LMHeadModel.from_pretrained(directory, **ends)

    def scores(self, part: str, model: nn.Module, batch_size: int, place: Place) -> dict[str, Any]:
        """The METRICS on a part of the texts, "val" or "test"."""
        nats = summed_loss(model, self.rows.eval_batches(getattr(self.rows.split, part), batch_size), place)
        return self._scores_of(nats, part)

    def baselines(self, part: "Language") -> dict[str, dict[str, Any]]:
        """What `part`'s test texts cost a model that looks one token back, and gzip."""
        train, test = self.rows.of_part("train"), part.rows.of_part("test")
        nats = data.bigram_nats(train, test, self.tokenizer.vocab_size)
        texts = [part.rows.documents.items[number].text for number in sorted({window.document for window in test})]
        return {"bigram": part._scores_of(nats, "test"), "gzip": {"bits_per_byte": data.gzip_bits_per_byte(texts)}}

    def _scores_of(self, nats: float, part: str) -> dict[str, Any]:
        """`nats`: what all targets of the part cost together."""
        windows = self.rows.of_part(part)
        targets = sum(len(window.targets) for window in windows)
        loss = nats / targets
        return {
            "loss": loss, "perplexity": math.exp(loss) if loss < 709 else None, "tokens": targets, "rows": len(windows),
            "bits_per_byte": nats / math.log(2) / self.rows.bytes_of(part),
        }  # fmt: skip

    def samples(self, model: nn.Module, place: Place) -> list[str]:
        """What the model writes now, after the same prompt and with the same seed each time; it disturbs no stream."""
        ids = torch.tensor([[self.tokenizer.eos_token_id, *self.tokenizer.encode(self.prompt)]], device=place.device)
        room = self.rows.max_length - ids.shape[1]
        if room < 1:
            return []
        how = gpt2.GenerationConfig(max_new_tokens=min(SAMPLE_TOKENS, room), do_sample=True, temperature=0.8, top_k=40)
        with torch.random.fork_rng([place.device] if place.device.type == "cuda" else []), place.autocast():
            torch.manual_seed(SAMPLE_SEED)
            written = [int(tokens[0]) for tokens in gpt2.generate(model, ids, how)]
        text = self.tokenizer.decode([token for token in written if token != self.tokenizer.eos_token_id])
        return [f"  it writes: {' '.join(''.join(c if c.isprintable() else ' ' for c in self.prompt + text).split())}"]

    def details(self, scores: dict[str, Any], width: int = 0) -> str:
        return ""

    warning = details

    def record(self, config: Any, fingerprint: str) -> TaskRecord:
        """task.json's content; `fingerprint` is that of the base."""
        return TaskRecord(
            task=self.kind, label_names=[], max_length=self.rows.max_length, seed=config.seed,
            text_rule=dataclasses.asdict(self.rule), split=self.division,
            base={"name": config.model, "fingerprint": fingerprint},
            dataset=dataclasses.asdict(self.source)
            | {"name": config.dataset, "fingerprint": self.fingerprint, "only_label": self.only_label},
        )  # fmt: skip
