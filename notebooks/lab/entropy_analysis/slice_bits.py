"""Where the bits of one picture go: by slice, by subband and by place, and what the decoder sees slice after slice.

All numbers are the likelihoods that the range coder would use, on the very residuals that a file would hold.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from lab.complexity.mac_formulas import slice_names
from weconvene_core.entropy import LIKELIHOODS, LikelihoodMode
from weconvene_core.entropy.charm import SliceLayout, slice_shapes
from weconvene_core.entropy.coding_steps import SliceCodingMode
from weconvene_core.entropy.luma_before_chroma import interleaved
from weconvene_core.entropy.polyphase_passes import joined, positions
from weconvene_core.entropy.slices import Positions, SlicePrediction
from weconvene_core.image_tensors import from_8_bit, pad, to_8_bit
from weconvene_core.layers.wavelet_shortcut import BANDS, COLOURS, HF_CHANNELS, LEVELS, LF_CHANNELS, LL_CHANNELS
from weconvene_core.model.config import ModelConfig
from weconvene_core.model.weconvene import WeConvene

DIRECTIONS = ("HL", "LH", "HH")


@dataclass(frozen=True, eq=False)
class CodedSlice:
    """One slice of one picture.

    ``bits`` (w, h, w) holds the cost of every coefficient, ``residual`` the integers that were coded, ``seen`` counts
    the channels of its context, ``stride`` is that of a position against the picture.
    """

    name: str
    seen: int
    bits: np.ndarray
    residual: np.ndarray
    stride: int

    @property
    def total(self) -> float:
        """Bits of the whole slice."""
        return float(self.bits.sum())

    @property
    def per_pixel(self) -> np.ndarray:
        """Bits per pixel of the picture at every position (h, w)."""
        return self.bits.sum(0) / self.stride**2


class _Keep(LikelihoodMode):
    """Estimates as usual and keeps the likelihood and residual of every call in coding order.

    After ``calls`` of them nothing is decoded any more, and the mean stands.
    """

    def __init__(self, config: ModelConfig, calls: int | None = None) -> None:
        super().__init__(LIKELIHOODS[config.distribution], quantiser=None)
        self.calls, self.kept = calls, list[tuple[Tensor, Tensor]]()

    def __call__(self, group: str, prediction: SlicePrediction, target: Tensor | None) -> Tensor:
        residual = super().__call__(group, prediction, target)
        self.kept.append((self.likelihoods[group][-1], residual))
        missing = self.calls is not None and len(self.kept) > self.calls
        return torch.zeros_like(residual) if missing else residual


@torch.no_grad()
def coded_slices(model: WeConvene, picture: np.ndarray, quality: float) -> list[CodedSlice]:
    """Return what every slice of a picture (H, W, 3) uint8 costs, in coding order; padding is part of it."""
    step, slices = _Keep(model.config), []
    run_entropy_model(model, picture, quality, step)
    height, width = as_input(model, picture).shape[2:]
    shapes = slice_shapes(model.config.layout, model.config.hyper_features)
    kept = _by_slice(step.kept, model.config, height, width)
    for name, (seen, _), (likelihood, residual) in zip(slice_names(model.config), shapes, kept, strict=True):
        bits = -likelihood[0].double().log2()
        slices.append(CodedSlice(name, seen, bits.numpy(), residual[0].numpy(), height // likelihood.shape[2]))
    return slices


def ll_passes(config: ModelConfig, height: int, width: int) -> list[Positions]:
    """Positions of the passes in which the coarsest LL band of a padded image is coded; none where it has none."""
    return positions(*_ll_size(config, height, width)) if config.layout.ll_passes else []


def _ll_size(config: ModelConfig, height: int, width: int) -> tuple[int, int]:
    stride = config.coded_stride * 2**config.layout.ll_levels
    return height // stride, width // stride


def _by_slice(
    kept: list[tuple[Tensor, Tensor]], config: ModelConfig, height: int, width: int
) -> list[tuple[Tensor, Tensor]]:
    """Put colours and the passes of the coarsest LL band together: a pair of tensors per slice instead of per call."""
    kept = by_network(kept, config)
    passes = len(ll_passes(config, height, width))
    if not passes:
        return kept
    likelihoods, residuals = zip(*kept[:passes], strict=True)
    size = _ll_size(config, height, width)
    return [(joined(likelihoods, *size), joined(residuals, *size)), *kept[passes:]]


def by_network(kept: Sequence[tuple[Tensor, ...]], config: ModelConfig) -> list[tuple[Tensor, ...]]:
    """Put what was kept of luma and chroma together: one tuple per call of a slice network instead of per step."""
    if not config.luma_first:
        return list(kept)
    pairs = zip(kept[::2], kept[1::2], strict=True)
    return [tuple(interleaved(*parts) for parts in zip(luma, chroma, strict=True)) for luma, chroma in pairs]


def run_entropy_model(
    model: WeConvene, picture: np.ndarray, quality: float, step: SliceCodingMode
) -> tuple[Tensor, Tensor, Tensor]:
    """Send a picture through the entropy model with the given step; return (lf_hat, hf_hat, quality)."""
    at = torch.tensor([float(quality)])
    lf, hf = model.analyse(as_input(model, picture), at)
    z_hat, _ = model.bottleneck(model.h_a(torch.cat([lf, hf], 1)))
    return *model.charm(model.h_s(z_hat, at), step, lf, hf), at


def as_input(model: WeConvene, picture: np.ndarray) -> Tensor:
    """(H, W, 3) uint8 -> (1, 3, H', W') in 0..1, padded to the model's stride."""
    return pad(from_8_bit(picture), model.config.stride)


@torch.no_grad()
def after_slices(model: WeConvene, picture: np.ndarray, quality: float, counts: Sequence[int]) -> list[np.ndarray]:
    """Decode as if a file ended after so many slices: every later residual is taken as zero, so its mean stands.

    Returns one picture (H, W, 3) uint8 per count.
    """
    height, width = picture.shape[:2]
    more = max(0, len(ll_passes(model.config, *as_input(model, picture).shape[2:])) - 1)  # calls than slices
    shown = []
    for count in counts:
        step = _Keep(model.config, calls=model.config.calls_per_slice * (count + more) if count else 0)
        x_hat = model.synthesise(*run_entropy_model(model, picture, quality, step))
        shown.append(to_8_bit(x_hat)[:height, :width])
    return shown


def slice_table(slices: Sequence[CodedSlice], pixels: int) -> pd.DataFrame:
    """Return one row per slice: channels seen and coded, bits per pixel, its share, and the share of zero residuals."""
    total = sum(s.total for s in slices)
    rows = []
    for s in slices:
        zeros = 100 * float((s.residual == 0).mean())
        rows.append([s.name, s.seen, len(s.bits), s.stride, s.total / pixels, 100 * s.total / total, zeros])
    return pd.DataFrame(rows, columns=["slice", "seen", "coded", "stride", "bpp", "share_pct", "zero_pct"])


def subbands(config: ModelConfig) -> list[list[str]]:
    """Name the subband of every channel of every slice, in coding order.

    With the shortcut the bands are those of the picture's own pyramid (level 1 is the finest); otherwise those of the
    latent's DWT, LL, HL, LH and HH, or ``y`` where y itself is coded.
    """
    layout = config.layout
    if config.shortcut:
        coarse, bands = _ll_bands(layout), _pyramid_bands()
        widths = (*layout.lf[1:], *layout.hf)
    else:
        coarse, widths = [], (*layout.lf, *layout.hf)
        bands = ["LL" if config.wavelet_entropy else "y"] * config.latent_channels
        bands += [band for band in DIRECTIONS for _ in range(config.latent_channels)] if layout.hf else []
    stops = np.cumsum(widths)
    return coarse + [bands[stop - width : stop] for stop, width in zip(stops, widths, strict=True)]


def _ll_bands(layout: SliceLayout) -> list[list[str]]:
    """Bands of the LL band's own pyramid, coarsest level first."""
    coarsest = LEVELS + layout.ll_levels
    levels = [[f"{d}{j}" for d in DIRECTIONS for _ in range(COLOURS)] for j in range(coarsest, LEVELS, -1)]
    low = [f"LL{coarsest}"] * LL_CHANNELS
    if layout.ll_passes:
        return [low, *levels]
    return [low + levels[0], *levels[1:]] if levels else []


def _pyramid_bands() -> list[str]:
    """Bands of the shortcut's other channels: level 3, then levels 2 and 1 by polyphase components."""
    directions = [d for d in DIRECTIONS for _ in range(COLOURS)]
    level2, level1 = LF_CHANNELS - LL_CHANNELS - BANDS, HF_CHANNELS
    counts = ((3, BANDS), (2, level2), (1, level1))
    return [f"{directions[c % BANDS]}{level}" for level, count in counts for c in range(count)]


def subband_table(slices: Sequence[CodedSlice], config: ModelConfig, pixels: int) -> pd.DataFrame:
    """Return bits per pixel, coefficients per pixel and bits per coefficient of every subband, coarsest first."""
    costs: dict[str, list[float]] = {}
    for coded, names in zip(slices, subbands(config), strict=True):
        for name, bits in zip(names, coded.bits, strict=True):
            cost = costs.setdefault(name, [0.0, 0.0])
            cost[0] += float(bits.sum())
            cost[1] += bits.size
    rows = [[name, bits / pixels, count / pixels, bits / count] for name, (bits, count) in costs.items()]
    return pd.DataFrame(rows, columns=["subband", "bpp", "coefficients_px", "bits_per_coefficient"])


def stream_sizes(model: WeConvene, picture: np.ndarray, quality: float) -> pd.DataFrame:
    """Return the bytes of every stream beside what the likelihoods promise: columns stream, estimate, bytes."""
    x = as_input(model, picture)
    with torch.no_grad():
        likelihoods = model(x, quality)["likelihoods"]
    strings = model.compress(x, quality)["strings"]
    rows = [
        [name, -likelihoods[name].double().log2().sum().item() / 8, len(strings[i][0])]
        for i, name in enumerate(("y_lf", "y_hf", "z"))
    ]
    return pd.DataFrame(rows, columns=["stream", "estimate", "bytes"])
