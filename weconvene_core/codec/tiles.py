"""Coding a picture tile by tile, several at once; a picture in one piece is the case of one tile."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
from torch import Tensor

from weconvene_core.codec.grid import MARGIN, UNIT, Span, spans
from weconvene_core.codec.latents import ALL, Latent, TileStreams, analyse, padded, read, write
from weconvene_core.errors import WeconveneError
from weconvene_core.model import WeConvene

Map = Callable[[Callable, Iterable], Iterable]


@dataclass(frozen=True, eq=False)
class Decoded:
    """A picture (H, W, 3) uint8, how many HF slices the furthest tile brought to it, and how many the model has."""

    rgb: np.ndarray
    slices: int
    slices_in_all: int


def encode_tiles(model: WeConvene, rgb: np.ndarray, tile: int, quality: float, workers: int) -> list[TileStreams]:
    """Code a picture (H, W, 3) uint8 in tiles, row by row; ``tile`` is 0 or a side in pixels.

    Raises:
        WeconveneError: the model's blocks do not fit into tiles.
    """
    at = torch.tensor([quality])
    if tile and UNIT % model.config.stride:
        raise WeconveneError(f"Model '{model.config.name}' needs blocks of {model.config.stride} pixels: use no tiles.")

    @torch.no_grad()  # which belongs to a thread
    def encode_tile(place: tuple[Span, Span]) -> TileStreams:
        return write(model, *analyse(model, rgb, *place, at), at)

    with _workers(workers) as run:
        return list(run(encode_tile, product(spans(rgb.shape[0], tile), spans(rgb.shape[1], tile))))


def decode_tiles(
    model: WeConvene,
    tiles: Sequence[TileStreams],
    size: tuple[int, int],
    tile: int,
    quality: float,
    workers: int,
    slices: int = ALL,
) -> Decoded:
    """Decode a picture of ``size`` (height, width) with at most ``slices`` HF slices; at most four rows are in memory.

    Raises:
        CorruptFileError: the streams cannot be those of such a picture.
    """
    at, rows, columns = torch.tensor([quality]), spans(size[0], tile), spans(size[1], tile)
    reached, in_all = 0, 0

    @torch.no_grad()
    def read_tile(place: tuple[int, int]) -> tuple[Latent, int, int]:
        row, column = place
        height, width = (span.stop - span.start for span in (rows[row], columns[column]))
        latent, step = read(model, tiles[row * len(columns) + column], height, width, at, slices)
        return latent, step.decoded, step.seen

    def read_row(row: int) -> Latent:
        nonlocal reached, in_all
        found = list(run(read_tile, ((row, column) for column in range(len(columns)))))
        reached, in_all = max(reached, *(tile[1] for tile in found), 0), found[0][2]
        return torch.cat([latent[0] for latent, _, _ in found], 3), torch.cat([latent[1] for latent, _, _ in found], 3)

    with _workers(workers) as run:
        above, here = None, read_row(0)
        rgb = np.empty((*size, 3), np.uint8)  # once a row was found to be possible
        for number, row in enumerate(rows):
            below = read_row(number + 1) if number + 1 < len(rows) else None
            scale = padded(model, row.stop - row.start) // here[0].shape[2]
            band = _band(above, here, below, MARGIN // scale)
            list(run(_synthesis(model, band, scale, rgb, row, at), columns))
            above, here = here, below
    return Decoded(rgb, reached, in_all)


@torch.no_grad()
def hash_latents(
    model: WeConvene, tiles: Sequence[TileStreams], size: tuple[int, int], tile: int, quality: float
) -> str:
    """Return the SHA-256 of y_hat, tile by tile: what must be the same on every machine.

    Raises:
        CorruptFileError: the streams cannot be those of such a picture.
    """
    at, digest = torch.tensor([quality]), hashlib.sha256()
    places = product(spans(size[0], tile), spans(size[1], tile))
    for streams, (row, column) in zip(tiles, places, strict=True):
        latent, _ = read(model, streams, row.stop - row.start, column.stop - column.start, at)
        for part in latent:
            digest.update(part.cpu().numpy().tobytes())
    return digest.hexdigest()


def _band(above: Latent | None, here: Latent, below: Latent | None, margin: int) -> Latent:
    """Return the latents of a row of windows: the row's own, and ``margin`` lines of its neighbours."""
    if above is None and below is None:
        return here  # without a copy
    parts = [] if above is None else [[part[:, :, -margin:] for part in above]]
    parts += [here] + ([] if below is None else [[part[:, :, :margin] for part in below]])
    lf, hf = zip(*parts, strict=True)
    return torch.cat(lf, 2), torch.cat(hf, 2)


def _synthesis(
    model: WeConvene, band: Latent, scale: int, rgb: np.ndarray, row: Span, at: Tensor
) -> Callable[[Span], None]:
    """Return what synthesises a tile of a band and puts its core's pixels into the picture."""

    @torch.no_grad()
    def place(column: Span) -> None:
        window = slice(column.low // scale, (column.low + padded(model, column.high - column.low)) // scale)
        x_hat = model.synthesise(band[0][..., window], band[1][..., window], at)
        top, left = row.start - row.low, column.start - column.low
        core = x_hat[:, :, top : top + row.stop - row.start, left : left + column.stop - column.start]
        rgb[row.start : row.stop, column.start : column.stop] = to_8_bit(core)

    return place


def to_8_bit(x: Tensor) -> np.ndarray:
    """Round an image (1, 3, H, W) in 0..1 to 8 bits: (H, W, 3) uint8."""
    return (x[0].clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).cpu().numpy()


@contextmanager
def _workers(count: int) -> Iterator[Map]:
    """Give a ``map`` that runs in ``count`` threads; torch lets go of the interpreter while it computes."""
    if count == 1:
        yield map
        return
    with ThreadPoolExecutor(count) as pool:
        yield pool.map
