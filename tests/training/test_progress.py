"""What a run shows of itself where there is no terminal."""

from dataclasses import dataclass

import pytest
import torch

from training.progress import Progress


@dataclass
class OneBatch:
    input_ids: torch.Tensor
    tokens: int


@pytest.mark.parametrize("packed, words", [(True, "25% padding left out"), (False, "25% padding")])
def test_the_share_of_padding_is_shown_and_whether_it_was_computed(packed, words, capsys):
    with Progress(total_steps=2, start=0, every=2, packed=packed) as progress:
        progress.step(1, 0.5, [OneBatch(torch.zeros(2, 4), 6)], 6)
        progress.step(2, 0.7, [OneBatch(torch.zeros(2, 4), 6)], 6)
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("step 2/2: loss 0.6000, ") and line.endswith(f"real tokens/s, {words}")
