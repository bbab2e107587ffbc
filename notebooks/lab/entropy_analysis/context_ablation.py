"""What the context of each slice is worth in bits, measured by taking parts of it away from the trained model.

Each channel of the part is replaced by its mean over the picture. A network trained without the part would make up for
some of it, so this bounds its worth from above.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from lab.entropy_analysis.slice_bits import Recorder, as_input, calls, run_entropy_model
from lab.rd.metrics import psnr_rgb
from weconvene_core.entropy import LIKELIHOODS
from weconvene_core.entropy.distributions import SCALE_MIN, Likelihood
from weconvene_core.entropy.slices import SliceNetwork, SlicePrediction, chroma_of, luma_of
from weconvene_core.image_tensors import to_8_bit
from weconvene_core.model.weconvene import WeConvene

FACTORS = tuple(2 ** (k / 4) for k in range(-16, 17))
FIXED = tuple(SCALE_MIN * 2 ** (k / 4) for k in range(53))  # 0.06 to about 490 steps
PARTS = ("hyper", "lf", "earlier", "luma")
COLUMNS = ["slice", "bpp", *(f"saved_by_{part}" for part in PARTS)]


@torch.no_grad()
def context_gains(model: WeConvene, picture: np.ndarray, quality: float) -> pd.DataFrame:
    """Return per slice its bits per pixel and what each part of its context saves, in bits per pixel.

    The start is the best fixed distribution per channel, fitted to this picture. The parts are given back in coding
    order (hyper features, LF, earlier slices of the group, for chroma the luma of its own slice), so that what they
    save adds up. Every prediction may be stretched by one factor per channel, so that overconfidence is not counted;
    therefore, and since "certainly zero" is charged here, ``bpp`` is a little off what a file pays. For LF slices the
    earlier slices are LF, so ``saved_by_lf`` is 0 there.
    """
    seen: list[tuple[SliceNetwork, Sequence[Any]]] = []
    networks = [*model.charm.ll_slices, *model.charm.slices]
    hooks = [network.register_forward_pre_hook(lambda *call: seen.append(call)) for network in networks]
    try:
        made = calls(model, picture, quality)
    finally:
        for hook in hooks:
            hook.remove()
    pixels, rows = picture.shape[0] * picture.shape[1], []
    for (network, inputs), call in zip(seen, made, strict=True):
        bits = _bits_by_context(model, network, inputs, call.target, call.name)
        saved = [(before - after) / pixels for before, after in pairwise(bits)]
        rows.append([call.name, bits[-1] / pixels, *saved])
    return pd.DataFrame(rows, columns=COLUMNS).groupby("slice", sort=False, as_index=False).sum()


def _bits_by_context(
    model: WeConvene, network: SliceNetwork, inputs: Sequence[Any], target: Tensor, name: str
) -> list[float]:
    """Bits of a call with nothing, + hyper features, + LF, + earlier slices or passes of its own group, + luma."""
    context, *at = inputs  # and the positions that the network is asked for, where these are not all
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
    chroma = network.condition_chroma(prediction.part(chroma_of), torch.where(luma.indexes > 0, offset.round(), 0.0))
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
    """Return bits per pixel of y, squared error of y_hat in steps, and PSNR, ``with`` and ``without`` the prediction.

    Residual prediction saves nothing in its own slice, which is coded before it acts; it moves y_hat to where the
    picture and the slices that follow gain by it, which need not be closer to y.
    """
    height, width = picture.shape[:2]
    y, rows = torch.cat(model.analyse(as_input(model, picture), torch.tensor([float(quality)])), 1), []
    for label, corrected in (("with", True), ("without", False)):
        recorder = Recorder(model.config)
        model.charm.corrected = corrected
        try:
            lf_hat, hf_hat, at = run_entropy_model(model, picture, quality, recorder)
        finally:
            model.charm.corrected = True
        bits = sum(-likelihood.double().log2().sum().item() for likelihood, *_ in recorder.kept)
        error = (torch.cat([lf_hat, hf_hat], 1) - y).double().square().mean().item()
        decoded = to_8_bit(model.synthesise(lf_hat, hf_hat, at))[:height, :width]
        rows.append([label, bits / (height * width), error, psnr_rgb(picture, decoded)])
    return pd.DataFrame(rows, columns=["residual_prediction", "bpp", "mse_steps", "psnr_db"])
