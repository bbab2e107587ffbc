"""The entropy model on a tile group, for encoder and decoder alike, and decoding of streams that are cut.

``compress`` and ``decompress`` of the model take whole pictures. A tile is coded with a halo of its neighbours, so the
model's parts (h_a, h_s and 3DWeChARM) are called one by one here; see :mod:`.tile_grid` for the words.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from weconvene_core.codec.tile_grid import Footprint, Tile, TileGroup
from weconvene_core.entropy import DecodeMode, InteriorMode
from weconvene_core.entropy.cdf_tables import Tables
from weconvene_core.entropy.coding_steps import SliceCodingMode
from weconvene_core.entropy.slices import SlicePrediction
from weconvene_core.errors import CorruptFileError
from weconvene_core.exact.slice_networks import ExactCharm
from weconvene_core.model.weconvene import WeConvene

WORD = 4  # bytes that the coder reads at a time
LARGEST = b"\xff" * 64 * WORD  # the largest continuation of a cut stream; zeros, which a decoder assumes, the smallest
ALL = 1 << 30  # more slices than any model has
HYPER_HALO = 4  # positions of z around a tile that its hyper features depend on, and that z depends on
SLICE_HALO = 1  # coefficients around a tile that its slices' 3x3 kernels see

Latent = tuple[Tensor, Tensor]
"""LF and HF (1, C, h, w), in quantiser steps."""
Area = tuple[slice, slice]
"""Rows and columns."""


def footprint(model: WeConvene) -> Footprint:
    """Estimate a model's memory from the width of its finest layers, or of its slices' context where they are exact.

    Measured: 150 to 160 bytes a pixel for `lite` in floating point, 270 to 280 in its exact form (280 here), 640 to
    1020 for `paper` and `baseline` (1280 here), 2750 for `paper-2d` (5120 here).
    """
    config = model.config
    finest = config.narrow / min(config.patch_a, config.patch_s) ** 2
    context = (config.hyper_features + config.coded_channels) / config.coded_stride**2
    coding = max(160.0, 40 * finest, 56 * context if isinstance(model.charm, ExactCharm) else 0.0)
    return Footprint(coding, 4 * config.coded_channels / config.coded_stride**2)


def padded_length(model: WeConvene, length: int) -> int:
    """Return the length to which a model pads."""
    return -(-length // model.config.stride) * model.config.stride


class TileGroupCoder:
    """The entropy model on one tile group.

    z and the LL band belong to the whole group; each tile's part of them is made from the tile and a halo, which keeps
    memory small. The slices are coded tile by tile.

    Attributes
    ----------
    shape : height and width of the group's z.
    ratio : coefficients per position of z, along an axis.
    z_hat : the decoded hyperprior (1, z_channels, *shape); to be set before anything is coded with it.
    """

    z_hat: Tensor

    def __init__(self, model: WeConvene, group: TileGroup, quality: Tensor) -> None:
        self.model, self.group, self.quality = model, group, quality
        self.ratio = model.config.z_stride // model.config.coded_stride
        rows, columns = self.interior(group.tiles[-1])
        self.shape = rows.stop, columns.stop

    def interior(self, tile: Tile, ratio: int = 1) -> Area:
        """Return where a tile lies in the group, in units of 1 / ``ratio`` positions of z."""
        sides, stride = [], self.model.config.z_stride
        for span, spans in zip(tile, (self.group.rows, self.group.columns), strict=True):
            start, length = span.interior.start - spans[0].interior.start, padded_length(self.model, span.length)
            sides.append(slice(start // stride * ratio, (start + length) // stride * ratio))
        return sides[0], sides[1]

    def padded(self, tile: Tile, halo: int, ratio: int = 1) -> tuple[Area, Area]:
        """Return where a tile with a halo (as far as the group goes) lies in the group, and the interior in that."""
        interior = self.interior(tile, ratio)
        rows, columns = (
            slice(max(0, inner.start - halo), min(side * ratio, inner.stop + halo))
            for inner, side in zip(interior, self.shape, strict=True)
        )
        return (rows, columns), _shifted(interior, (rows, columns))

    def assembled(self, parts: Sequence[Tensor], ratio: int) -> Tensor:
        """Put what belongs to the tiles, in their order, together."""
        if len(parts) == 1:
            return parts[0]
        whole = parts[0].new_empty(*parts[0].shape[:2], *(side * ratio for side in self.shape))
        for tile, part in zip(self.group.tiles, parts, strict=True):
            whole[..., *self.interior(tile, ratio)] = part
        return whole

    def quantised_z(self, latent: Latent, tile: Tile) -> Tensor:
        """Return a tile's z_hat (1, z_channels, h, w); ``latent`` is the group's."""
        area, _ = self.padded(tile, HYPER_HALO * self.ratio, self.ratio)
        _, interior = self.padded(tile, HYPER_HALO)
        z = self.model.h_a(torch.cat([part[..., *area] for part in latent], 1))
        return self.model.entropy_bottleneck.quantise(z[..., *interior])

    def hyper_features(self, tile: Tile) -> tuple[list[Tensor], Tensor]:
        """Return a tile's hyper features, from z with a halo.

        Returns
        -------
        Those of the interior at the resolutions of the LL pyramid, coarsest first, and those at the latent's own
        resolution, with a halo of ``SLICE_HALO``.
        """
        area, interior = self.padded(tile, HYPER_HALO)
        features = self.model.h_s(self.z_hat[..., *area], self.quality)
        levels = features[: self.model.charm.layout.ll_levels]
        coarse = [level[..., *_scaled(interior, 2**i)] for i, level in enumerate(levels)]
        seen, _ = self.padded(tile, SLICE_HALO, self.ratio)
        return coarse, features[-1][..., *_shifted(seen, _scaled(area, self.ratio))]

    def code_ll(self, mode: SliceCodingMode, ll: Tensor | None = None) -> Tensor | None:
        """Code the group's LL band (None when decoding) and return what is decoded of it."""
        parts = [self.hyper_features(tile)[0] for tile in self.group.tiles]
        levels = [self.assembled(level, 2**i) for i, level in enumerate(zip(*parts, strict=True))]
        return self.model.charm.code_ll(levels, mode, ll)

    def code_tile(
        self, tile: Tile, mode: SliceCodingMode, ll_hat: Tensor | None,
        lf: Tensor | None = None, hf: Tensor | None = None,
    ) -> Latent:  # fmt: skip
        """Code the slices of a tile and return its decoded latents; the tensors given are the group's."""
        area, interior = self.padded(tile, SLICE_HALO, self.ratio)
        ll_hat, lf, hf = (None if part is None else part[..., *area] for part in (ll_hat, lf, hf))
        _, features = self.hyper_features(tile)
        lf_hat, hf_hat = self.model.charm.code_slices(features, ll_hat, InteriorMode(mode, interior), lf, hf)
        return lf_hat[..., *interior], hf_hat[..., *interior]

    def code_whole(self, mode: SliceCodingMode, lf: Tensor | None = None, hf: Tensor | None = None) -> Latent:
        """Code the LL band and all slices of a picture in one piece, and return its decoded latents."""
        coded = self.model.code_latents(self.quality, mode, lf, hf, self.z_hat)
        return coded.lf_hat, coded.hf_hat

    def read_z(self, data: bytes) -> None:
        """Decode z.

        A stream that is too short even for the likeliest symbols is refused, so that a forged header cannot make a
        decoder work, or reserve memory, for a size that the file has no bytes for.
        """
        tables, (height, width) = self.model.entropy_bottleneck.tables, self.shape
        likeliest = (np.diff(row[: escape + 2]).max() for row, escape in zip(tables.cdf, tables.escape, strict=True))
        bits = sum(-math.log2(frequency / tables.cdf.max()) for frequency in likeliest) * height * width
        if bits > 8 * len(data) + 64:
            raise CorruptFileError(
                f"A hyperprior of {len(data)} bytes cannot hold {width} x {height} positions: "
                "the file is damaged; get a fresh copy."
            )
        self.z_hat = self.model.entropy_bottleneck.read(data, self.shape)


def _scaled(area: Area, ratio: int) -> Area:
    rows, columns = (slice(side.start * ratio, side.stop * ratio) for side in area)
    return rows, columns


def _shifted(area: Area, origin: Area) -> Area:
    rows, columns = (slice(a.start - o.start, a.stop - o.start) for a, o in zip(area, origin, strict=True))
    return rows, columns


class TruncatedDecodeMode:
    """Decoding of streams that may be cut, or of some HF slices only: a missing residual is assumed zero.

    A range code is a number, and decoding is monotonic in it. A cut stream is decoded twice: with the smallest and with
    the largest continuation. A slice on which both agree is certain, whatever the missing bytes are. The first slice on
    which they disagree ends the stream.

    Parameters
    ----------
    streams : the bytes of the groups y_lf and y_hf, and whether their end is missing.
    slices : HF slices to decode at most.
    calls : how often the mode is called for a slice.
    """

    def __init__(
        self, tables: Tables, streams: Mapping[str, tuple[bytes, bool]], slices: int = ALL, calls: int = 1
    ) -> None:
        self.cut = {group for group, (_, is_cut) in streams.items() if is_cut}
        data = {group: stream for group, (stream, _) in streams.items()}
        data |= {group: data[group][: len(data[group]) // WORD * WORD] for group in self.cut}
        self.low = DecodeMode(tables, data)
        self.high = DecodeMode(tables, {group: data[group] + LARGEST for group in self.cut})
        self.ended, self.most_calls, self.calls, self._hf_calls = set[str](), slices * calls, calls, 0

    @property
    def decoded(self) -> int:
        """HF slices that were decoded whole."""
        return self._hf_calls // self.calls

    def __call__(self, group: str, prediction: SlicePrediction, target: Tensor | None) -> Tensor:
        """Return the residual of a slice, zero where it is missing."""
        is_hf = group == "y_hf"
        wanted = group not in self.ended and not (is_hf and self._hf_calls == self.most_calls)
        residual = self._next(group, prediction) if wanted else None
        if residual is None:
            self.ended.add(group)
            return torch.zeros_like(prediction.mean)
        self._hf_calls += is_hf
        return residual

    def _next(self, group: str, prediction: SlicePrediction) -> Tensor | None:
        """Decode one more slice; None where a cut stream leaves it open."""
        if group not in self.cut:
            return self.low(group, prediction, None)
        try:
            lowest, highest = self.low(group, prediction, None), self.high(group, prediction, None)
        except CorruptFileError:  # such a continuation is no code at all
            return None
        return lowest if torch.equal(lowest, highest) else None
