"""3DWeChARM: channel-wise autoregressive entropy model in the wavelet domain (paper section on 3DWeChARM).

The latent's low-frequency part is coded first, slice by slice; then the high-frequency slices, each of which sees *all*
decoded LF slices. The first LF slice may be an image-like LL band; it is then transformed further (the multi-level
recursion on LF) and coded from the coarsest level up, each level with the hyper features of its own resolution. Its
coarsest band may be coded in polyphase passes before (see :mod:`.phases`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from weconvene_core.entropy.coding_steps import SliceCodingMode
from weconvene_core.entropy.luma_before_chroma import code_slice
from weconvene_core.entropy.polyphase_passes import PHASES, code_polyphase_passes
from weconvene_core.entropy.slices import SlicePredictor
from weconvene_core.layers import appended, layout_of
from weconvene_core.wavelets import Details, Pyramid, dwt2d, idwt2d

LL_WAVELET = "9/7"
# LL coefficients are an order of magnitude larger than the others; keep the networks' inputs alike
LL_CONTEXT_SCALE = 1 / 8

MakeSlice = Callable[[int, int], SlicePredictor]
"""Builds the network of a slice from the channels that it sees and those that it codes."""


@dataclass(frozen=True)
class SliceLayout:
    """Widths of the slices in coding order, and the extra DWT levels of the first LF slice (0: an ordinary slice).

    ``ll_passes``: the coarsest band of these levels is coded on its own, in polyphase passes, not with its details.
    """

    lf: tuple[int, ...]
    hf: tuple[int, ...]
    ll_levels: int = 0
    ll_passes: bool = False

    @property
    def ll_networks(self) -> int:
        """Number of networks that code the first LF slice through its levels."""
        return self.ll_levels + self.ll_passes


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
        shapes = slice_shapes(layout, hyper_channels)
        self.ll_slices = nn.ModuleList(make(*shape) for shape in shapes[: layout.ll_networks])
        self.slices = nn.ModuleList(make(*shape) for shape in shapes[layout.ll_networks :])

    def forward(
        self, hyper: Sequence[Tensor], step: SliceCodingMode, lf: Tensor | None = None, hf: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Walk through all slices with ``step`` and return (lf_hat, hf_hat).

        ``lf`` (B, C_lf, h, w) and ``hf`` (B, C_hf, h, w) are the latents in quantiser steps, None when decoding;
        ``hyper`` are the hyper features, coarsest first.
        """
        ll_hat = self.code_ll(hyper, step, None if lf is None else lf[:, : self.layout.lf[0]])
        return self.code_slices(hyper[-1], ll_hat, step, lf, hf)

    def code_slices(
        self,
        hyper: Tensor,
        ll_hat: Tensor | None,
        step: SliceCodingMode,
        lf: Tensor | None = None,
        hf: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Walk through the slices behind the LL band, with the hyper features of their resolution and the LL band."""
        context, decoded = _Context(hyper, sum(self.layout.lf + self.layout.hf)), []
        if ll_hat is not None:
            decoded.append(ll_hat)
            context.append(ll_hat * LL_CONTEXT_SCALE)
        for network, group, target in self._plain_slices(lf, hf):
            y_hat = code_slice(network, context.so_far(), step, group, target, corrected=self.corrected)
            decoded.append(y_hat)
            context.append(y_hat)
        n_lf = len(self.layout.lf)
        lf_hat = torch.cat(decoded[:n_lf], 1)
        return lf_hat, torch.cat(decoded[n_lf:], 1) if self.layout.hf else lf_hat[:, :0]

    def _plain_slices(self, lf: Tensor | None, hf: Tensor | None) -> list[tuple[SlicePredictor, str, Tensor | None]]:
        """Pair every network at the latent's own resolution with its group and its target."""
        lf_targets, hf_targets = _split(lf, self.layout.lf), _split(hf, self.layout.hf)
        lf_targets = lf_targets[1:] if self.layout.ll_levels else lf_targets
        groups = ["y_lf"] * len(lf_targets) + ["y_hf"] * len(hf_targets)
        return list(zip(self.slices, groups, lf_targets + hf_targets, strict=True))

    def code_ll(self, hyper: Sequence[Tensor], step: SliceCodingMode, ll: Tensor | None = None) -> Tensor | None:
        """Code the LL band (B, c, h, w) through its own pyramid, coarsest level first; None where there is none.

        ``hyper`` are the hyper features from the coarsest on, as many as the pyramid has levels, or more.
        """
        if not self.layout.ll_levels:
            return None
        targets = [None] * self.layout.ll_networks if ll is None else ll_targets(ll, self.layout)
        networks, ll_hat = list(self.ll_slices), None
        if self.layout.ll_passes:
            coarsest = networks.pop(0), hyper[0], LL_CONTEXT_SCALE, step, targets.pop(0)
            ll_hat = code_polyphase_passes(*coarsest, self.corrected)
        for network, features, target in zip(networks, hyper, targets, strict=False):
            known = features if ll_hat is None else appended(features, ll_hat * LL_CONTEXT_SCALE)
            bands = code_slice(network, known, step, "y_lf", target, corrected=self.corrected)
            if ll_hat is None:
                ll_hat, bands = bands[:, : self.layout.lf[0]], bands[:, self.layout.lf[0] :]
            ll_hat = self.join_ll(ll_hat, bands.chunk(3, 1))
        assert ll_hat is not None
        return ll_hat

    def join_ll(self, low: Tensor, details: Sequence[Tensor]) -> Tensor:
        """Go up one level of the LL pyramid; ``details`` are HL, LH and HH."""
        return idwt2d(Pyramid(low, (Details(*details),), LL_WAVELET))

    @torch.no_grad()
    def set_scales(self, lf: Tensor, hf: Tensor, factor: float) -> None:
        """Start every slice's scale at ``factor`` times the standard deviation of a batch of latents."""
        targets = [target for _, _, target in self._plain_slices(lf, hf)]
        networks = list(self.slices)
        if self.layout.ll_levels:
            targets += ll_targets(lf[:, : self.layout.lf[0]], self.layout)
            networks += list(self.ll_slices)
        for network, target in zip(networks, targets, strict=True):
            network.set_scale(factor * target.transpose(0, 1).flatten(1).std(1))  # (w,)


class _Context:
    """What a slice sees: the hyper features (B, C, h, w) and everything decoded, beside each other, in their type.

    Without gradient it lies in one memory from the start, so that no slice copies what the ones before it have seen.
    """

    def __init__(self, hyper: Tensor, decoded_channels: int) -> None:
        self.parts, self.channels, self.whole, self.layout = [hyper], 0, None, layout_of(hyper)
        if not torch.is_grad_enabled():
            sizes = len(hyper), hyper.shape[1] + decoded_channels, *hyper.shape[2:]
            self.whole = torch.empty(sizes, dtype=hyper.dtype, device=hyper.device, memory_format=self.layout)
            self._put(hyper)

    def append(self, part: Tensor) -> None:
        """Add what was decoded."""
        if self.whole is None:
            self.parts.append(part.to(self.parts[0].dtype, memory_format=self.layout))
        else:
            self._put(part)

    def so_far(self) -> Tensor:
        """Return all of it (B, ..., h, w)."""
        return torch.cat(self.parts, 1) if self.whole is None else self.whole[:, : self.channels]

    def _put(self, part: Tensor) -> None:
        assert self.whole is not None
        self.whole[:, self.channels : self.channels + part.shape[1]] = part
        self.channels += part.shape[1]


def slice_shapes(layout: SliceLayout, hyper_channels: int) -> list[tuple[int, int]]:
    """Return (channels seen, channels coded) of every slice network in coding order.

    First one network per level of the LL pyramid: the coarsest codes all four bands, the others the three details. With
    ``ll_passes`` the coarsest band has its own, which sees what is known of it and the planes of the passes.
    """
    ll, levels = layout.lf[0], layout.ll_levels
    coarsest = [(hyper_channels + ll + len(PHASES), ll), (hyper_channels + ll, 3 * ll)]
    shapes = coarsest if layout.ll_passes else [(hyper_channels, 4 * ll)] * (levels > 0)
    shapes = shapes + [(hyper_channels + ll, 3 * ll)] * (levels - 1)
    known = hyper_channels + (ll if levels else 0)
    for width in (*(layout.lf[1:] if levels else layout.lf), *layout.hf):
        shapes.append((known, width))
        known += width
    return shapes


def _split(latent: Tensor | None, widths: tuple[int, ...]) -> list[Tensor] | list[None]:
    """Cut a latent into its slices; when decoding there is none."""
    if latent is None or not widths:
        return [None] * len(widths)
    return list(latent.split(widths, 1))


def ll_targets(ll: Tensor, layout: SliceLayout) -> list[Tensor]:
    """Return what is coded of the LL band, coarsest first: LL_J and its three details (together, or one after the other
    with ``ll_passes``), then three details a level."""
    pyramid = dwt2d(ll, LL_WAVELET, layout.ll_levels)
    details = [torch.cat([d.hl, d.lh, d.hh], 1) for d in reversed(pyramid.details)]
    if layout.ll_passes:
        return [pyramid.low, *details]
    return [torch.cat([pyramid.low, details[0]], 1), *details[1:]]
