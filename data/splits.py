"""Which rows train, which choose, which report, and how many test rows the model has already seen word for word."""

import math
import random
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

from data.dataset import TextDataset
from data.documents import Documents
from data.reading import DataError

SPLITS = ("seed", "random", "stratified", "grouped")
NEAR_DUPLICATE = 0.7  # Jaccard overlap of word sets from which two messages count as one
FEW = 10  # documents; of fewer than these each is cut
_SHORTEST = 20  # characters of a part that a text is cut into
# Where a text is best cut: after a line, else after a sentence, else before a blank.
_BORDERS = [re.compile(border) for border in (r"\n+", r"[.!?…][\"')\]’”]*(?=\s)|[。！？]+[」』”]*", r"(?=\s)")]


@dataclass(frozen=True)
class Split:
    """Row numbers. `val` chooses the best checkpoint; where it is empty, `test` does, and the report says so."""

    train: list[int]
    val: list[int]
    test: list[int]


def split_rows(
    dataset: TextDataset, kind: str, test_size: float, val_size: float, seed: int, max_train_rows: int | None = None
) -> Split:
    """Divide the rows; `val_size` is a share of what is left beside the test part.

    Rows from a validation or test file of their own are that part, and nothing else is taken for it. Of the training
    rows at most `max_train_rows` are kept, see `_fewer`; the other parts stay as they are without it.

    seed        numpy's permutation of the rows from default_rng(seed), the first part tests: with seed 23 this is
                `train_test_split(test_size=0.2, seed=23)` of the `datasets` library, row for row
    random      the same idea with Python's generator
    stratified  every label has its share in each part
    grouped     near-duplicates (word sets with Jaccard >= 0.7) stay on one side
    """
    n = len(dataset.texts) - len(dataset.val_rows) - len(dataset.test_rows)
    _check(kind, test_size, val_size)
    if kind == "seed":
        import numpy as np

        blocks = [[int(row)] for row in np.random.default_rng(seed).permutation(n)]
    elif kind == "grouped":
        blocks = near_duplicate_groups(dataset.texts[:n])
        random.Random(seed).shuffle(blocks)
    else:
        blocks = [[row] for row in range(n)]
        random.Random(seed).shuffle(blocks)
    label_of = dataset.labels.__getitem__ if kind == "stratified" else lambda row: 0
    test, rest = _take(blocks, 0 if dataset.test_rows else test_size, label_of)
    val, train = _take(rest, 0 if dataset.val_rows else val_size, label_of)
    split = Split(_rows(train), [*_rows(val), *dataset.val_rows], [*_rows(test), *dataset.test_rows])
    if not split.train or not split.test or (val_size and not split.val):
        largest = max(blocks, key=len, default=[])
        why = f" (near-duplicates of {dataset.texts[largest[0]][:40]!r} are {len(largest)} of them)"
        raise DataError(
            f"{dataset.name}: {n} rows{why * (len(largest) > 1)} are too few for a {kind} split into training, "
            "validation and test" + "; use --split stratified" * (kind == "grouped")
        )
    untrained = set(dataset.labels[:n]) - {dataset.labels[row] for row in split.train}
    if untrained:
        label = dataset.label_names[min(untrained)]
        raise DataError(f"{dataset.name}: label '{label}' has no row in the training part; use --split stratified")
    return replace(split, train=_fewer(dataset, split.train, max_train_rows))


def _fewer(dataset: TextDataset, rows: list[int], most: int | None) -> list[int]:
    """At most `most` of the rows, in their order: of each label one, then its share.

    What is kept of fewer rows is also kept of more, so that runs on 100 and on 200 differ in what was added alone.
    """
    if most is None or most >= len(rows):
        return rows
    totals, before = Counter(dataset.labels[row] for row in rows), Counter()
    if most < len(totals):
        raise DataError(f"{dataset.name}: --max_train_rows {most} is fewer than its {len(totals)} labels; give more")
    turn = {}
    for row in rows:
        label = dataset.labels[row]
        turn[row] = before[label] / totals[label]
        before[label] += 1
    kept = set(sorted(rows, key=turn.__getitem__)[:most])
    return [row for row in rows if row in kept]


def split_documents(
    documents: Documents, *, kind: str, test_size: float, val_size: float, seed: int
) -> tuple[Documents, Split]:
    """Divide documents as `split_rows` divides rows without labels; fewer than ten are cut instead.

    Of a text that is cut the end tests, what stands before it chooses, the rest trains, in the same shares. Each part
    is a document of its own, so others than those given come back. Prompts with completions are never cut, and a text
    that is too short for it trains whole. Raises DataError where too little is left to divide.
    """
    _check(kind, test_size, val_size)
    if len(documents.items) >= FEW or documents.kind == "completions":
        texts = documents.texts
        return documents, split_rows(
            TextDataset(documents.name, texts, [0] * len(texts), ["text"]), kind, test_size, val_size, seed
        )
    items, split = [], Split([], [], [])
    for document in documents.items:
        pieces = _cut(document.text, test_size, val_size)
        parts = [part for part, share in zip((split.train, split.val, split.test), (1, val_size, 1)) if share]
        for piece, part in zip(pieces, parts):
            part.append(len(items))
            items.append(replace(document, text=piece))
    if not split.test:
        raise DataError(
            f"{documents.name}: {len(items)} short texts are too few to hold some out; give {FEW} or longer ones"
        )
    return replace(documents, items=items), split


def count_seen(dataset: TextDataset | Documents, split: Split) -> int:
    """How many test rows stand word for word in the training part."""
    seen = {dataset.texts[row] for row in split.train}
    return sum(dataset.texts[row] in seen for row in split.test)


def near_duplicate_groups(texts: Sequence[str]) -> list[list[int]]:
    """Connected groups of texts whose word sets overlap with Jaccard >= 0.7, each in row order.

    Two sets that overlap this much share one of their rarest words: with all words in one global order, the first
    |x| - ceil(0.7 |x|) + 1 of each are enough to find every pair (prefix filtering, Chaudhuri et al. 2006).
    """
    words = [frozenset(re.findall(r"\w+", text.lower())) or frozenset([text]) for text in texts]
    frequency: dict[str, int] = defaultdict(int)
    for bag in words:
        for word in bag:
            frequency[word] += 1
    leader = list(range(len(texts)))

    def find(row: int) -> int:
        while leader[row] != row:
            leader[row] = leader[leader[row]]
            row = leader[row]
        return row

    index: dict[str, list[int]] = defaultdict(list)
    for row in sorted(range(len(texts)), key=lambda row: (len(words[row]), row)):
        bag = words[row]
        rarest = sorted(bag, key=lambda word: (frequency[word], word))
        prefix = rarest[: len(bag) - math.ceil(NEAR_DUPLICATE * len(bag)) + 1]
        for other in {other for word in prefix for other in index[word]}:
            common = len(bag & words[other])
            # common / union >= 7/10 in whole numbers: 7 of 10 words must not fail for 0.7's last bit
            if 10 * common >= 7 * (len(bag) + len(words[other]) - common):
                a, b = sorted((find(row), find(other)))
                leader[b] = a
        for word in prefix:
            index[word].append(row)
    groups: dict[int, list[int]] = defaultdict(list)
    for row in range(len(texts)):
        groups[find(row)].append(row)
    return list(groups.values())


def _check(kind: str, test_size: float, val_size: float) -> None:
    if kind not in SPLITS:
        raise DataError(f"split {kind!r} is not one of {', '.join(SPLITS)}")
    if not 0 < test_size < 1 or not 0 <= val_size < 1:
        raise DataError(
            f"test_size {test_size} must lie between 0 and 1, val_size {val_size} be at least 0 and below 1"
        )


def _cut(text: str, test_size: float, val_size: float) -> list[str]:
    """[training, test] or [training, validation, test], which together are `text`; [text] if that is too short."""
    test_at = round(len(text) * (1 - test_size))
    places = [round(test_at * (1 - val_size)), test_at] if val_size else [test_at]
    smallest = min(end - start for start, end in zip([0, *places], [*places, len(text)]))
    if smallest < _SHORTEST:
        return [text]
    reach = min(smallest // 3, 1000)  # a third, so that two cuts cannot meet
    cuts = [_border_near(text, place, reach) for place in places]
    return [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)])]


def _border_near(text: str, place: int, reach: int) -> int:
    """The best kind of border within `reach` characters of `place`, and of those the nearest; else `place` itself."""
    for border in _BORDERS:
        found = [match.end() for match in border.finditer(text, place - reach, place + reach)]
        if found:
            return min(found, key=lambda at: abs(at - place))
    return place


def _take(blocks: list[list[int]], share: float, label_of) -> tuple[list[list[int]], list[list[int]]]:
    """The first blocks of each label until they hold `share` of its rows (rounded up), and the other blocks."""
    totals: dict[int, int] = defaultdict(int)
    for block in blocks:
        totals[label_of(block[0])] += len(block)
    wanted = {label: math.ceil(share * total - 1e-9) for label, total in totals.items()}
    taken, rest = [], []
    for block in blocks:
        label = label_of(block[0])
        # A label with a single row trains: held out, it could never be learned.
        if len(block) <= wanted[label] and totals[label] > 1:
            wanted[label] -= len(block)
            taken.append(block)
        else:
            rest.append(block)
    return taken, rest


def _rows(blocks: list[list[int]]) -> list[int]:
    return [row for block in blocks for row in block]
