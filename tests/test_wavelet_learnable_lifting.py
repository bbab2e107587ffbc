"""A learnt wavelet: classical at the start, invertible always, better where the signal asks for it."""

from __future__ import annotations

import pytest
import torch

from lab.wavelet_analysis.filter_banks import lifting_scheme
from lab.wavelet_analysis.learnable_lifting import LearnableLifting
from weconvene_core.errors import WeconveneError
from weconvene_core.layers import WeConv3d
from weconvene_core.wavelets import dwt1d, dwt2d, idwt2d
from weconvene_core.wavelets.lifting import split_axes


def noise(*shape: int) -> torch.Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", ["haar", "5/3", "9/7", "db4"])
def test_learnable_lifting_starts_classical_and_always_reconstructs(name: str) -> None:
    wavelet = lifting_scheme(name)
    lifting, x = LearnableLifting(wavelet).double(), noise(2, 11, 14)
    for band, classical in zip(split_axes(x, lifting.scheme(), (1, 2)), split_axes(x, wavelet, (1, 2)), strict=True):
        torch.testing.assert_close(band, classical, atol=1e-5, rtol=0)
    with torch.no_grad():
        for parameter in lifting.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(3)))
    pyramid = dwt2d(x, lifting.scheme(), 2)
    torch.testing.assert_close(idwt2d(pyramid), x)
    sum(band.square().sum() for band in pyramid.bands().values()).backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in lifting.coefficients)


def test_a_learnt_wavelet_compacts_better_than_its_start() -> None:
    # a first-order autoregressive signal: the best predictor of an odd sample is not the mean of its neighbours
    signal = [0.0]
    for value in noise(4095).tolist():
        signal.append(0.5 * signal[-1] + value)
    x, lifting = torch.tensor(signal), LearnableLifting("5/3")
    start = dwt1d(x, "5/3", 0, "jpeg2000")[1].square().mean().item()
    optimizer = torch.optim.Adam([lifting.coefficients[0]], lr=0.02)
    for _ in range(60):
        optimizer.zero_grad()
        dwt1d(x, lifting.scheme(), 0, "jpeg2000")[1].square().mean().backward()
        optimizer.step()
    # theory: optimal weight 0.5 / (1 + 0.25) = 0.4 for rho = 0.5
    assert lifting.coefficients[0].item() == pytest.approx(-0.4, abs=0.03)
    assert dwt1d(x, lifting.scheme(), 0, "jpeg2000")[1].square().mean().item() < start


def test_a_wavelet_that_rounds_cannot_be_learnt() -> None:
    with pytest.raises(WeconveneError, match="5/3-integer"):
        LearnableLifting("5/3-integer")


def test_a_layer_refuses_a_wavelet_that_changes() -> None:
    with pytest.raises(WeconveneError, match="learnt 5/3"):
        WeConv3d(4, 4, LearnableLifting("5/3").scheme())
