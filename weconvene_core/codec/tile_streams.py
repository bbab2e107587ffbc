"""Between a model's latents and the streams of a file: a block's z and LL band, a tile's LF and HF, as far as they go.

The model's parts are called one by one here, because its ``compress`` and ``decompress`` take whole pictures: a tile is
analysed, coded and synthesised with its neighbours around it (see :mod:`.grid`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from weconvene_core.codec.tile_grid import Footprint, Span, TileGroup
from weconvene_core.entropy import DecodeMode, InteriorMode
from weconvene_core.entropy.cdf_tables import Tables
from weconvene_core.entropy.slices import Prediction
from weconvene_core.errors import CorruptFileError
from weconvene_core.exact.slice_networks import ExactCharm
from weconvene_core.model.weconvene import WeConvene

WORD = 4  # bytes that the coder reads at a time
HIGHEST = b"\xff" * 64 * WORD  # the largest continuation of a cut stream; zeros, which a decoder assumes, the smallest
ALL = 1 << 30  # more slices than any model has
HYPER_HALO = 4  # positions of z around a tile that its hyper features depend on, and that z depends on
SLICE_HALO = 1  # coefficients around a tile that its slices' 3x3 kernels see

Latent = tuple[Tensor, Tensor]
"""LF and HF (1, C, h, w), in quantiser steps."""
Area = tuple[slice, slice]
"""Rows and columns."""


@dataclass(frozen=True)
class TileStreams:
    """What a file holds of a tile; ``cut`` names the groups, y_lf and y_hf, whose end is missing, or all of them."""

    y_lf: bytes
    y_hf: bytes
    cut: frozenset[str] = frozenset()


@dataclass(frozen=True)
class TileGroupStreams:
    """What a file holds of a block; of a picture in one piece the LL band stands in its only tile's ``y_lf``.

    Attributes:
        y_ll: None in a picture in one piece.
        tiles: row by row.
        cut: the end of ``y_ll`` is missing.
    """

    z: bytes
    y_ll: bytes | None
    tiles: tuple[TileStreams, ...]
    cut: bool = False


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


class TileGroupPlan:
    """Where the tiles of a block lie in its latents and in z.

    Attributes:
        shape: height and width of the block's z.
        ratio: coefficients per position of z, along an axis.
    """

    def __init__(self, model: WeConvene, block: TileGroup, quality: Tensor) -> None:
        self.model, self.block, self.quality = model, block, quality
        self.ratio = model.config.z_stride // model.config.coded_stride
        self._axes = [self._cells(parts) for parts in (block.rows, block.columns)]
        self.shape = self._axes[0][-1].stop, self._axes[1][-1].stop

    def _cells(self, parts: tuple[Span, ...]) -> list[slice]:
        """Return the positions of z of the tiles along an axis."""
        origin, stride = parts[0].start, self.model.config.z_stride
        starts = [(part.start - origin) // stride for part in parts]
        lengths = [padded(self.model, part.stop - part.start) // stride for part in parts]
        return [slice(start, start + length) for start, length in zip(starts, lengths, strict=True)]

    def core(self, place: tuple[int, int], ratio: int = 1) -> Area:
        """Return where a tile lies, in units of 1 / ``ratio`` positions of z."""
        row, column = (axis[index] for axis, index in zip(self._axes, place, strict=True))
        return _scaled(row, ratio), _scaled(column, ratio)

    def around(self, place: tuple[int, int], margin: int, ratio: int = 1) -> tuple[Area, Area]:
        """Return the window of a tile, ``margin`` units wider where the block goes on, and the tile's place in it."""
        cores, sides = self.core(place, ratio), (side * ratio for side in self.shape)
        windows = [
            slice(max(0, c.start - margin), min(side, c.stop + margin)) for c, side in zip(cores, sides, strict=True)
        ]
        inner = [_shifted(core, window.start) for core, window in zip(cores, windows, strict=True)]
        return (windows[0], windows[1]), (inner[0], inner[1])

    def z_of(self, latent: Latent, place: tuple[int, int]) -> Tensor:
        """Return the quantised z (1, z_channels, ...) of a tile."""
        window, _ = self.around(place, HYPER_HALO * self.ratio, self.ratio)
        _, inner = self.around(place, HYPER_HALO)
        z = self.model.h_a(torch.cat([part[..., *window] for part in latent], 1))[..., *inner]
        return self.model.entropy_bottleneck.quantise(z)

    def coarse(self, z_hat: Tensor, place: tuple[int, int]) -> list[Tensor]:
        """Return a tile's hyper features at the resolutions of the LL pyramid, coarsest first."""
        window, inner = self.around(place, HYPER_HALO)
        levels = self.model.h_s(z_hat[..., *window], self.quality)[: self.model.charm.layout.ll_levels]
        return [level[..., *(_scaled(axis, 2**i) for axis in inner)] for i, level in enumerate(levels)]

    def fine(self, z_hat: Tensor, place: tuple[int, int]) -> Tensor:
        """Return the hyper features that a tile's slices see: its own, and ``SLICE_HALO`` around it."""
        (rows, columns), _ = self.around(place, HYPER_HALO)
        features = self.model.h_s(z_hat[..., rows, columns], self.quality)[-1]
        window, _ = self.around(place, SLICE_HALO, self.ratio)
        origins = rows.start * self.ratio, columns.start * self.ratio
        return features[..., *(_shifted(axis, origin) for axis, origin in zip(window, origins, strict=True))]

    def joined(self, parts: list[Tensor], ratio: int) -> Tensor:
        """Put what belongs to the tiles, in their order, together."""
        if len(parts) == 1:
            return parts[0]
        whole = parts[0].new_empty(*parts[0].shape[:2], *(side * ratio for side in self.shape))
        for place, part in zip(self.block.places, parts, strict=True):
            whole[..., *self.core(place, ratio)] = part
        return whole


def _scaled(along: slice, ratio: int) -> slice:
    return slice(along.start * ratio, along.stop * ratio)


def _shifted(along: slice, origin: int) -> slice:
    return slice(along.start - origin, along.stop - origin)


class BlockReader:
    """Decodes a block: z and the LL band at once, then tiles on demand, with at most ``slices`` HF slices.

    Raises:
        CorruptFileError: the streams cannot be those of such a block.
    """

    @torch.no_grad()
    def __init__(
        self, model: WeConvene, block: TileGroup, streams: TileGroupStreams, quality: Tensor, slices: int = ALL
    ) -> None:
        self.plan, self.streams, self.slices = TileGroupPlan(model, block, quality), streams, slices
        self.tables = model.tables
        _check_z(model, streams.z, self.plan.shape)
        self.z_hat = model.entropy_bottleneck.read(streams.z, self.plan.shape)
        self.ll_hat = None if streams.y_ll is None else self._read_ll(streams.y_ll)

    def _read_ll(self, y_ll: bytes) -> Tensor | None:
        parts = [self.plan.coarse(self.z_hat, place) for place in self.plan.block.places]
        levels = [self.plan.joined(list(level), 2**i) for i, level in enumerate(zip(*parts, strict=True))]
        cut = frozenset({"y_lf"} if self.streams.cut else ())
        return self.plan.model.charm.code_ll(levels, TruncatedDecodeMode(self.tables, TileStreams(y_ll, b"", cut), ALL))

    @torch.no_grad()
    def tile(self, place: tuple[int, int]) -> tuple[Latent, TruncatedDecodeMode]:
        """Return the latents of a tile, and the step that read them.

        Raises:
            CorruptFileError: as the class.
        """
        plan, model = self.plan, self.plan.model
        streams = self.streams.tiles[place[0] * len(plan.block.columns) + place[1]]
        step = TruncatedDecodeMode(self.tables, streams, self.slices, model.config.calls_per_slice)
        if self.streams.y_ll is None:
            return model.code_latents(plan.quality, step, z_hat=self.z_hat)[:2], step
        window, inner = plan.around(place, SLICE_HALO, plan.ratio)
        ll_hat = None if self.ll_hat is None else self.ll_hat[..., *window]
        lf, hf = model.charm.code_slices(plan.fine(self.z_hat, place), ll_hat, InteriorMode(step, inner))
        return (lf[..., *inner], hf[..., *inner]), step


class TruncatedDecodeMode:
    """Decoding that goes as far as the bytes do, or stops after some HF slices; what is missing is taken as predicted.

    A range code is a number, and decoding is monotonic in it: what the smallest and the largest continuation of a cut
    stream agree on, the missing bytes cannot change. So of a cut stream exactly the slices that are certain are used.

    Args:
        slices: HF slices to decode at most.
        calls: how often the step is called for a slice.
    """

    def __init__(self, tables: Tables, streams: TileStreams, slices: int, calls: int = 1) -> None:
        data = {"y_lf": streams.y_lf, "y_hf": streams.y_hf}
        data |= {group: data[group][: len(data[group]) // WORD * WORD] for group in streams.cut}
        self.low = DecodeMode(tables, data)
        self.high = DecodeMode(tables, {group: data[group] + HIGHEST for group in streams.cut})
        self.cut, self.ended = streams.cut, set[str]()
        self.wanted, self.per_slice, self._called, self._decoded = slices, calls, 0, 0

    @property
    def seen(self) -> int:
        """HF slices that the model has asked for."""
        return -(-self._called // self.per_slice)

    @property
    def decoded(self) -> int:
        """HF slices that were decoded whole."""
        return self._decoded // self.per_slice

    def __call__(self, group: str, prediction: Prediction, target: Tensor | None) -> Tensor:
        """Return the residual of a slice, zero where it is not there."""
        is_hf = group == "y_hf"
        self._called += is_hf
        left_out = group in self.ended or (is_hf and self.seen > self.wanted)
        residual = None if left_out else self._next(group, prediction)
        if residual is None:
            self.ended.add(group)
            return torch.zeros_like(prediction.mean)
        self._decoded += is_hf
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
    tables = model.entropy_bottleneck.tables
    likeliest = (np.diff(row[: escape + 2]).max() for row, escape in zip(tables.cdf, tables.escape, strict=True))
    bits = sum(-math.log2(frequency / tables.cdf.max()) for frequency in likeliest) * shape[0] * shape[1]
    if bits > 8 * len(data) + 64:
        raise CorruptFileError(
            f"A hyperprior of {len(data)} bytes cannot hold {shape[1]} x {shape[0]} positions: "
            "the file is damaged; get a fresh copy."
        )
