"""What exact mode adds to a run: one number out of the random stream per epoch, and no precision but fp32."""

import pytest
import torch
from torch.utils.data import DataLoader

from training.errors import UsageError
from training.exact import check_exact, draw_for_epoch


def test_the_random_state_moves_on_as_by_a_data_loader_that_starts_an_epoch():
    torch.manual_seed(3)
    iter(DataLoader([0, 1, 2], batch_size=2))
    expected = torch.get_rng_state()
    torch.manual_seed(3)
    before = torch.get_rng_state()
    draw_for_epoch()
    assert torch.equal(torch.get_rng_state(), expected) and not torch.equal(before, expected)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_exact_in_half_precision_is_refused(precision):
    with pytest.raises(UsageError, match=f"--exact --precision {precision}"):
        check_exact(precision)


@pytest.mark.parametrize("precision", ["auto", "fp32"])
def test_exact_in_fp32_is_fine(precision):
    check_exact(precision)
