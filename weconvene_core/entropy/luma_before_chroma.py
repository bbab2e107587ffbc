"""One slice through a coding step, all at once or luma before chroma (ours).

In the shortcut's polyphase order all colours of a position lie in one slice, so chroma never saw the luma beside it.
With ``luma_first`` the luma channels of a slice are coded first, and a small head moves the means and scales of the
chroma channels by what came out: chroma from luma, as in AV1, but learned, with the slice's features to say where it
holds.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from weconvene_core.layers.wavelet_shortcut import COLOURS

if TYPE_CHECKING:
    from weconvene_core.entropy.coding_steps import SliceCodingMode
    from weconvene_core.entropy.slices import P, Positions, SliceCoder

Channels = Callable[[Tensor], Tensor]
""":func:`luma_of` or :func:`chroma_of`."""


def luma_of(x: Tensor) -> Tensor:
    """(B, 3n, h, w) -> the n luma channels; colours alternate from channel to channel."""
    return x[:, ::COLOURS]


def chroma_of(x: Tensor) -> Tensor:
    """(B, 3n, h, w) -> the 2n chroma channels."""
    return x.unflatten(1, (-1, COLOURS))[:, :, 1:].flatten(1, 2)


def interleaved(luma: Tensor, chroma: Tensor) -> Tensor:
    """Undo :func:`luma_of` and :func:`chroma_of`: (B, n, h, w) and (B, 2n, h, w) -> (B, 3n, h, w)."""
    return torch.cat([luma[:, :, None], chroma.unflatten(1, (-1, COLOURS - 1))], 2).flatten(1, 2)


def code_slice(
    network: SliceCoder[P], context: Tensor, step: SliceCodingMode, group: str, target: Tensor | None, *at: Positions,
    corrected: bool = True,
) -> Tensor:  # fmt: skip
    """Predict a slice (B, w, h, w), code it with ``step``, and return it as the decoder knows it.

    Parameters
    ----------
    network : sees ``context`` (B, C, h, w).
    step : is called once, or first for luma and then for chroma.
    target : the slice itself, at these positions; None when decoding.
    at : the positions, where they are not all.
    corrected : False leaves latent residual prediction out.
    """
    prediction = network(context, *at)
    features = prediction.features if corrected else None
    if not network.luma_first:
        return network.reconstruct(step(group, prediction, target), prediction.mean, features)
    luma = prediction.part(luma_of)
    of_luma = step(group, luma, None if target is None else luma_of(target))
    chroma = network.refine(prediction.part(chroma_of), of_luma)
    of_chroma = step(group, chroma, None if target is None else chroma_of(target))
    mean = interleaved(luma.mean, chroma.mean)
    return network.reconstruct(interleaved(of_luma, of_chroma), mean, features)
