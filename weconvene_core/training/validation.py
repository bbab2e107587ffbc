"""Validation on whole images: the estimate that steers training, never the number that is reported."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from weconvene_core.image_tensors import from_8_bit, pad, to_8_bit
from weconvene_core.model.weconvene import WeConvene
from weconvene_core.training.losses import rate_distortion

QUALITIES = (1.0, 3.0, 5.0)


def validate(
    model: WeConvene, images: Sequence[np.ndarray], qualities: Sequence[float] | None = None
) -> list[dict[str, Any]]:
    """Measure a model, which is put into evaluation mode, on images (H, W, 3) uint8 of any size.

    Returns
    -------
    One row per quality (None: low, middle and high, as far as the model has them): means over the images of the
    estimated bpp (total, LF, HF, z), PSNR in dB and loss, per pixel of the image, not of its padded copy.
    """
    model.eval()
    if qualities is None:
        lowest, highest = model.config.qualities
        qualities = sorted({min(max(quality, lowest), highest) for quality in QUALITIES})
    rows = []
    for quality in qualities:
        terms = [estimate(model, image, quality)[0] for image in images]
        rows.append({"quality": quality, **{key: float(np.mean([t[key] for t in terms])) for key in terms[0]}})
    return rows


@torch.no_grad()
def estimate(model: WeConvene, image: np.ndarray, quality: float) -> tuple[dict[str, float], np.ndarray]:
    """Return the numbers of :func:`validate` for one image, by a model in evaluation mode, and the decoded picture."""
    device = next(model.parameters()).device
    x = from_8_bit(image, device)
    at = torch.full((1,), quality, device=device)
    output = model(pad(x, model.config.stride), at)
    picture = to_8_bit(output["x_hat"][..., : x.shape[2], : x.shape[3]].float())
    terms = rate_distortion({**output, "x_hat": from_8_bit(picture, device)}, x, at)
    numbers = {
        "bpp": terms.bpp.item(), "bpp_lf": terms.r_lf.item(), "bpp_hf": terms.r_hf.item(), "bpp_z": terms.r_z.item(),
        "psnr_db": -10 * float(np.log10(terms.mse.item())), "loss": terms.loss().item(),
    }  # fmt: skip
    return numbers, picture
