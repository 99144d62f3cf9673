"""A task ready for a loop: rows read, divided and tokenised once, and batches of them on demand."""

from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from data.baselines import BASELINES, Probabilities
from data.batches import IGNORED, Batch, Encoder, by_length, collate, encode
from data.dataset import TextDataset
from data.splits import Split, count_seen

FEW = 100  # test rows: of fewer each is more than a point of accuracy


@dataclass(frozen=True)
class Task:
    dataset: TextDataset
    split: Split
    ids: list[array]  # token ids of every row
    max_length: int
    cut: int  # rows that were longer
    seen: int  # test rows that stand word for word in the training part
    pad_token_id: int

    @property
    def choosing(self) -> list[int]:
        """The rows that choose the best checkpoint: validation, or test where there is none."""
        return self.split.val or self.split.test

    def labels(self, rows: Sequence[int]) -> list[int]:
        return [self.dataset.labels[row] for row in rows]

    def batch(self, rows: Sequence[int]) -> Batch:
        return collate([self.ids[row] for row in rows], self.pad_token_id, self.labels(rows))

    def tokens(self, rows: Sequence[int]) -> int:
        return sum(len(self.ids[row]) for row in rows)

    def micro_batches(self, rows: Sequence[int], batch_size: int) -> list[Batch]:
        """The rows of one optimizer step, in order, in batches of at most `batch_size`.

        For no rows one batch that counts for nothing: a process whose share is empty must take part in the step.
        """
        if not rows:
            return [collate([[self.pad_token_id]], self.pad_token_id, [IGNORED])]
        return [self.batch(rows[start : start + batch_size]) for start in range(0, len(rows), batch_size)]

    def eval_batches(self, rows: Sequence[int], batch_size: int) -> Iterator[tuple[list[int], Batch]]:
        """(positions in `rows`, batch), rows of similar length together."""
        for positions in by_length([self.ids[row] for row in rows], batch_size):
            yield positions, self.batch([rows[position] for position in positions])

    @property
    def test_texts(self) -> list[str]:
        return [self.dataset.texts[row] for row in self.split.test]

    def baselines(self, texts: Sequence[str]) -> dict[str, Probabilities]:
        """What each baseline, knowing the training rows, says of `texts`."""
        train = self.split.train
        known = [self.dataset.texts[row] for row in train], self.labels(train), len(self.dataset.label_names)
        return {name: rule(*known, texts) for name, rule in BASELINES.items()}

    def beside(self, dataset: TextDataset, tokenizer: Encoder) -> "Task":
        """Rows from elsewhere that only test; `seen`: those that stand word for word among this task's other rows."""
        ids, cut = encode(tokenizer, dataset.texts, self.max_length)
        used = {self.dataset.texts[row] for row in (*self.split.train, *self.split.val)}
        seen = sum(text in used for text in dataset.texts)
        return Task(dataset, Split([], [], list(range(len(ids)))), ids, self.max_length, cut, seen, self.pad_token_id)

    def disputed_rows(self) -> int:
        """Rows whose text stands there word for word with another label, too."""
        texts = Counter(text for text, _ in set(zip(self.dataset.texts, self.dataset.labels)))
        return sum(texts[text] > 1 for text in self.dataset.texts)

    def doubts(self) -> list[str]:
        """Lines on what makes the scores say less than they seem to."""
        lines = []
        if self.cut:
            lines.append(f"{self.cut:,} texts are longer than {self.max_length} tokens and were cut to that")
        if disputed := self.dataset.disputed_texts():
            lines.append(f"{disputed:,} texts stand there with more than one label, in {self.disputed_rows():,} rows")
        if len(self.split.test) < FEW:
            lines.append(f"only {len(self.split.test)} test rows: a score on so few says little; look at its interval")
        return lines

    def describe(self) -> str:
        """What a user should know of the rows before training starts."""
        names, own = self.dataset.label_names, len(self.dataset.labels) - len(self.dataset.val_rows)
        labels = self.dataset.labels[: own - len(self.dataset.test_rows)]
        counts = ", ".join(f"{labels.count(i):,} {_short(name)}" for i, name in enumerate(names[:6]))
        counts += ", ..." * (len(names) > 6)
        rows = f"{self.dataset.name}: {len(labels):,} rows ({counts})"
        notes = list(self.dataset.notes)
        if left_out := self.dataset.left_out():
            notes.append(f"{left_out}: see rejected.jsonl")
        if not self.split.train:
            where = "stand word for word among those that train or choose"
            lines = [f"{rows} that only test; {self.seen:,} of them {where}", *notes, *self.doubts()]
            return "\n".join(lines)
        sizes = f"{len(self.split.train):,} train, {len(self.split.val):,} validation, {len(self.split.test):,} test"
        lines = [f"{rows}; {sizes}", *notes]
        if unused := len(self.ids) - sum(map(len, (self.split.train, self.split.val, self.split.test))):
            lines.append(f"{unused:,} rows take no part: --max_train_rows keeps them from training")
        lines.append(f"{self.seen:,} of the test rows stand word for word in the training part")
        lines += self.doubts()
        alone = [names[label] for label, number in Counter(labels).items() if number == 1]
        if alone and not self.dataset.test_rows:
            some = ", ".join(map(_short, alone[:6])) + ", ..." * (len(alone) > 6)
            lines.append(f"labels with a single row, which cannot both train and test: {some}")
        if not self.split.val:
            lines.append("no validation part: the best checkpoint is chosen on test, which flatters the test score")
        return "\n".join(lines)


def _short(name: str) -> str:
    return name if len(name) <= 20 else f"{name[:19]}…"


def prepare_task(dataset: TextDataset, split: Split, tokenizer: Encoder, pad_token_id: int, max_length: int) -> Task:
    """Tokenise all rows once, cut to `max_length`."""
    ids, cut = encode(tokenizer, dataset.texts, max_length)
    return Task(dataset, split, ids, max_length, cut, count_seen(dataset, split), pad_token_id)
