"""How far one gets without a language model. A fine-tuned model that does not beat these has learned nothing new.

Each gives label probabilities for the test texts, shape (rows, labels), from the training rows alone.
"""

import math
import re
from collections import Counter
from collections.abc import Sequence

_DIGITS = re.compile(r"\d{4,}")
_WORD = re.compile(r"\w+|[^\w\s]")
Probabilities = list[list[float]]


def majority(train: Sequence[str], labels: Sequence[int], n_labels: int, test: Sequence[str]) -> Probabilities:
    """Always the most frequent label; the probabilities are the labels' shares."""
    return [_shares(labels, n_labels)] * len(test)


def digits_regex(train: Sequence[str], labels: Sequence[int], n_labels: int, test: Sequence[str]) -> Probabilities:
    """One question to the text: has it four digits in a row? Each answer gets the label shares of its training rows."""
    answers = [bool(_DIGITS.search(text)) for text in train]
    shares = {}
    for answer in (False, True):
        shares[answer] = _shares([label for label, a in zip(labels, answers) if a == answer], n_labels)
    return [shares[bool(_DIGITS.search(text))] for text in test]


def naive_bayes(train: Sequence[str], labels: Sequence[int], n_labels: int, test: Sequence[str]) -> Probabilities:
    """Multinomial naive Bayes over lower-case words and punctuation marks, one added to every count (Laplace)."""
    counts = [Counter() for _ in range(n_labels)]
    for text, label in zip(train, labels):
        counts[label].update(_words(text))
    vocabulary = set().union(*counts)
    totals = [sum(count.values()) + len(vocabulary) for count in counts]
    prior = [math.log(share) for share in _shares(labels, n_labels)]
    result = []
    for text in test:
        words = [word for word in _words(text) if word in vocabulary]
        scores = [
            prior[label] + sum(math.log((counts[label][word] + 1) / totals[label]) for word in words)
            for label in range(n_labels)
        ]
        top = max(scores)
        weights = [math.exp(score - top) for score in scores]
        result.append([weight / sum(weights) for weight in weights])
    return result


BASELINES = {"majority": majority, "digits_regex": digits_regex, "naive_bayes": naive_bayes}


def _shares(labels: Sequence[int], n_labels: int) -> list[float]:
    """Label frequencies with one added to each, so that none is impossible."""
    counts = Counter(labels)
    return [(counts[label] + 1) / (len(labels) + n_labels) for label in range(n_labels)]


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())
