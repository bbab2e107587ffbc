"""The Laplacian conditional against SciPy, and its integer tables."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import laplace

from weconvene_core.entropy.coding_steps import LikelihoodMode, split_likelihood
from weconvene_core.entropy.distributions import (
    LIKELIHOOD_MIN,
    SCALE_MIN,
    ConditionalTables,
    laplace_likelihood,
    scale_indexes,
    scale_table,
)
from weconvene_core.entropy.slices import SlicePrediction


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
    tables = ConditionalTables("laplace").tables
    for index in (1, 20, 40):
        row, escape = torch.from_numpy(tables.cdf[index]), int(tables.escape[index])
        probabilities = row[1 : escape + 1].diff().double() / 2**16
        symbols = torch.arange(1, escape) + int(tables.offset[index])
        scale = torch.full((len(symbols),), scale_table()[index], dtype=torch.float64)
        expected = laplace_likelihood(symbols.double(), scale)
        torch.testing.assert_close(probabilities, expected, atol=2e-3, rtol=0)


def test_scales_find_the_nearest_table_entry() -> None:
    table = torch.tensor(scale_table())
    assert scale_indexes(table).tolist() == list(range(len(table)))
    assert scale_indexes(table * 1.02).tolist() == list(range(len(table)))
    assert scale_indexes(torch.tensor([0.0, SCALE_MIN])).tolist() == [0, 0]


def test_split_scales_learn_from_symbols_and_latents_from_noise() -> None:
    rng = np.random.default_rng(3)
    offset = torch.tensor(rng.normal(0, 1.5, 400), requires_grad=True)
    scale = torch.tensor(rng.uniform(0.2, 3, 400), requires_grad=True)
    torch.manual_seed(11)
    noise = torch.empty_like(offset).uniform_(-0.5, 0.5)
    torch.manual_seed(11)
    found = split_likelihood(laplace_likelihood, offset, scale)
    found.log2().sum().backward()

    by_noise, by_symbol = offset.detach().requires_grad_(), scale.detach().requires_grad_()
    laplace_likelihood(by_noise + noise, scale.detach()).log2().sum().backward()
    coded = laplace_likelihood(offset.detach().round(), by_symbol)
    coded.log2().sum().backward()
    assert torch.equal(found, coded)  # the rate is the file's
    torch.testing.assert_close(offset.grad, by_noise.grad)
    torch.testing.assert_close(scale.grad, by_symbol.grad)
    assert not torch.allclose(scale.grad, torch.zeros_like(scale.grad))


def test_split_training_gives_the_file_s_rate_and_a_rounded_latent() -> None:
    mean, target = torch.full((1, 2, 4, 4), 0.3), torch.randn(1, 2, 4, 4) * 3
    prediction = SlicePrediction(mean, torch.ones(1, 2, 4, 4), mean)
    steps = [LikelihoodMode(laplace_likelihood, quantiser) for quantiser in ("split", None)]
    residuals = [step("y_hf", prediction, target) for step in steps]
    assert torch.equal(*residuals)
    assert torch.equal(*(step.likelihoods["y_hf"][0] for step in steps))


def test_laplacian_gradient_is_that_of_the_formula() -> None:
    generator = torch.Generator().manual_seed(0)
    residual = torch.randn(400, generator=generator, dtype=torch.float64).mul_(3).requires_grad_()
    scale = torch.rand(400, generator=generator, dtype=torch.float64).mul_(4).add_(0.2).requires_grad_()
    assert torch.autograd.gradcheck(laplace_likelihood, (residual, scale))


def test_laplacian_has_no_slope_at_its_lower_bound() -> None:
    residual, scale = torch.tensor([90.0], requires_grad=True), torch.tensor([0.1], requires_grad=True)
    laplace_likelihood(residual, scale).log2().sum().backward()
    assert residual.grad == scale.grad == 0
