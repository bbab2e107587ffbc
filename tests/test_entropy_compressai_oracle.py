"""The models of z and y against CompressAI's, which are the oracle: likelihoods, tables, auxiliary loss, gradients."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from compressai.entropy_models import EntropyBottleneck, EntropyModel, GaussianConditional
from compressai.registry import MODELS
from torch import Tensor

import weconvene_core
from weconvene_core.entropy import ConditionalTables, FactorisedPrior
from weconvene_core.entropy.cdf_tables import BUFFERS, TableBuffers, packed
from weconvene_core.entropy.distributions import scale_table
from weconvene_core.errors import CorruptFileError
from weconvene_core.model.checkpoint import read_tensors
from weconvene_core.model.weconvene import WeConvene
from weconvene_core.paths import CHECKPOINTS


def stirred(channels: int = 6) -> FactorisedPrior:
    """A prior as after some training: densities of all widths, medians off zero."""
    generator = torch.Generator().manual_seed(4)
    prior = FactorisedPrior(channels)
    with torch.no_grad():
        for parameter in prior.parameters():
            parameter += 0.4 * torch.randn(parameter.shape, generator=generator)
        prior.quantiles[:, 0, 0] -= 1 + torch.arange(float(channels)) * 3
        prior.quantiles[:, 0, 2] += 1 + torch.arange(float(channels)) * 2
    return prior


@pytest.fixture
def pair() -> tuple[FactorisedPrior, EntropyBottleneck]:
    prior, oracle = stirred(), EntropyBottleneck(6)
    oracle.load_state_dict(prior.state_dict())
    return prior, oracle


def z_of(seed: int = 0) -> Tensor:
    return 3 * torch.randn(2, 6, 5, 4, generator=torch.Generator().manual_seed(seed))


def assert_same_tables(ours: TableBuffers, oracle: EntropyModel) -> None:
    for name in BUFFERS:
        assert torch.equal(getattr(ours, name), getattr(oracle, name)), name


def test_state_has_the_oracles_names_and_shapes() -> None:
    for ours, oracle in (
        (FactorisedPrior(6), EntropyBottleneck(6)),
        (ConditionalTables("laplace"), GaussianConditional(list(scale_table()))),
    ):
        assert {n: t.dtype for n, t in ours.state_dict().items()} == {
            n: t.dtype for n, t in oracle.state_dict().items()
        }
        assert [n for n, _ in ours.named_parameters()] == [n for n, _ in oracle.named_parameters()]


@pytest.mark.parametrize("noisy", [False, True])
def test_likelihoods_and_gradients_are_the_oracles(
    pair: tuple[FactorisedPrior, EntropyBottleneck], noisy: bool
) -> None:
    found = []
    for model, call in zip(pair, (lambda z: pair[0](z, noisy), lambda z: pair[1](z, training=noisy)), strict=True):
        z = z_of().requires_grad_()
        torch.manual_seed(5)
        _, likelihoods = call(z)
        likelihoods.log2().sum().backward()
        found.append([likelihoods, z.grad, *(parameter.grad for parameter in model.matrices)])
    for ours, oracle in zip(*found, strict=True):
        if ours is not None or noisy:
            torch.testing.assert_close(ours, oracle, rtol=1e-5, atol=1e-7)
    assert torch.equal(found[0][0], found[1][0])


def test_z_is_rounded_around_the_medians_with_the_gradient_of_the_identity() -> None:
    prior, z = stirred(), z_of().requires_grad_()
    z_hat, _ = prior(z)
    assert torch.equal(z_hat, (z - prior.medians).round() + prior.medians)
    z_hat.sum().backward()
    assert torch.equal(z.grad, torch.ones_like(z))


def test_auxiliary_loss_is_the_oracles_and_moves_the_quantiles_alone(
    pair: tuple[FactorisedPrior, EntropyBottleneck],
) -> None:
    losses = [model.loss() for model in pair]
    torch.testing.assert_close(*losses)
    for loss in losses:
        loss.backward()
    torch.testing.assert_close(*(model.quantiles.grad for model in pair))
    assert all(p.grad is None for name, p in pair[0].named_parameters() if name != "quantiles")


@pytest.mark.parametrize("update_quantiles", [False, True])
def test_tables_of_z_are_the_oracles(pair: tuple[FactorisedPrior, EntropyBottleneck], update_quantiles: bool) -> None:
    assert all(model.update(update_quantiles=update_quantiles) for model in pair)
    torch.testing.assert_close(*(model.quantiles for model in pair), rtol=0, atol=1e-3)
    assert_same_tables(*pair)
    assert not pair[0].update()  # they are there
    assert pair[0].update(force=True)


def test_gaussian_tables_are_the_oracles() -> None:
    oracle = GaussianConditional(list(scale_table()))
    oracle.update()
    assert_same_tables(ConditionalTables("gaussian"), oracle)


def test_laplacian_tables_are_those_of_the_released_weights_up_to_the_processors_rounding() -> None:
    """Another processor's exponential moves some entries by a step or two of 65,536: so weights carry their tables."""
    stored = read_tensors(CHECKPOINTS / "lite.safetensors")[0]
    made = ConditionalTables("laplace")
    entries = packed(made._quantized_cdf, made._cdf_length).int() - stored["laplace_conditional._packed_cdf"].int()
    steps = (entries + 2**15) % 2**16 - 2**15  # packed entries wrap around at 16 bits
    assert steps.abs().max() <= 2
    assert (steps == 0).float().mean() > 0.95
    assert torch.equal(made._offset, stored["laplace_conditional._offset"])


def test_z_comes_back_from_its_stream() -> None:
    prior = stirred()
    prior.update()
    z_hat, _ = prior(40 * z_of()[:1])  # far outside the tables too
    data = prior.write(z_hat.detach())
    assert torch.equal(prior.read(data, (5, 4)), z_hat)
    with pytest.raises(CorruptFileError):
        prior.read(data[:-3], (5, 4))


def test_tables_of_another_size_are_loaded_and_prepared_anew() -> None:
    wide, other = stirred(), FactorisedPrior(6)
    for prior in (wide, other):
        prior.update()
    before = other.tables
    assert other.tables is before
    other.load_state_dict(wide.state_dict())
    assert (other.tables.cdf == wide.tables.cdf).all()


def test_the_model_enters_the_registry_on_request() -> None:
    weconvene_core.register()
    assert MODELS["weconvene"] is WeConvene


@pytest.mark.slow
def test_coding_imports_neither_compressai_nor_what_it_brings() -> None:
    code = (
        "import sys, weconvene_core.codec.api, weconvene_core.cli.main; "
        "print({'compressai', 'torchvision', 'pandas', 'scipy', 'torch_geometric'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
