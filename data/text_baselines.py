"""How well texts can be foretold without a language model. One that writes no better has learned nothing new."""

import zlib
from array import array
from collections.abc import Sequence

import torch
from torch import Tensor

from data.windows import Window


def bigram_nats(train: Sequence[Window], test: Sequence[Window], vocab_size: int) -> float:
    """Nats that all targets of `test` cost together where a token is foretold from the one before, in float64.

    Counted are the targets of `train` and what stands before each. Smoothed after Witten & Bell 1991, twice:

        p(b | a) = (count(a, b) + distinct(a) p(b)) / (count(a) + distinct(a))
        p(b)     = (count(b) + distinct / vocab_size) / (count + distinct)

    where distinct(a) is how many different tokens were seen after a: the more of them, the likelier is a new one.
    """
    (a, b), (before, target) = _pairs(train), _pairs(test)
    count_b = torch.bincount(b, minlength=vocab_size).double()
    distinct = int((count_b > 0).sum())
    p_b = (count_b + distinct / vocab_size) / (len(b) + distinct)
    # All pairs of a vocabulary of 50,257 fill no memory; those that occur, each as one number in order, do.
    seen, count_ab = torch.unique(a * vocab_size + b, return_counts=True)
    count_a = torch.bincount(a, minlength=vocab_size).double()
    distinct_a = torch.bincount(seen // vocab_size, minlength=vocab_size)
    wanted = before * vocab_size + target
    at = torch.searchsorted(seen, wanted).clamp_max(len(seen) - 1)
    known = torch.where(seen[at] == wanted, count_ab[at], 0)
    total = count_a[before] + distinct_a[before]
    p = torch.where(total > 0, (known + distinct_a[before] * p_b[target]) / total.clamp_min(1), p_b[target])
    return float(-p.log().sum())


def gzip_bits_per_byte(texts: Sequence[str]) -> float:
    """Bits that gzip, at its best, spends on a UTF-8 byte of `texts`: all of them in one stream, a newline between two.

    It gets no training texts first: its memory is 32 KB long. The newlines, which tell it where a text ends, cost
    bits and count as no bytes, as the end tokens of a language model do. gzip's header and checksum are left out.
    """
    packer = zlib.compressobj(9, wbits=-15)
    size = len(packer.compress("\n".join(texts).encode())) + len(packer.flush())
    return 8 * size / sum(len(text.encode()) for text in texts)


def _pairs(windows: Sequence[Window]) -> tuple[Tensor, Tensor]:
    """All targets (N,) and the token before each (N,), int64: (before, target)."""
    before, target = array("i"), array("i")
    for window in windows:
        before += window.ids[window.first_target - 1 : -1]
        target += window.targets
    return torch.tensor(before, dtype=torch.long), torch.tensor(target, dtype=torch.long)
