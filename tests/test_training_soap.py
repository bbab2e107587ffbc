"""SOAP: Adam where there is no basis, Adam in the rotated space where there is, and worth it on a skewed problem."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from weconvene_core.training.soap import REFRESH, Soap

BETAS = (0.9, 0.99)


def gradients(parameter: nn.Parameter, steps: int, seed: int = 0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(parameter.shape, generator=generator) for _ in range(steps)]


def follow(optimizer: torch.optim.Optimizer, parameter: nn.Parameter, given: list[Tensor]) -> Tensor:
    for gradient in given:
        parameter.grad = gradient.clone()
        optimizer.step()
    return parameter.detach()


@pytest.mark.parametrize("shape", [(7,), (5, 3), (4, 3, 2)])
def test_it_is_adam_for_everything_but_kernels(shape: tuple[int, ...]) -> None:
    start = torch.randn(shape)
    ours, theirs = nn.Parameter(start.clone()), nn.Parameter(start.clone())
    given = gradients(ours, 12)
    follow(Soap([ours], 0.01, BETAS), ours, given)
    follow(torch.optim.Adam([theirs], 0.01, BETAS), theirs, given)
    torch.testing.assert_close(ours, theirs)


def test_a_kernel_of_one_channel_has_nothing_to_rotate() -> None:
    ours, theirs = nn.Parameter(torch.zeros(1, 1, 3, 3)), nn.Parameter(torch.zeros(1, 1, 3, 3))
    given = gradients(ours, 12)
    follow(Soap([ours], 0.01, BETAS), ours, given)
    follow(torch.optim.Adam([theirs], 0.01, BETAS), theirs, given[1:])  # the first one only fills the bases
    torch.testing.assert_close(ours, theirs)


def test_bases_stay_orthonormal_and_diagonalise_the_covariances() -> None:
    kernel, (rows, columns) = nn.Parameter(torch.zeros(6, 5, 3, 3)), (torch.randn(6, 6), torch.randn(5, 5))
    optimizer = Soap([kernel], 1e-3)
    mixed = [torch.einsum("op,pikl,ij->ojkl", rows, g, columns) for g in gradients(kernel, 30 * REFRESH)]
    follow(optimizer, kernel, mixed)
    state = optimizer.state[kernel]
    for side in ("out", "in"):
        basis = state[f"basis_{side}"]
        torch.testing.assert_close(basis.T @ basis, torch.eye(len(basis)), atol=1e-5, rtol=0)
        seen = basis.T @ state[f"gram_{side}"] @ basis
        assert (seen - seen.diag().diag()).norm() < 0.5 * seen.norm()  # the covariance moves on between two updates
        assert (seen.diag().diff() < 0.5 * seen.diag().max()).all()  # largest first, roughly


def test_a_first_gradient_of_few_channels_gives_bases_all_the_same() -> None:
    """Covariances of rank one, nearly all zero: in single precision a third of them gives NaN, or raises."""
    generator = torch.Generator().manual_seed(0)
    for _ in range(60):
        felt = torch.randn(96, 1, generator=generator) * (torch.rand(96, 1, generator=generator) > 0.9)
        kernel, gradient = nn.Parameter(torch.zeros(96, 1, 1, 1)), 1e-9 * felt[..., None, None]
        follow(Soap([kernel], 1e-3), kernel, [gradient, gradient])
        assert kernel.isfinite().all()


def loss_after(kind: type[torch.optim.Optimizer], steps: int) -> float:
    """Fit a 1x1 kernel whose inputs and errors are correlated: what Adam's single coordinates cannot see."""
    torch.manual_seed(0)
    skew_in, skew_out = (torch.linalg.qr(torch.randn(16, 16))[0] * torch.logspace(0, -2, 16) for _ in range(2))
    target, kernel = torch.randn(16, 16, 1, 1), nn.Parameter(torch.zeros(16, 16, 1, 1))
    optimizer = kind([kernel], lr=0.05)
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = 0.05 * (1 - step / steps)
        error = torch.einsum("po,oi,iq->pq", skew_out, (kernel - target)[..., 0, 0], skew_in)
        loss = error.square().sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return loss.item()


def test_it_beats_adam_where_coordinates_are_mixed() -> None:
    assert loss_after(Soap, 150) < 0.5 * loss_after(torch.optim.Adam, 150)


def test_its_state_goes_through_a_file_with_the_same_steps_after() -> None:
    straight, resumed = (
        nn.Parameter(torch.ones(4, 3, 3, 3).contiguous(memory_format=torch.channels_last)) for _ in range(2)
    )
    given = gradients(straight, 25)
    follow(Soap([straight], 0.01), straight, given)
    first = Soap([resumed], 0.01)
    follow(first, resumed, given[:13])
    state = {key: value.contiguous() for key, value in first.state[resumed].items()}  # as a file lays them out
    assert state["exp_avg"].shape == state["exp_avg_sq"].shape == (9, 4, 3)  # files of earlier versions hold it so
    second = Soap([resumed], 0.01)
    second.load_state_dict({"state": {0: state}, "param_groups": first.state_dict()["param_groups"]})
    assert torch.equal(follow(second, resumed, given[13:]), straight)
