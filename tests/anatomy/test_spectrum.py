"""The singular values of an update, from A and B alone, are those that a dense decomposition finds."""

import pytest
import torch

from anatomy.spectrum import Spectrum, dense_values, energy_in, overlap, stable_rank


def factors(r=4, fan_in=40, fan_out=30):
    torch.manual_seed(0)
    return torch.randn(r, fan_in), torch.randn(fan_out, r)


def close(found, wanted):
    torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("r", [1, 4, 30, 50])
def test_values_are_those_of_the_dense_update_also_where_the_rank_is_larger_than_a_side(r):
    A, B = factors(r)
    dense = 0.5 * B.double() @ A.double()
    spectrum = Spectrum.of(A, B, 0.5)
    close(spectrum.values, torch.linalg.svdvals(dense)[: len(spectrum.values)])
    close(spectrum.left @ spectrum.values.diag() @ spectrum.right.T, dense)
    assert spectrum.norm == pytest.approx(float(dense.norm()), rel=1e-9)


def test_the_cut_is_the_best_update_of_that_rank():
    A, B = factors(6)
    spectrum, dense = Spectrum.of(A, B, 2.0), 2.0 * B.double() @ A.double()
    for rank in range(1, 7):
        small_A, small_B = spectrum.cut(rank)
        assert small_A.shape == (rank, 40) and small_B.shape == (30, rank)
        missed = torch.linalg.svdvals(dense)[rank:].norm()  # Eckart & Young: no update of this rank misses less
        assert float((dense - small_B @ small_A).norm()) == pytest.approx(float(missed), abs=1e-9)


def test_an_update_that_is_zero_has_no_rank_and_divides_by_nothing():
    A, B = factors()
    spectrum = Spectrum.of(A, torch.zeros_like(B), 2.0)
    assert (spectrum.norm, spectrum.rank, stable_rank(spectrum.values)) == (0.0, 0, 0.0)
    assert energy_in(spectrum.values, 1) == 1.0 and overlap(spectrum.left, torch.zeros(30, 40)) == 0.0


def test_stable_rank_counts_directions_by_their_weight():
    assert stable_rank(torch.tensor([2.0, 2.0, 2.0])) == pytest.approx(3)
    assert stable_rank(torch.tensor([10.0, 1.0])) == pytest.approx(1.01)


@pytest.mark.parametrize("shape", [(30, 50), (50, 30)])
def test_values_through_the_gram_matrix_are_the_dense_ones(shape):
    torch.manual_seed(1)
    update = torch.randn(shape)
    torch.testing.assert_close(dense_values(update), torch.linalg.svdvals(update.double()), rtol=1e-6, atol=1e-6)


def test_overlap_is_one_within_the_directions_zero_across_and_chance_in_between():
    torch.manual_seed(2)
    directions = torch.linalg.qr(torch.randn(200, 8))[0]
    within, anything = directions @ torch.randn(8, 60), torch.randn(200, 60)
    across = anything - directions @ (directions.T @ anything)
    assert overlap(directions, within) == pytest.approx(1)
    assert overlap(directions, across) == pytest.approx(0, abs=1e-9)
    assert overlap(directions, anything) == pytest.approx(8 / 200, rel=0.2)
