"""A learnt wavelet: invertible whatever its coefficients are, better where the signal asks for it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from lab.wavelet_analysis.filter_banks import lifting_scheme
from weconvene_core.errors import WeconveneError
from weconvene_core.layers import WeConv3d
from weconvene_core.wavelets import LiftingScheme, LiftingStep, Tap, dwt1d, dwt2d, idwt2d


def noise(*shape: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def learnt(name: str, values: list[Tensor]) -> LiftingScheme:
    """A wavelet with one weight of its own in every tap, in the order of its steps."""
    start, left = lifting_scheme(name), iter(values)
    steps = [LiftingStep(step.target, tuple(Tap(tap.offset, next(left)) for tap in step.taps)) for step in start.steps]
    return LiftingScheme(f"learnt {name}", tuple(steps), start.low_gain, start.high_gain, start.border)


@pytest.mark.parametrize("name", ["haar", "5/3", "9/7", "db4"])
def test_a_learnt_wavelet_starts_classical_and_always_reconstructs(name: str) -> None:
    x, start = noise(2, 11, 14), [tap.coefficient for step in lifting_scheme(name).steps for tap in step.taps]
    weights = [torch.tensor(weight, dtype=torch.float64) for weight in start]
    pairs = zip(dwt1d(x, learnt(name, weights), 2), dwt1d(x, lifting_scheme(name), 2), strict=True)
    for found, classical in pairs:
        torch.testing.assert_close(found, classical)
    weights = [(weight + 0.3 * noise(i + 1)[-1]).requires_grad_() for i, weight in enumerate(weights)]
    pyramid = dwt2d(x, learnt(name, weights), 2)
    torch.testing.assert_close(idwt2d(pyramid), x)
    sum(band.square().sum() for band in pyramid.bands().values()).backward()
    assert all(weight.grad.abs() > 0 for weight in weights)


def test_a_learnt_wavelet_compacts_better_than_its_start() -> None:
    # a first-order autoregressive signal: the best predictor of an odd sample is not the mean of its neighbours
    signal = [0.0]
    for value in noise(4095).tolist():
        signal.append(0.5 * signal[-1] + value)
    x, weight, quarter = torch.tensor(signal), torch.tensor(-0.5, requires_grad=True), torch.tensor(0.25)

    def high_energy() -> Tensor:
        return dwt1d(x, learnt("5/3", [weight, weight, quarter, quarter]), 0, "jpeg2000")[1].square().mean()

    start, optimizer = high_energy().item(), torch.optim.Adam([weight], lr=0.02)
    for _ in range(60):
        optimizer.zero_grad()
        high_energy().backward()
        optimizer.step()
    # theory: optimal weight 0.5 / (1 + 0.25) = 0.4 for rho = 0.5
    assert weight.item() == pytest.approx(-0.4, abs=0.03)
    assert high_energy().item() < start


def test_a_layer_refuses_a_wavelet_that_changes() -> None:
    with pytest.raises(WeconveneError, match="learnt 5/3"):
        WeConv3d(4, 4, learnt("5/3", [torch.tensor(weight) for weight in (-0.5, -0.5, 0.25, 0.25)]))
