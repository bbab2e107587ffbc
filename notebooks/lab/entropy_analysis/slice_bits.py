"""Where the bits of one picture go: by slice, by subband and by place, and what the decoder sees slice after slice.

All numbers are the likelihoods that the range coder would use, on the very residuals that a file would hold.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from lab.complexity.count_macs import slice_names
from weconvene_core.entropy import LIKELIHOODS, LikelihoodMode
from weconvene_core.entropy.charm import pass_positions, slice_shapes
from weconvene_core.entropy.coding_steps import SliceCodingMode
from weconvene_core.entropy.slices import SlicePrediction, interleaved
from weconvene_core.image_tensors import from_8_bit, pad, to_8_bit
from weconvene_core.layers.wavelet_shortcut import BANDS, COLOURS, HF_CHANNELS, LEVELS, LF_CHANNELS, LL_CHANNELS
from weconvene_core.model.config import ModelConfig
from weconvene_core.model.weconvene import WeConvene

DIRECTIONS = ("HL", "LH", "HH")


@dataclass(frozen=True, eq=False)
class CodedSlice:
    """One slice of one picture: cost of every coefficient (w, h, w) in bits, and the integers that were coded.

    ``seen`` counts the channels of its context, ``stride`` is that of a position against the picture.
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


class Call(NamedTuple):
    """One call of a slice network, luma and chroma together: what it predicted and what was coded, (1, w, h, w) each.

    ``likelihood`` is 1 where the scale says "certainly zero" (``indexes`` 0), and ``residual`` is the integer that a
    file would hold.
    """

    name: str
    likelihood: Tensor
    residual: Tensor
    indexes: Tensor
    scale: Tensor
    mean: Tensor
    target: Tensor


class Recorder(LikelihoodMode):
    """Estimates as usual and keeps the fields of a :class:`Call` at every coding step.

    After ``limit`` steps nothing is decoded any more: every later residual is zero, so the mean stands.
    """

    def __init__(self, config: ModelConfig, limit: int | None = None) -> None:
        super().__init__(LIKELIHOODS[config.distribution], quantiser=None)
        self.limit, self.kept = limit, list[tuple[Tensor, ...]]()

    def __call__(self, group: str, prediction: SlicePrediction, target: Tensor | None) -> Tensor:
        """Code one slice, or its luma or chroma, as :class:`LikelihoodMode` does."""
        assert target is not None
        residual = super().__call__(group, prediction, target)
        likelihood, (mean, scale) = self.likelihoods[group][-1], (prediction.mean, prediction.scale)
        self.kept.append((likelihood, residual, prediction.indexes, scale, mean, target))
        return residual if self.limit is None or len(self.kept) <= self.limit else torch.zeros_like(residual)


@torch.no_grad()
def run_entropy_model(
    model: WeConvene, picture: np.ndarray, quality: float, mode: SliceCodingMode
) -> tuple[Tensor, Tensor, Tensor]:
    """Send a picture (H, W, 3) uint8 through the entropy model with this mode; return (lf_hat, hf_hat, quality)."""
    at = torch.tensor([float(quality)])
    lf, hf = model.analyse(as_input(model, picture), at)
    coded = model.code_latents(at, mode, lf, hf)
    return coded.lf_hat, coded.hf_hat, at


def as_input(model: WeConvene, picture: np.ndarray) -> Tensor:
    """(H, W, 3) uint8 -> (1, 3, H', W') in 0..1, padded to the model's stride."""
    return pad(from_8_bit(picture), model.config.stride)


def calls(model: WeConvene, picture: np.ndarray, quality: float) -> list[Call]:
    """Return what every call of a slice network predicted for a picture (H, W, 3) uint8, and what was coded.

    The first slice has several calls where the coarsest LL band is coded in polyphase passes.
    """
    recorder = Recorder(model.config)
    run_entropy_model(model, picture, quality, recorder)
    steps = recorder.kept
    if model.config.luma_first:
        pairs = zip(steps[::2], steps[1::2], strict=True)
        steps = [tuple(map(interleaved, luma, chroma)) for luma, chroma in pairs]
    names = slice_names(model.config)
    names = [names[0]] * (len(steps) - len(names)) + names
    return [Call(name, *step) for name, step in zip(names, steps, strict=True)]


def coded_slices(model: WeConvene, picture: np.ndarray, quality: float) -> list[CodedSlice]:
    """Return what every slice of a picture (H, W, 3) uint8 costs, in coding order; padding is part of it."""
    config, (height, width) = model.config, as_input(model, picture).shape[2:]
    parts = [(call.likelihood, call.residual) for call in calls(model, picture, quality)]
    shapes = slice_shapes(config.layout, config.hyper_features)
    if config.layout.ll_passes:
        passes, stride = len(parts) - len(shapes) + 1, config.coded_stride * 2**config.layout.ll_levels
        of_ll = zip(*parts[:passes], strict=True)
        parts = [tuple(passes_joined(t, height // stride, width // stride) for t in of_ll), *parts[passes:]]
    slices = []
    for name, (seen, _), (likelihood, residual) in zip(slice_names(config), shapes, parts, strict=True):
        bits = -likelihood[0].double().log2()
        slices.append(CodedSlice(name, seen, bits.numpy(), residual[0].numpy(), height // likelihood.shape[2]))
    return slices


@torch.no_grad()
def after_slices(model: WeConvene, picture: np.ndarray, quality: float, counts: Sequence[int]) -> list[np.ndarray]:
    """Return one picture (H, W, 3) uint8 per count, as if a file ended after so many slices.

    Every later residual is taken as zero, so its mean stands.
    """
    height, width = picture.shape[:2]
    config, whole, shown = model.config, Recorder(model.config), []
    run_entropy_model(model, picture, quality, whole)
    for count in counts:
        missing = config.calls_per_slice * (len(slice_names(config)) - count)
        recorder = Recorder(config, limit=len(whole.kept) - missing if count else 0)
        x_hat = model.synthesise(*run_entropy_model(model, picture, quality, recorder))
        shown.append(to_8_bit(x_hat)[:height, :width])
    return shown


def slice_table(slices: Sequence[CodedSlice], pixels: int) -> pd.DataFrame:
    """Return one row per slice: channels seen and coded, bits per pixel, its share, and the share of zero residuals."""
    total = sum(s.total for s in slices)
    rows = [(s.name, s.seen, len(s.bits), s.stride, s.total / pixels, 100 * s.total / total,
             100 * float((s.residual == 0).mean())) for s in slices]  # fmt: skip
    return pd.DataFrame(rows, columns=["slice", "seen", "coded", "stride", "bpp", "share_pct", "zero_pct"])


def subbands(config: ModelConfig) -> list[list[str]]:
    """Name the subband of every channel of every slice, in coding order.

    With the shortcut the bands are those of the picture's own pyramid (level 1 is the finest): the LL band's own levels
    first, coarsest first, then level 3, then levels 2 and 1 by polyphase components. Otherwise they are those of the
    latent's DWT, LL, HL, LH and HH, or ``y`` where y itself is coded.
    """
    layout, coarse = config.layout, list[list[str]]()
    if config.shortcut:
        coarsest = LEVELS + layout.ll_levels
        by_colour = [direction for direction in DIRECTIONS for _ in range(COLOURS)]
        coarse = [[f"{direction}{j}" for direction in by_colour] for j in range(coarsest, LEVELS, -1)]
        low = [f"LL{coarsest}"] * LL_CHANNELS
        if layout.ll_passes:
            coarse = [low, *coarse]
        elif coarse:
            coarse[0] = low + coarse[0]
        counts = {3: BANDS, 2: LF_CHANNELS - LL_CHANNELS - BANDS, 1: HF_CHANNELS}
        bands = [f"{by_colour[c % BANDS]}{level}" for level, count in counts.items() for c in range(count)]
        widths = (*layout.lf[1:], *layout.hf)
    else:
        widths = (*layout.lf, *layout.hf)
        bands = ["LL" if config.wavelet_entropy else "y"] * config.latent_channels
        bands += [band for band in DIRECTIONS for _ in range(config.latent_channels)] if layout.hf else []
    stops = np.cumsum(widths)
    return coarse + [bands[stop - width : stop] for stop, width in zip(stops, widths, strict=True)]


def channel_table(slices: Sequence[CodedSlice], config: ModelConfig) -> pd.DataFrame:
    """Return slice, subband, colour, bits and coefficients of every channel, coarsest subband first.

    With the shortcut, colours alternate from channel to channel in every slice.
    """
    rows = [(coded.name, name, "chroma" if channel % COLOURS else "luma", float(spent.sum()), spent.size)
            for coded, names in zip(slices, subbands(config), strict=True)
            for channel, (name, spent) in enumerate(zip(names, coded.bits, strict=True))]  # fmt: skip
    return pd.DataFrame(rows, columns=["slice", "subband", "colour", "bits", "coefficients"])


def subband_table(slices: Sequence[CodedSlice], config: ModelConfig, pixels: int) -> pd.DataFrame:
    """Return bits per pixel, coefficients per pixel and bits per coefficient of every subband, coarsest first."""
    sums = channel_table(slices, config).groupby("subband", sort=False)[["bits", "coefficients"]].sum()
    table = sums.div(pixels).rename(columns={"bits": "bpp", "coefficients": "coefficients_px"})
    return table.assign(bits_per_coefficient=sums.bits / sums.coefficients).reset_index()


def stream_sizes(model: WeConvene, picture: np.ndarray, quality: float) -> pd.DataFrame:
    """Return the bytes of every stream beside what the likelihoods promise: columns stream, estimate, bytes."""
    x = as_input(model, picture)
    with torch.no_grad():
        likelihoods = model(x, quality)["likelihoods"]
    strings = dict(zip(("y_lf", "y_hf", "z"), model.compress(x, quality)["strings"], strict=True))
    rows = [(name, -likelihoods[name].double().log2().sum().item() / 8, len(streams[0]))
            for name, streams in strings.items()]  # fmt: skip
    return pd.DataFrame(rows, columns=["stream", "estimate", "bytes"])


def passes_joined(parts: Sequence[Tensor], height: int, width: int) -> Tensor:
    """Put what ``code_polyphase_passes`` handed to its mode, (B, c, ...) each, back into (B, c, height, width)."""
    whole = parts[0].new_zeros(*parts[0].shape[:2], height, width)
    for part, at in zip(parts, pass_positions(height, width), strict=True):
        whole[..., *at] = part
    return whole
