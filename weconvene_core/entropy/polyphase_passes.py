"""Spatial context where nothing else gives any: the coarsest LL band is coded in four polyphase passes (ours).

Every finer band is predicted from the bands below it or from earlier polyphase components. The coarsest LL band has
neither, and its neighbours tell most about it. So one position of every 2x2 block is coded first, then the one
diagonally opposite, then the other two, each pass with all of the band that is known by then; one network serves all
four, and four constant planes tell it which pass it is.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from weconvene_core.entropy.coding_steps import SliceCodingMode
from weconvene_core.entropy.luma_before_chroma import code_slice
from weconvene_core.entropy.slices import Positions, SlicePredictor

PHASES = ((0, 0), (1, 1), (0, 1), (1, 0))
"""Row and column of each pass in a 2x2 block: even diagonal, odd diagonal, the two mixed parities."""


def positions(height: int, width: int) -> list[Positions]:
    """Return the rows and columns of every pass; a band of one row or column has fewer than four."""
    return [(slice(row, None, 2), slice(column, None, 2)) for row, column in PHASES if row < height and column < width]


def phase_context(features: Tensor, known: Tensor, phase: int) -> Tensor:
    """Put features (B, C, h, w), what is known of the band (B, c, h, w) and the planes of pass ``phase`` together."""
    planes = features.new_zeros(len(features), len(PHASES), *features.shape[2:])
    planes[:, phase] = 1
    return torch.cat([features, known, planes], 1)


def code_polyphase_passes(
    network: SlicePredictor, features: Tensor, context_scale: float, step: SliceCodingMode, target: Tensor | None,
    corrected: bool = True,
) -> Tensor:  # fmt: skip
    """Code a band (B, c, h, w) pass by pass and return it as the decoder knows it.

    A mean of hundreds of steps is predicted from values as large, so nothing here is in half precision.

    Parameters
    ----------
    network : sees ``features`` (B, C, h, w), c channels of the band times ``context_scale``, and the four planes.
    step : codes one pass at a time, all in ``y_lf``.
    target : the band, None when decoding.
    corrected : as in :func:`.colours.code_slice`.
    """
    features = features if features.dtype == torch.float64 else features.float()
    y_hat = features.new_zeros(len(features), network.width, *features.shape[2:])
    with torch.autocast(features.device.type, enabled=False):
        for phase, at in enumerate(positions(*features.shape[2:])):
            context = phase_context(features, y_hat * context_scale, phase)
            here = None if target is None else target[..., *at]
            decoded = code_slice(network, context, step, "y_lf", here, at, corrected=corrected)
            y_hat = y_hat.clone()  # the passes before need theirs for the gradient
            y_hat[..., *at] = decoded
    return y_hat


def joined(parts: Sequence[Tensor], height: int, width: int) -> Tensor:
    """Put what :func:`code_polyphase_passes` handed to its steps, (B, c, ...) each, back into (B, c, height, width)."""
    whole = parts[0].new_zeros(*parts[0].shape[:2], height, width)
    for part, at in zip(parts, positions(height, width), strict=True):
        whole[..., *at] = part
    return whole
