"""3DWeChARM: channel-wise autoregressive entropy model in the wavelet domain (paper section on 3DWeChARM).

LF slices are coded first, then HF slices, each of which sees *all* decoded LF slices. The first LF slice may be an
image-like LL band: it is then transformed further and coded from the coarsest level up.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from weconvene_core.entropy.slices import Positions, SliceCodingMode, SlicePredictor, code_slice
from weconvene_core.layers import appended, layout_of
from weconvene_core.wavelets import Details, Pyramid, dwt2d, idwt2d

LL_WAVELET = "9/7"
# LL coefficients are an order of magnitude larger than the others; keep the networks' inputs alike
LL_CONTEXT_SCALE = 1 / 8
PASSES = ((0, 0), (1, 1), (0, 1), (1, 0))
"""Row and column of each polyphase pass in a 2x2 block: even diagonal, odd diagonal, the two mixed parities."""

MakeSlice = Callable[[int, int], SlicePredictor]
"""Builds the network of a slice from the channels that it sees and those that it codes."""


@dataclass(frozen=True)
class SliceLayout:
    """Widths of the slices in coding order, and the extra DWT levels of the first LF slice (0: an ordinary slice).

    ``ll_passes``: the coarsest band of these levels is coded on its own (:func:`code_polyphase_passes`).
    """

    lf: tuple[int, ...]
    hf: tuple[int, ...]
    ll_levels: int = 0
    ll_passes: bool = False


def slice_shapes(layout: SliceLayout, hyper_channels: int) -> list[tuple[int, int]]:
    """Return (channels seen, channels coded) of every slice network in coding order, those of the LL pyramid first.

    Each of these codes the three details of a level. The coarsest codes LL too, unless ``ll_passes`` gives it its own.
    """
    ll, levels = layout.lf[0], layout.ll_levels
    # a level of the LL pyramid: hyper features and LL_j are seen, HL, LH and HH are coded
    details = (hyper_channels + ll, 3 * ll)
    if layout.ll_passes:
        # LL_J by itself sees what is known of it, and the planes of the passes
        shapes = [(hyper_channels + ll + len(PASSES), ll)] + [details] * levels
    else:
        shapes = [(hyper_channels, 4 * ll)] * (levels > 0) + [details] * (levels - 1)
    # behind the LL band: hyper features, the LL band and all earlier slices are seen
    known = hyper_channels + (ll if levels else 0)
    for width in (*(layout.lf[1:] if levels else layout.lf), *layout.hf):
        shapes.append((known, width))
        known += width
    return shapes


class WaveletCharm(nn.Module):
    """LF slices first, then HF slices with all of LF as prior.

    Parameters
    ----------
    layout : slice widths.
    hyper_channels : channels of the hyper features at every resolution.
    make : builds the network of a slice.

    Attributes
    ----------
    corrected : latent residual prediction corrects what was decoded.
    """

    corrected = True

    def __init__(self, layout: SliceLayout, hyper_channels: int, make: MakeSlice) -> None:
        super().__init__()
        self.layout = layout
        shapes, of_ll = slice_shapes(layout, hyper_channels), layout.ll_levels + layout.ll_passes
        self.ll_slices = nn.ModuleList(make(*shape) for shape in shapes[:of_ll])
        self.slices = nn.ModuleList(make(*shape) for shape in shapes[of_ll:])

    def forward(
        self, hyper: Sequence[Tensor], mode: SliceCodingMode, lf: Tensor | None = None, hf: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Code all slices with ``mode`` and return (lf_hat, hf_hat).

        Parameters
        ----------
        hyper : the hyper features, coarsest first.
        mode : what coding means: likelihoods, writing, or reading.
        lf, hf : the latents (B, C_lf, h, w) and (B, C_hf, h, w) in quantiser steps, None when decoding.
        """
        # the image-like LL band, where there is one; then LF slices, then HF slices
        ll_hat = self.code_ll(hyper, mode, None if lf is None else lf[:, : self.layout.lf[0]])
        return self.code_slices(hyper[-1], ll_hat, mode, lf, hf)

    def code_ll(self, hyper: Sequence[Tensor], mode: SliceCodingMode, ll: Tensor | None = None) -> Tensor | None:
        """Code the LL band (B, c, h, w) through its own pyramid, coarsest level first; None where there is none.

        ``hyper`` are the hyper features from the coarsest on, as many as the pyramid has levels, or more.
        """
        if not self.layout.ll_levels:
            return None
        targets = [None] * len(self.ll_slices) if ll is None else ll_targets(ll, self.layout)
        networks, ll_hat = list(self.ll_slices), None
        if self.layout.ll_passes:
            # LL_J (B, c, h / 2^J, w / 2^J) by itself, a quarter of its positions at a time
            ll_hat = code_polyphase_passes(networks.pop(0), hyper[0], mode, targets.pop(0), corrected=self.corrected)
        for network, features, target in zip(networks, hyper, targets, strict=False):
            # level j: its HL, LH and HH (B, 3c, ...), given LL_j and the hyper features of this resolution
            known = features if ll_hat is None else appended(features, ll_hat * LL_CONTEXT_SCALE)
            bands = code_slice(network, known, mode, "y_lf", target, corrected=self.corrected)
            if ll_hat is None:
                # without passes the coarsest network codes LL_J too: (B, 4c, ...) -> LL_J (B, c, ...) and its details
                ll_hat, bands = bands[:, : self.layout.lf[0]], bands[:, self.layout.lf[0] :]
            ll_hat = self.join_ll(ll_hat, bands.chunk(3, 1))  # LL_j and its details -> LL_{j-1}, twice as high and wide
        return ll_hat

    def code_slices(
        self, hyper: Tensor, ll_hat: Tensor | None, mode: SliceCodingMode, lf: Tensor | None = None,
        hf: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        """Code the slices behind the LL band, with the hyper features of their resolution and the decoded LL band."""
        widths, n_lf = (*self.layout.lf, *self.layout.hf), len(self.layout.lf)
        # (B, C_lf, h, w) and (B, C_hf, h, w) are cut along the channels; the first LF slice may be the LL band
        targets = [None] * len(widths) if lf is None else [*lf.split(self.layout.lf, 1), *hf.split(self.layout.hf, 1)]
        decoded = [] if ll_hat is None else [ll_hat]
        # context (B, C, h, w): hyper features and LL band; each decoded slice is put behind it
        context, known = hyper, hyper.shape[1]
        if not torch.is_grad_enabled():
            # one memory from the start: so no slice copies what the ones before it have seen
            sizes, layout = (len(hyper), known + sum(widths), *hyper.shape[2:]), layout_of(hyper)
            context = torch.empty(sizes, dtype=hyper.dtype, device=hyper.device, memory_format=layout)
            context[:, :known] = hyper
        if ll_hat is not None:
            context = _put_behind(context, known, ll_hat * LL_CONTEXT_SCALE)
            known += widths[0]
        for i, network in enumerate(self.slices, len(decoded)):
            # slice i sees the hyper features and slices 0 .. i - 1: so every HF slice has all of LF as its prior
            group = "y_lf" if i < n_lf else "y_hf"
            y_hat = code_slice(network, context[:, :known], mode, group, targets[i], corrected=self.corrected)
            decoded.append(y_hat)
            context = _put_behind(context, known, y_hat)
            known += widths[i]
        # slices side by side again: LF_hat (B, C_lf, h, w) and HF_hat (B, C_hf, h, w)
        lf_hat = torch.cat(decoded[:n_lf], 1)
        return lf_hat, torch.cat(decoded[n_lf:], 1) if self.layout.hf else lf_hat[:, :0]

    def join_ll(self, low: Tensor, details: Sequence[Tensor]) -> Tensor:
        """Go up one level of the LL pyramid; ``details`` are HL, LH and HH."""
        return idwt2d(Pyramid(low, (Details(*details),), LL_WAVELET))

    @torch.no_grad()
    def set_scales(self, lf: Tensor, hf: Tensor, factor: float) -> None:
        """Start every slice's scale at ``factor`` times the standard deviation of a batch of latents."""
        targets = [*lf.split(self.layout.lf, 1), *hf.split(self.layout.hf, 1)]
        if self.layout.ll_levels:
            targets[:1] = ll_targets(targets[0], self.layout)
        for network, target in zip([*self.ll_slices, *self.slices], targets, strict=True):
            network.set_scale(factor * target.transpose(0, 1).flatten(1).std(1))  # (w,)


def _put_behind(context: Tensor, known: int, part: Tensor) -> Tensor:
    """Put ``part`` behind the first ``known`` channels: where gradients are kept, in a new tensor."""
    if torch.is_grad_enabled():
        return appended(context, part)
    context[:, known : known + part.shape[1]] = part
    return context


def ll_targets(ll: Tensor, layout: SliceLayout) -> list[Tensor]:
    """Return what is coded of the LL band, coarsest first, in the order of :func:`slice_shapes`."""
    # (B, c, h, w) -> LL_J (B, c, h/2^J, w/2^J) and HL, LH, HH of each level, side by side (B, 3c, ...)
    pyramid = dwt2d(ll, LL_WAVELET, layout.ll_levels)
    details = [torch.cat([d.hl, d.lh, d.hh], 1) for d in reversed(pyramid.details)]
    if layout.ll_passes:
        return [pyramid.low, *details]
    return [torch.cat([pyramid.low, details[0]], 1), *details[1:]]


def pass_positions(height: int, width: int) -> list[Positions]:
    """Return the rows and columns of every pass; a band of one row or column has fewer than four."""
    return [(slice(row, None, 2), slice(column, None, 2)) for row, column in PASSES if row < height and column < width]


def code_polyphase_passes(
    network: SlicePredictor, features: Tensor, mode: SliceCodingMode, target: Tensor | None, *, corrected: bool = True
) -> Tensor:
    """Code the coarsest LL band (B, c, h, w) in four polyphase passes and return it as the decoder knows it (ours).

    No band below it predicts this one, and its neighbours tell most about it. So one position of every 2x2 block is
    coded first, then the one diagonally opposite, then the other two, each pass with all that is known by then.

    Parameters
    ----------
    network : serves all passes; sees ``features`` (B, C, h, w), the band times ``LL_CONTEXT_SCALE``, and four planes.
    mode, corrected : as in :func:`.slices.code_slice`.
    target : the band, None when decoding.
    """
    # a mean of hundreds of steps is predicted from values as large, so nothing here is in half precision
    features = features if features.dtype == torch.float64 else features.float()
    y_hat = features.new_zeros(len(features), network.width, *features.shape[2:])
    with torch.autocast(features.device.type, enabled=False):
        for index, at in enumerate(pass_positions(*features.shape[2:])):
            # four planes (B, 4, h, w), one of them ones: which pass it is; the network sees all positions, and what is
            # not decoded yet is zero
            planes = features.new_zeros(len(features), len(PASSES), *features.shape[2:])
            planes[:, index] = 1
            context = torch.cat([features, y_hat * LL_CONTEXT_SCALE, planes], 1)
            # the prediction is taken at a quarter of the positions, (B, c, h/2, w/2)
            here = None if target is None else target[..., *at]
            decoded = code_slice(network, context, mode, "y_lf", here, at, corrected=corrected)
            y_hat = y_hat.clone()  # the passes before need theirs for the gradient
            y_hat[..., *at] = decoded
    return y_hat
