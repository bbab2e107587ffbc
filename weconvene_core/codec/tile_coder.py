"""Coding a picture tile by tile, several at once; a picture in one piece is the case of one tile."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from itertools import groupby
from typing import Any

import numpy as np
import torch
from torch import Tensor

from weconvene_core.codec.container import Container, CutFileError, Kind, PartialFile
from weconvene_core.codec.latent_refinement import Refinement
from weconvene_core.codec.plain_coding import DistortionMonitor
from weconvene_core.codec.tile_grid import HALO, UNIT, Span, Tile, TileGroup, spans
from weconvene_core.codec.tile_streams import (
    ALL,
    Latent,
    ParallelMap,
    TileGroupCoder,
    TruncatedDecodeMode,
    padded_length,
)
from weconvene_core.entropy import EncodeMode
from weconvene_core.errors import WeconveneError
from weconvene_core.image_tensors import from_8_bit, pad, to_8_bit
from weconvene_core.model.weconvene import WeConvene

Streams = dict[tuple[Kind, int], bytes]
"""Streams by kind and index of the tile group or tile."""


@contextmanager
def thread_map(count: int) -> Iterator[ParallelMap]:
    """Give a ``map`` that runs without gradients in ``count`` threads; torch computes outside Python's lock."""
    with torch.no_grad():
        if count == 1:
            yield serial_map
            return
        with ThreadPoolExecutor(count) as pool:  # gradients are switched off for each thread apart
            yield lambda function, items: list(pool.map(torch.no_grad()(function), items))


def serial_map(function: Callable[[Any], Any], items: Iterable[Any]) -> list[Any]:
    """Apply a function to items, one after the other."""
    return [function(item) for item in items]


def encode_tiles(
    model: WeConvene, header: Container, pixels: np.ndarray, workers: int,
    refinement: Refinement | None = None, monitor: DistortionMonitor | None = None,
) -> Streams:  # fmt: skip
    """Code the pixels (H, W, 3) uint8, turned as the header says, in its tiles, ``workers`` of them at once.

    Parameters
    ----------
    refinement : what to do to the latents before they are coded, one tile after the other.
    monitor : is shown what a decoder will have of each tile.

    Raises
    ------
    WeconveneError
        If the model's stride does not fit into tiles.
    """
    if header.tile and UNIT % model.config.stride:
        raise WeconveneError(f"Model '{model.config.name}' needs blocks of {model.config.stride} pixels: use no tiles.")
    streams: Streams = {}
    with thread_map(workers) as run:
        for group in header.groups:
            coder = TileGroupCoder(model, group, torch.tensor([header.quality]))
            streams |= _encode_group(coder, header, pixels, run, refinement, monitor)
    return streams


def _encode_group(
    coder: TileGroupCoder, header: Container, pixels: np.ndarray, run: ParallelMap,
    refinement: Refinement | None, monitor: DistortionMonitor | None,
) -> Streams:  # fmt: skip
    model, tiles, columns = coder.model, coder.group.tiles, header.tiling[1]
    in_turn = run if refinement is None else serial_map  # gradients take the memory of many tiles
    latents = in_turn(lambda tile: analyse(model, pixels, tile, coder.quality, refinement), tiles)
    lf, hf = (coder.assembled(parts, coder.ratio) for parts in zip(*latents, strict=True))
    symbols = coder.assembled(run(lambda tile: coder.z_symbols((lf, hf), tile), tiles), 1)
    coder.z_hat = symbols + model.medians
    ll_hat, ll_mode = None, EncodeMode(model.tables)
    if header.tile:
        ll_hat = coder.code_ll(ll_mode, run, lf[:, : model.charm.layout.lf[0]])

    def encode_tile(tile: Tile) -> Streams:
        mode = EncodeMode(model.tables)
        decoded = coder.code_tile(tile, mode, ll_hat, lf, hf) if header.tile else coder.code_whole(mode, lf, hf)
        if monitor is not None:
            monitor(pixels[tile[0].interior, tile[1].interior], decoded)
        found, index = mode.streams(), tile[0].index * columns + tile[1].index
        return {("y_lf", index): found.get("y_lf", b""), ("y_hf", index): found.get("y_hf", b"")}

    streams: Streams = {("z", coder.group.index): model.write_z(symbols)}
    if header.tile:
        streams["y_ll", coder.group.index] = ll_mode.streams().get("y_lf", b"")
    for of_tile in run(encode_tile, tiles):
        streams |= of_tile
    return streams


def analyse(
    model: WeConvene, pixels: np.ndarray, tile: Tile, quality: Tensor, refinement: Refinement | None = None
) -> Latent:
    """Analyse a padded tile of a picture and return the latents of its interior.

    With a ``refinement``, whose gradients take much memory, the tile is divided once more.
    """
    bands, cell = [], refinement.cell if refinement else 0
    rows, columns = (spans(length, cell, span) for length, span in zip(pixels.shape[:2], tile, strict=True))
    for row in rows:
        parts = []
        for column in columns:
            x = from_8_bit(pixels[row.padded, column.padded])
            latent = refinement(x, quality) if refinement else model.analyse(pad(x, model.config.stride), quality)
            area = tuple(_interior(model, span) for span in (row, column))
            parts.append((latent[0][..., *area], latent[1][..., *area]))
        bands.append(_joined(parts, 3))
    return _joined(bands, 2)


def _interior(model: WeConvene, span: Span) -> slice:
    """Return where the coefficients of a tile's interior lie in those of the padded tile."""
    start, scale = (span.start - span.low) // model.config.coded_stride, model.config.coded_stride
    return slice(start, start + padded_length(model, span.stop - span.start) // scale)


def _joined(parts: Sequence[Latent], axis: int) -> Latent:
    """Put latents beside each other, along the height (2) or the width (3)."""
    if len(parts) == 1:
        return parts[0]
    lf, hf = zip(*parts, strict=True)
    return torch.cat(lf, axis), torch.cat(hf, axis)


def decode_tiles(model: WeConvene, file: PartialFile, workers: int, slices: int = ALL) -> tuple[np.ndarray, int]:
    """Decode a picture with at most ``slices`` HF slices; the latents of at most four rows of tiles are in memory.

    Returns
    -------
    The pixels (H, W, 3) uint8, still turned, and how many HF slices the furthest tile has.

    Raises
    ------
    CutFileError
        If not even the hyperprior is complete.
    CorruptFileError
        If the streams cannot be those of such a picture.
    """
    container, quality = file.container, torch.tensor([file.container.quality])
    rows, columns = (spans(side, container.tile) for side in container.coded_size)
    with thread_map(workers) as run:
        decoded = _decode_rows(model, file, slices, run)
        above, (here, reached) = None, next(decoded)
        pixels = np.empty((*container.coded_size, 3), np.uint8)  # once the first row was found to be possible
        for row in rows:
            below, further = next(decoded, (None, 0))
            band, reached = _with_halo(model, above, here, below), max(reached, further)
            run(partial(_synthesise, model, band, pixels, quality, row), columns)
            above, here = here, below
    return pixels, reached


def hash_latents(model: WeConvene, file: PartialFile) -> str:
    """Return the SHA-256 of y_hat, row by row of tiles: what must be the same on every machine.

    Raises
    ------
    CorruptFileError
        If the streams cannot be those of such a picture.
    """
    digest = hashlib.sha256()
    with thread_map(1) as run:
        for latent, _ in _decode_rows(model, file, ALL, run):
            for part in latent:
                digest.update(part.cpu().numpy().tobytes())
    return digest.hexdigest()


class TileGroupDecoder:
    """Decodes a tile group: z and the LL band at once, then tiles on demand, with at most ``slices`` HF slices.

    Raises
    ------
    CorruptFileError
        If the streams cannot be those of such a group.
    """

    def __init__(self, model: WeConvene, file: PartialFile, group: TileGroup, slices: int) -> None:
        self.file, self.slices, self.ll_hat = file, slices, None
        self.coder = TileGroupCoder(model, group, torch.tensor([file.container.quality]))
        self.coder.read_z(file.stream("z", group.index)[0])
        if file.container.tile:
            mode = TruncatedDecodeMode(model.tables, {"y_lf": file.stream("y_ll", group.index)})
            self.ll_hat = self.coder.code_ll(mode, serial_map)

    def decode(self, tile: Tile) -> tuple[Latent, int]:
        """Return the latents of a tile, and how many of its HF slices were there."""
        model, container = self.coder.model, self.file.container
        index = tile[0].index * container.tiling[1] + tile[1].index
        streams = {group: self.file.stream(group, index) for group in ("y_lf", "y_hf")}
        mode = TruncatedDecodeMode(model.tables, streams, self.slices, model.config.calls_per_slice)
        latent = self.coder.code_tile(tile, mode, self.ll_hat) if container.tile else self.coder.code_whole(mode)
        return latent, mode.decoded


def _decode_rows(model: WeConvene, file: PartialFile, slices: int, run: ParallelMap) -> Iterator[tuple[Latent, int]]:
    """Yield the latents of each row of tiles, and the number of HF slices of its furthest tile."""
    if len(file.container.of("z")) < file.container.counts["z"]:
        raise CutFileError("The file is cut inside its hyperprior: there is no preview yet; get a fresh copy.")
    for _, groups in groupby(file.container.groups, key=lambda group: group.rows[0].index):
        decoders = run(lambda group: TileGroupDecoder(model, file, group, slices), groups)
        for row in decoders[0].coder.group.rows:
            tiles = [(decoder, (row, column)) for decoder in decoders for column in decoder.coder.group.columns]
            latents, reached = zip(*run(lambda pair: pair[0].decode(pair[1]), tiles), strict=True)
            yield _joined(latents, 3), max(reached)


def _with_halo(model: WeConvene, above: Latent | None, here: Latent, below: Latent | None) -> Latent:
    """Return the latents of a row of padded tiles: its own, and the nearest lines of the rows above and below."""
    halo = HALO // model.config.coded_stride
    parts = [] if above is None else [(above[0][:, :, -halo:], above[1][:, :, -halo:])]
    parts += [here] + ([] if below is None else [(below[0][:, :, :halo], below[1][:, :, :halo])])
    return _joined(parts, 2)


def _synthesise(model: WeConvene, band: Latent, pixels: np.ndarray, quality: Tensor, row: Span, column: Span) -> None:
    """Synthesise a padded tile from the latents of its row, and put its interior into the picture."""
    start, length = column.low // model.config.coded_stride, padded_length(model, column.high - column.low)
    area = slice(start, start + length // model.config.coded_stride)
    x_hat = model.synthesise(band[0][..., area], band[1][..., area], quality)
    top, left = row.start - row.low, column.start - column.low
    interior = x_hat[:, :, top : top + row.stop - row.start, left : left + column.stop - column.start]
    pixels[row.interior, column.interior] = to_8_bit(interior)
