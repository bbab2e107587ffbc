"""The Laplacian conditional against SciPy, and its integer tables."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import laplace

from weconvene_core.entropy.laplace import (
    LIKELIHOOD_MIN,
    SCALE_MIN,
    coding_tables,
    laplace_likelihood,
    scale_indexes,
    scale_table,
)


@pytest.mark.parametrize("scale", [0.06, 0.5, 1.0, 20.0])
def test_likelihood_is_the_unit_interval_of_scipys_laplacian(scale: float) -> None:
    r = torch.linspace(-6, 6, 97, dtype=torch.float64)
    distribution = laplace(scale=scale / np.sqrt(2))
    expected = distribution.cdf(r.numpy() + 0.5) - distribution.cdf(r.numpy() - 0.5)
    found = laplace_likelihood(r, torch.full_like(r, scale)).numpy()
    np.testing.assert_allclose(found, np.maximum(expected, LIKELIHOOD_MIN), rtol=1e-6, atol=1e-13)


def test_gradients_are_finite_and_point_the_right_way() -> None:
    r = torch.tensor([0.0, 0.5, 3.0, 100.0])
    scale = torch.tensor([0.06, 1.0, 0.5, 9.0], requires_grad=True)
    (-torch.log2(laplace_likelihood(r, scale))).sum().backward()
    assert scale.grad is not None
    assert scale.grad.isfinite().all()
    assert scale.grad[0] > 0  # a certain zero wants a smaller scale
    assert (scale.grad[2:] < 0).all()  # what lies far out wants a larger one


def test_tables_hold_the_same_probabilities_in_sixteen_bits() -> None:
    tables = coding_tables()
    for index in (1, 20, 40):
        row, length = tables.quantized_cdf[index], int(tables.cdf_length[index])
        probabilities = row[1 : length - 1].diff().double() / 2**16
        symbols = torch.arange(1, length - 2) + int(tables.offset[index])
        scale = torch.full((len(symbols),), scale_table()[index], dtype=torch.float64)
        expected = laplace_likelihood(symbols.double(), scale)
        torch.testing.assert_close(probabilities, expected, atol=2e-3, rtol=0)


def test_scales_find_the_nearest_table_entry() -> None:
    table = torch.tensor(scale_table())
    assert scale_indexes(table).tolist() == list(range(len(table)))
    assert scale_indexes(table * 1.02).tolist() == list(range(len(table)))
    assert scale_indexes(torch.tensor([0.0, SCALE_MIN])).tolist() == [0, 0]
