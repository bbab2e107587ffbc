"""Coding a picture tile by tile; a picture in one piece is the case of one tile.

``compress`` and ``decompress`` of the model take whole pictures. A tile is coded with a halo of its neighbours, so the
model's parts (h_a, h_s and 3DWeChARM) are called one by one here; see :mod:`.tile_grid` for the words.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby, islice

import numpy as np
import torch
from torch import Tensor

from weconvene_core.codec.container import Container, CutFileError, Kind, PartialFile
from weconvene_core.codec.latent_refinement import Refinement
from weconvene_core.codec.plain_coding import DistortionMonitor
from weconvene_core.codec.tile_grid import HALO, UNIT, Span, Tile, TileGroup, spans
from weconvene_core.entropy import DecodeMode, EncodeMode, InteriorMode
from weconvene_core.entropy.cdf_tables import Tables
from weconvene_core.entropy.coding_steps import SliceCodingMode
from weconvene_core.entropy.slices import SlicePrediction
from weconvene_core.errors import CorruptFileError, WeconveneError
from weconvene_core.image_tensors import from_8_bit, pad, to_8_bit
from weconvene_core.layers.blocks import batch_of
from weconvene_core.model.weconvene import WeConvene
from weconvene_core.progress import PROGRESS

WORD = 4  # bytes that the coder reads at a time
LARGEST = b"\xff" * 64 * WORD  # the largest continuation of a cut stream; zeros, which a decoder assumes, the smallest
ALL = 1 << 30  # more slices than any model has
HYPER_HALO = 4  # positions of z around a tile that its hyper features depend on, and that z depends on
SLICE_HALO = 1  # coefficients around a tile that its slices' 3x3 kernels see

Latent = tuple[Tensor, Tensor]
"""LF and HF (1, C, h, w), in quantiser steps."""
Area = tuple[slice, ...]
"""Rows and columns."""


@torch.no_grad()
def encode_tiles(
    model: WeConvene, header: Container, pixels: np.ndarray,
    refinement: Refinement | None = None, monitor: DistortionMonitor | None = None,
) -> dict[tuple[Kind, int], bytes]:  # fmt: skip
    """Code pixels (H, W, 3) uint8, turned as the header says; return the streams by kind and index of group or tile.

    The ``refinement`` changes latents before they are coded; the ``monitor`` is shown what a decoder will have.

    Raises
    ------
    WeconveneError
        If the model's stride does not fit into tiles.
    """
    if header.tile and UNIT % model.config.stride:
        raise WeconveneError(f"Model '{model.config.name}' needs blocks of {model.config.stride} pixels: use no tiles.")
    streams: dict[tuple[Kind, int], bytes] = {}
    left = iter(PROGRESS.get()([tile for group in header.groups for tile in group.tiles]))
    for group in header.groups:
        tiles = islice(left, len(group.tiles))
        coder = TileGroupCoder(model, header, group)
        latents = zip(*(analyse(model, pixels, tile, coder.quality, refinement) for tile in tiles), strict=True)
        lf, hf = (coder.assembled(parts, coder.ratio) for parts in latents)
        streams["z", group.index] = coder.write_z(lf, hf)
        if header.tile:
            mode = EncodeMode(model.tables)
            coder.code_ll(mode, lf[:, : model.charm.layout.lf[0]])
            streams["y_ll", group.index] = mode.streams().get("y_lf", b"")
        for tile in group.tiles:
            mode, index = EncodeMode(model.tables), header.tile_index(tile)
            decoded = coder.code(tile, mode, lf, hf)
            if monitor is not None:
                monitor(pixels[tile[0].interior, tile[1].interior], decoded)
            found = mode.streams()
            streams["y_lf", index], streams["y_hf", index] = found.get("y_lf", b""), found.get("y_hf", b"")
    return streams


def analyse(
    model: WeConvene, pixels: np.ndarray, tile: Tile, quality: Tensor, refinement: Refinement | None = None
) -> Latent:
    """Analyse a padded tile of a picture and return the latents of its interior.

    With a ``refinement``, whose gradients take much memory, the tile is divided once more.
    """
    cell = refinement.cell if refinement else 0
    rows, columns = (spans(length, cell, span) for length, span in zip(pixels.shape[:2], tile, strict=True))

    def part(row: Span, column: Span) -> Latent:
        x = from_8_bit(pixels[row.padded, column.padded])
        latent = refinement(x, quality) if refinement else model.analyse(pad(x, model.config.stride), quality)
        area = [_coefficients(model, span.halo_before, span.length) for span in (row, column)]
        return latent[0][..., *area], latent[1][..., *area]

    return _joined([_joined([part(row, column) for column in columns], 3) for row in rows], 2)


@torch.no_grad()
def decode_tiles(model: WeConvene, file: PartialFile, slices: int = ALL) -> tuple[np.ndarray, int]:
    """Decode at most ``slices`` HF slices; the latents of at most four rows of tiles are in memory.

    Returns
    -------
    The pixels (H, W, 3) uint8, still turned, and how many HF slices the furthest tile has.

    Raises
    ------
    CutFileError, CorruptFileError
        If not even the hyperprior is complete; if the streams cannot be those of such a picture.
    """
    container, halo = file.container, HALO // model.config.coded_stride
    quality = batch_of(container.quality)
    rows, columns = (spans(side, container.tile) for side in container.coded_size)
    decoded = _decode_rows(model, file, slices)
    above, (here, reached) = None, next(decoded)
    pixels = np.empty((*container.coded_size, 3), np.uint8)  # once the first row was found to be possible
    for row in PROGRESS.get()(rows):
        below, further = next(decoded, (None, 0))
        # The row's own latents, and the nearest lines of the rows above and below.
        parts = [] if above is None else [(above[0][:, :, -halo:], above[1][:, :, -halo:])]
        parts += [here] + ([] if below is None else [(below[0][:, :, :halo], below[1][:, :, :halo])])
        band = _joined(parts, 2)
        for column in columns:
            area = _coefficients(model, column.padded.start, column.padded.stop - column.padded.start)
            x_hat = model.synthesise(band[0][..., area], band[1][..., area], quality)
            inside = (slice(span.halo_before, span.halo_before + span.length) for span in (row, column))
            pixels[row.interior, column.interior] = to_8_bit(x_hat[..., *inside])
        above, here, reached = here, below, max(reached, further)
    return pixels, reached


@torch.no_grad()
def hash_latents(model: WeConvene, file: PartialFile) -> str:
    """Return the SHA-256 of y_hat, row by row of tiles: what must be the same on every machine."""
    digest = hashlib.sha256()
    for latent, _ in _decode_rows(model, file, ALL):
        for part in latent:
            digest.update(part.cpu().numpy().tobytes())
    return digest.hexdigest()


def _decode_rows(model: WeConvene, file: PartialFile, slices: int) -> Iterator[tuple[Latent, int]]:
    """Yield the latents of each row of tiles, and the number of HF slices of its furthest tile."""
    header = file.container
    if len(header.of("z")) < header.counts["z"]:
        raise CutFileError("The file is cut inside its hyperprior: there is no preview yet; get a fresh copy.")
    for _, groups in groupby(header.groups, key=lambda group: group.rows[0].index):
        coders = [TileGroupCoder(model, header, group) for group in groups]
        for coder in coders:
            coder.read_z(file.stream("z", coder.group.index)[0])
            if header.tile:
                coder.code_ll(TruncatedDecodeMode(model.tables, {"y_lf": file.stream("y_ll", coder.group.index)}))
        for row in coders[0].group.rows:
            latents, reached = [], 0
            for coder, column in ((own, column) for own in coders for column in own.group.columns):
                tile = row, column
                streams = {kind: file.stream(kind, header.tile_index(tile)) for kind in ("y_lf", "y_hf")}
                mode = TruncatedDecodeMode(model.tables, streams, slices, model.config.calls_per_slice)
                latents.append(coder.code(tile, mode))
                reached = max(reached, mode.decoded)
            yield _joined(latents, 3), reached


class TileGroupCoder:
    """The entropy model on one tile group, for encoder and decoder alike.

    z comes first, then, where there are tiles, the LL band. Both belong to the whole group; each tile's part of them is
    made from the tile and a halo, which keeps memory small. Then the slices are coded tile by tile.
    """

    z_hat: Tensor  # (1, z_channels, *shape)
    ll_hat: Tensor | None = None

    def __init__(self, model: WeConvene, header: Container, group: TileGroup) -> None:
        self.model, self.group, self.tiled = model, group, bool(header.tile)
        self.quality = batch_of(header.quality)
        self.ratio = model.config.z_stride // model.config.coded_stride  # coefficients per position of z, along an axis
        self.shape = tuple(side.stop for side in self.interior(group.tiles[-1]))  # of z

    def interior(self, tile: Tile, ratio: int = 1) -> Area:
        """Return where a tile lies in the group, in units of 1 / ``ratio`` positions of z."""
        sides, stride = [], self.model.config.z_stride
        for span, first in zip(tile, (self.group.rows[0], self.group.columns[0]), strict=True):
            start, length = span.interior.start - first.interior.start, padded_length(self.model, span.length)
            sides.append(slice(start // stride * ratio, (start + length) // stride * ratio))
        return tuple(sides)

    def padded(self, tile: Tile, halo: int, ratio: int = 1) -> tuple[Area, Area]:
        """Return where a tile with a halo (as far as the group goes) lies in the group, and the interior in that."""
        interior = self.interior(tile, ratio)
        area = tuple(
            slice(max(0, inner.start - halo), min(side * ratio, inner.stop + halo))
            for inner, side in zip(interior, self.shape, strict=True)
        )
        return area, _shifted(interior, area)

    def assembled(self, parts: Sequence[Tensor], ratio: int) -> Tensor:
        """Put what belongs to the tiles, in their order, together."""
        if len(parts) == 1:
            return parts[0]
        whole = parts[0].new_empty(*parts[0].shape[:2], *(side * ratio for side in self.shape))
        for tile, part in zip(self.group.tiles, parts, strict=True):
            whole[..., *self.interior(tile, ratio)] = part
        return whole

    def write_z(self, lf: Tensor, hf: Tensor) -> bytes:
        """Make z of the group's latents, tile by tile, and return its stream."""
        prior, parts = self.model.entropy_bottleneck, []
        for tile in self.group.tiles:
            area, _ = self.padded(tile, HYPER_HALO * self.ratio, self.ratio)
            _, interior = self.padded(tile, HYPER_HALO)
            z = self.model.h_a(torch.cat([lf[..., *area], hf[..., *area]], 1))
            parts.append(prior.quantise(z[..., *interior]))
        self.z_hat = self.assembled(parts, 1)
        return prior.write(self.z_hat)

    def read_z(self, data: bytes) -> None:
        """Decode z; a stream that is too short even for the likeliest symbols is refused.

        So a forged header cannot make a decoder work, or reserve memory, for a size that the file has no bytes for.
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

    def hyper_features(self, tile: Tile) -> tuple[list[Tensor], Tensor]:
        """Make a tile's hyper features from z with a halo.

        Returns
        -------
        The interior's at the LL pyramid's resolutions, coarsest first, and the latent's own, padded by ``SLICE_HALO``.
        """
        area, interior = self.padded(tile, HYPER_HALO)
        features = self.model.h_s(self.z_hat[..., *area], self.quality)
        levels = features[: self.model.charm.layout.ll_levels]
        coarse = [level[..., *_scaled(interior, 2**i)] for i, level in enumerate(levels)]
        seen, _ = self.padded(tile, SLICE_HALO, self.ratio)
        return coarse, features[-1][..., *_shifted(seen, _scaled(area, self.ratio))]

    def code_ll(self, mode: SliceCodingMode, ll: Tensor | None = None) -> None:
        """Code the group's LL band (None when decoding)."""
        parts = [self.hyper_features(tile)[0] for tile in self.group.tiles]
        levels = [self.assembled(level, 2**i) for i, level in enumerate(zip(*parts, strict=True))]
        self.ll_hat = self.model.charm.code_ll(levels, mode, ll)

    def code(self, tile: Tile, mode: SliceCodingMode, lf: Tensor | None = None, hf: Tensor | None = None) -> Latent:
        """Code the slices of a tile and return its decoded latents; ``lf`` and ``hf`` are the group's."""
        if not self.tiled:  # a picture in one piece: the model's own way, LL band included
            coded = self.model.code_latents(self.quality, mode, lf, hf, self.z_hat)
            return coded.lf_hat, coded.hf_hat
        area, interior = self.padded(tile, SLICE_HALO, self.ratio)
        ll_hat, lf, hf = (None if part is None else part[..., *area] for part in (self.ll_hat, lf, hf))
        _, features = self.hyper_features(tile)
        lf_hat, hf_hat = self.model.charm.code_slices(features, ll_hat, InteriorMode(mode, interior), lf, hf)
        return lf_hat[..., *interior], hf_hat[..., *interior]


class TruncatedDecodeMode:
    """Decoding of streams that may be cut, or of some HF slices only: a missing residual is assumed zero.

    A range code is a number, and decoding is monotonic in it. A cut stream is decoded twice: with the smallest and with
    the largest continuation. A slice on which both agree is certain. The first one on which they disagree ends the
    stream.

    Parameters
    ----------
    streams : by group (y_lf, y_hf), the bytes and whether their end is missing.
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
        if group not in self.ended and not (is_hf and self._hf_calls == self.most_calls):
            try:
                residual = self.low(group, prediction, None)
                if group not in self.cut or torch.equal(residual, self.high(group, prediction, None)):
                    self._hf_calls += is_hf
                    return residual
            except CorruptFileError:  # of a cut stream: such a continuation is no code at all
                if group not in self.cut:
                    raise
        self.ended.add(group)
        return torch.zeros_like(prediction.mean)


def padded_length(model: WeConvene, length: int) -> int:
    """Return the length to which a model pads."""
    return -(-length // model.config.stride) * model.config.stride


def _coefficients(model: WeConvene, start: int, length: int) -> slice:
    """Return where the coefficients of some pixels of an axis lie."""
    scale = model.config.coded_stride
    return slice(start // scale, (start + padded_length(model, length)) // scale)


def _joined(parts: Sequence[Latent], axis: int) -> Latent:
    """Put latents beside each other, along the height (2) or the width (3)."""
    if len(parts) == 1:
        return parts[0]
    lf, hf = zip(*parts, strict=True)
    return torch.cat(lf, axis), torch.cat(hf, axis)


def _scaled(area: Area, ratio: int) -> Area:
    return tuple(slice(side.start * ratio, side.stop * ratio) for side in area)


def _shifted(area: Area, origin: Area) -> Area:
    return tuple(slice(a.start - o.start, a.stop - o.start) for a, o in zip(area, origin, strict=True))
