"""Between a model's latents and the streams of a file: a tile's z, LF and HF, whole or as far as a file goes.

The model's parts are called one by one here, because its ``compress`` and ``decompress`` take whole pictures: a tile is
analysed and synthesised with its neighbours around it, but coded alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from weconvene_core.codec.grid import Footprint, Span
from weconvene_core.entropy import Read, Write, tables_of
from weconvene_core.entropy.coder import Tables
from weconvene_core.entropy.exact_slices import ExactCharm
from weconvene_core.entropy.slices import Prediction
from weconvene_core.errors import CorruptFileError
from weconvene_core.model import WeConvene, pad

WORD = 4  # bytes that the coder reads at a time
HIGHEST = b"\xff" * 64 * WORD  # the largest continuation of a cut stream; zeros, which a decoder assumes, the smallest
ALL = 1 << 30  # more slices than any model has

Latent = tuple[Tensor, Tensor]
"""LF and HF (1, C, h, w), in quantiser steps."""


@dataclass(frozen=True)
class TileStreams:
    """What a file holds of a tile; ``cut`` names the groups, y_lf and y_hf, whose end is missing, or all of them."""

    z: bytes
    y_lf: bytes
    y_hf: bytes
    cut: frozenset[str] = frozenset()


def footprint(model: WeConvene) -> Footprint:
    """Estimate a model's memory from the width of its finest layers, or of its slices' context where they are exact.

    Measured: 150 to 160 bytes a pixel for `lite` in floating point, 270 to 280 in its exact form (280 here), 640 to
    1020 for `paper` and `baseline` (1280 here), 2750 for `paper-2d` (5120 here).
    """
    config = model.config
    finest = config.narrow / min(config.patch_a, config.patch_s) ** 2
    context = (config.hyper_features + config.coded_channels) / config.coded_stride**2
    window = max(160.0, 40 * finest, 56 * context if isinstance(model.charm, ExactCharm) else 0.0)
    return Footprint(window, 4 * config.coded_channels / config.coded_stride**2)


def padded(model: WeConvene, length: int) -> int:
    """Return the length to which a model pads."""
    return -(-length // model.config.stride) * model.config.stride


def analyse(model: WeConvene, pixels: np.ndarray, rows: Span, columns: Span, quality: Tensor) -> Latent:
    """Analyse a tile's window (rows and columns low .. high of a picture) and return the latents of its core."""
    window = torch.tensor(pixels[rows.low : rows.high, columns.low : columns.high])
    x = pad(window.permute(2, 0, 1)[None].float() / 255, model.config.stride)  # (H, W, 3) -> (1, 3, H', W')
    lf, hf = model.analyse(x, quality)
    scale = x.shape[-2] // lf.shape[-2]
    top, left = (rows.start - rows.low) // scale, (columns.start - columns.low) // scale
    height, width = (padded(model, span.stop - span.start) // scale for span in (rows, columns))
    core = (..., slice(top, top + height), slice(left, left + width))
    return lf[core], hf[core]


def write(model: WeConvene, lf: Tensor, hf: Tensor, quality: Tensor) -> TileStreams:
    """Code the latents of a tile."""
    step = Write(tables_of(model.conditional))
    symbols = model.walk(lf, hf, quality, step)
    streams = step.streams()
    return TileStreams(model._write_z(symbols), streams.get("y_lf", b""), streams.get("y_hf", b""))


def read(
    model: WeConvene, streams: TileStreams, height: int, width: int, quality: Tensor, slices: int = ALL
) -> tuple[Latent, ReadUpTo]:
    """Decode the latents of a tile whose core has ``height`` x ``width`` pixels, and at most ``slices`` HF slices.

    Returns the latents, and the step that read them.

    Raises:
        CorruptFileError: the streams cannot be those of such a tile.
    """
    shape = padded(model, height) // model.config.z_stride, padded(model, width) // model.config.z_stride
    _check_z(model, streams.z, shape)
    z_hat = model._read_z(streams.z, shape) + model.medians
    step = ReadUpTo(tables_of(model.conditional), streams, slices)
    return model.charm(model.h_s(z_hat, quality), step), step


class ReadUpTo:
    """Decoding that goes as far as the bytes do, or stops after some HF slices; what is missing is taken as predicted.

    A range code is a number, and decoding is monotonic in it: what the smallest and the largest continuation of a cut
    stream agree on, the missing bytes cannot change. So of a cut stream exactly the slices that are certain are used.

    Attributes:
        seen, decoded: HF slices that the model has, and those that were decoded.
    """

    def __init__(self, tables: Tables, streams: TileStreams, slices: int) -> None:
        data = {"y_lf": streams.y_lf, "y_hf": streams.y_hf}
        data |= {group: data[group][: len(data[group]) // WORD * WORD] for group in streams.cut}
        self.low = Read(tables, data)
        self.high = Read(tables, {group: data[group] + HIGHEST for group in streams.cut})
        self.cut, self.ended = streams.cut, set[str]()
        self.wanted, self.seen, self.decoded = slices, 0, 0

    def __call__(self, group: str, prediction: Prediction, target: Tensor | None) -> Tensor:
        """Return the residual of a slice, zero where it is not there."""
        is_hf = group == "y_hf"
        self.seen += is_hf
        left_out = group in self.ended or (is_hf and self.seen > self.wanted)
        residual = None if left_out else self._next(group, prediction)
        if residual is None:
            self.ended.add(group)
            return torch.zeros_like(prediction.mean)
        self.decoded += is_hf
        return residual

    def _next(self, group: str, prediction: Prediction) -> Tensor | None:
        """Decode one more slice; None where a cut stream leaves it open."""
        if group not in self.cut:
            return self.low(group, prediction, None)
        try:
            lowest, highest = self.low(group, prediction, None), self.high(group, prediction, None)
        except CorruptFileError:  # such a continuation is no code at all
            return None
        return lowest if torch.equal(lowest, highest) else None


def _check_z(model: WeConvene, data: bytes, shape: tuple[int, int]) -> None:
    """Refuse a z stream that is too short for its size even if every symbol were its likeliest one.

    So a forged header cannot make a decoder work, or reserve memory, for a size that the file has no bytes for.
    """
    tables = tables_of(model.entropy_bottleneck)
    likeliest = (np.diff(row[: escape + 2]).max() for row, escape in zip(tables.cdf, tables.escape, strict=True))
    bits = sum(-math.log2(frequency / tables.cdf.max()) for frequency in likeliest) * shape[0] * shape[1]
    if bits > 8 * len(data) + 64:
        raise CorruptFileError(
            f"A hyperprior of {len(data)} bytes cannot hold {shape[1]} x {shape[0]} positions: "
            "the file is damaged; get a fresh copy."
        )
