"""What the context of each slice is worth in bits, measured by taking parts of it away from the trained model.

A part of the context is taken away by replacing each of its channels by that channel's mean over the picture: the
network still sees a typical level there, but no longer *where* something happens. A network trained without the part
would make up for some of it, so this bounds its worth from above. Two things keep the bound fair: every prediction,
ablated or not, may be stretched by one factor per channel (the best of 33), so that mere overconfidence is not counted;
and the parts are given back one after the other in coding order (hyper features, LF, earlier slices of the group, and
for chroma the luma of its own slice), so
that what they save adds up. The start, "nothing", is the best fixed distribution per channel, fitted to this picture.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from lab.complexity.mac_formulas import slice_names
from lab.entropy_analysis.slice_bits import as_input, by_network, run_entropy_model
from lab.rd.metrics import psnr_rgb
from weconvene_core.entropy import LIKELIHOODS, LikelihoodMode
from weconvene_core.entropy.distributions import SCALE_MIN, Likelihood
from weconvene_core.entropy.luma_before_chroma import chroma_of, luma_of
from weconvene_core.entropy.slices import SliceNetwork, SlicePrediction
from weconvene_core.image_tensors import to_8_bit
from weconvene_core.model.weconvene import WeConvene

FACTORS = tuple(2 ** (k / 4) for k in range(-16, 17))
FIXED = tuple(SCALE_MIN * 2 ** (k / 4) for k in range(53))  # 0.06 to about 490 steps
PARTS = ("hyper", "lf", "earlier", "luma")
COLUMNS = ["slice", "bpp", *(f"saved_by_{part}" for part in PARTS)]


class _Targets(LikelihoodMode):
    """Keeps what every slice was to code."""

    def __init__(self, model: WeConvene) -> None:
        super().__init__(LIKELIHOODS[model.config.distribution], quantiser=None)
        self.targets: list[Tensor] = []

    def __call__(self, group: str, prediction: SlicePrediction, target: Tensor | None) -> Tensor:
        assert target is not None
        self.targets.append(target)
        return super().__call__(group, prediction, target)


@torch.no_grad()
def context_gains(model: WeConvene, picture: np.ndarray, quality: float) -> pd.DataFrame:
    """Return per slice its bits per pixel and what each part of its context saves, in bits per pixel.

    Columns :data:`COLUMNS`; for LF slices the earlier slices are LF, so ``saved_by_lf`` is 0 there. ``bpp`` is a little
    off what a file pays: stretching helps the whole context too, and a coefficient whose scale says "certainly zero"
    is charged here, where a file leaves it out.
    """
    slices = [*model.charm.ll_slices, *model.charm.slices]
    step, calls = _Targets(model), []
    hooks = [network.register_forward_pre_hook(lambda *call: calls.append(call)) for network in slices]
    try:
        run_entropy_model(model, picture, quality, step)
    finally:
        for hook in hooks:
            hook.remove()
    names, pixels, rows = (
        dict(zip(slices, slice_names(model.config), strict=True)),
        picture.shape[0] * picture.shape[1],
        [],
    )
    targets = by_network([(target,) for target in step.targets], model.config)
    for (network, inputs), (target,) in zip(calls, targets, strict=True):
        bits = _bits_by_context(model, network, inputs, target, names[network])
        saved = [(before - after) / pixels for before, after in zip(bits[:-1], bits[1:], strict=True)]
        rows.append([names[network], bits[-1] / pixels, *saved])
    return pd.DataFrame(rows, columns=COLUMNS).groupby("slice", sort=False, as_index=False).sum()


def _bits_by_context(
    model: WeConvene, network: nn.Module, inputs: Sequence[Any], target: Tensor, name: str
) -> list[float]:
    """Bits of a call with nothing, + hyper features, + LF, + earlier slices or passes of its own group, + luma.

    ``inputs`` are those of the network: its context, and the positions that it is asked for where it is not all.
    """
    context, *at = inputs
    likelihood = LIKELIHOODS[model.config.distribution]
    hyper = model.config.hyper_features
    known = hyper + sum(model.config.layout.lf) if name.startswith("HF") else hyper
    bits = [_best(target - target.flatten(2).median(2).values[..., None, None], torch.ones(()), FIXED, likelihood)]
    for given in (hyper, known, context.shape[1]):
        ablated = context.clone()
        ablated[:, given:] = context[:, given:].mean((2, 3), keepdim=True)
        prediction = network(ablated, *at)
        bits.append(_best(target - prediction.mean, prediction.scale, FACTORS, likelihood))
    return [*bits, _with_luma(network, prediction, target, likelihood) if network.luma_first else bits[-1]]


def _with_luma(network: SliceNetwork, prediction: SlicePrediction, target: Tensor, likelihood: Likelihood) -> float:
    """Bits of a call whose chroma sees the luma of its own slice."""
    luma = prediction.part(luma_of)
    offset = luma_of(target) - luma.mean
    chroma = network.refine(prediction.part(chroma_of), torch.where(luma.indexes > 0, offset.round(), 0.0))
    parts = (offset, luma.scale), (chroma_of(target) - chroma.mean, chroma.scale)
    return sum(_best(*part, FACTORS, likelihood) for part in parts)


def _cost(offset: Tensor, scale: Tensor, likelihood: Likelihood) -> Tensor:
    """Bits per channel (w,) of the rounded offsets (1, w, h, w)."""
    scale = scale.clamp_min(SCALE_MIN).expand_as(offset)
    return -likelihood(offset.round(), scale)[0].double().log2().flatten(1).sum(1)


def _best(offset: Tensor, scale: Tensor, factors: tuple[float, ...], likelihood: Likelihood) -> float:
    """Bits with the best factor on the scale for each channel."""
    costs = torch.stack([_cost(offset, scale * factor, likelihood) for factor in factors])
    return costs.min(0).values.sum().item()


@torch.no_grad()
def residual_prediction(model: WeConvene, picture: np.ndarray, quality: float) -> pd.DataFrame:
    """Code a picture with and without latent residual prediction.

    Returns two rows (``with``, ``without``): bits per pixel of y, mean squared error of y_hat in squared quantiser
    steps, and PSNR in dB. Residual prediction saves nothing in its own slice, which is coded before it acts; it moves
    y_hat to where the picture and the slices that follow gain by it, which need not be closer to y.
    """
    bare = copy.deepcopy(model)
    for network in (*bare.charm.ll_slices, *bare.charm.slices):
        for parameter in network.lrp[-1].parameters():
            parameter.zero_()
    height, width = picture.shape[:2]
    lf, hf = model.analyse(as_input(model, picture), torch.tensor([float(quality)]))
    rows = []
    for label, variant in (("with", model), ("without", bare)):
        step = _Targets(variant)
        lf_hat, hf_hat, at = run_entropy_model(variant, picture, quality, step)
        bits = sum(-p.double().log2().sum().item() for parts in step.likelihoods.values() for p in parts)
        error = torch.cat([lf_hat - lf, hf_hat - hf], 1).double().square().mean().item()
        decoded = to_8_bit(variant.synthesise(lf_hat, hf_hat, at))[:height, :width]
        rows.append([label, bits / (height * width), error, psnr_rgb(picture, decoded)])
    return pd.DataFrame(rows, columns=["residual_prediction", "bpp", "mse_steps", "psnr_db"])
