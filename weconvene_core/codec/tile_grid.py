"""Where the tiles of a large picture lie, and how much memory coding takes.

A tile's *core* is what its streams hold; its *window* is the core with a margin of its neighbours on every side. The
encoder analyses the window and keeps the core's coefficients; the decoder synthesises from the window's coefficients,
most of a margin being a neighbour's, and keeps the core's pixels. So no coefficient is coded twice and no filter sees a
tile's border. Up to 4 x 4 tiles are a *block*, which has one hyperprior and one LL band: these are small, and what a
slice's network sees of them beyond a tile's border is there. Only of the other slices it sees nothing there, and takes
what is predicted for coded (the price: ``results/tables/tiles.csv``). Blocks know nothing of each other but for the
transforms.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise, product

from weconvene_core.errors import WeconveneError

UNIT = 64  # cores begin at multiples of it, so that six halvings keep their phase
HALO = 64  # pixels; with `lite`, 32 leave differences of a quarter of a grey level, 64 of a hundredth
TILE_EDGES = (0, 128, 256, 512, 1024, 2048, 4096)
"""Longest sides of a tile's core by their code in the file; 0: the picture is one tile."""

MIB = 1 << 20
DEFAULT_MEMORY = 2048
"""Working memory in MiB, beyond the picture's own pixels, that encoding keeps to unless told otherwise."""

ROWS = 4  # of tiles, whose latents a decoder holds
BLOCK = 4  # tiles along a side that share their hyperprior and LL band
REACH = 128  # pixels around a tile that its hyper features are made from: more than any other window
BLOCK_SHARE = 0.1  # of a window's bytes per pixel, for a block's LL band; an allocator keeps what the windows took


@dataclass(frozen=True)
class Footprint:
    """Bytes per pixel that a model takes: for a window while it is coded, and for a latent."""

    window: float
    latent: float


@dataclass(frozen=True)
class Span:
    """One tile along one axis, in pixels: its core ``start .. stop`` and its window ``low .. high``."""

    start: int
    stop: int
    low: int
    high: int


def tile_count(length: int, tile: int) -> int:
    """Return into how many tiles an axis is divided (``tile`` 0: into one)."""
    return -(-length // tile) if tile else 1


def spans(length: int, tile: int) -> list[Span]:
    """Divide an axis of ``length`` pixels into nearly equal cores of at most ``tile`` pixels."""
    count = tile_count(length, tile)
    units = -(-length // UNIT)
    edges = [UNIT * (units * i // count) for i in range(count)] + [length]
    return [Span(start, stop, max(0, start - HALO), min(length, stop + HALO)) for start, stop in pairwise(edges)]


def cells(span: Span, length: int, side: int) -> list[Span]:
    """Divide a tile along an axis of ``length`` pixels into nearly equal parts of at most ``side`` pixels (0: one).

    Each has the margins of a tile of its own.
    """
    parts = [(span.start + part.start, span.start + part.stop) for part in spans(span.stop - span.start, side)]
    return [Span(start, stop, max(0, start - HALO), min(length, stop + HALO)) for start, stop in parts]


@dataclass(frozen=True)
class TileGroup:
    """Tiles that are coded together: their spans along both axes, and the places of the first of them."""

    rows: tuple[Span, ...]
    columns: tuple[Span, ...]
    first_row: int = 0
    first_column: int = 0

    @property
    def places(self) -> Iterator[tuple[int, int]]:
        """Rows and columns of the block's tiles in it, row by row."""
        return product(range(len(self.rows)), range(len(self.columns)))


def block_count(length: int, tile: int) -> int:
    """Return into how many blocks the tiles of an axis are grouped."""
    return -(-tile_count(length, tile) // BLOCK)


def blocks(width: int, height: int, tile: int) -> list[TileGroup]:
    """Group the tiles of a picture into blocks of nearly equal size, row by row."""
    rows, columns = (_grouped(spans(length, tile), block_count(length, tile)) for length in (height, width))
    return [TileGroup(down, across, row, column) for row, down in rows for column, across in columns]


def _grouped(parts: list[Span], count: int) -> list[tuple[int, tuple[Span, ...]]]:
    """Cut a list into ``count`` runs of nearly equal length; each comes with the place of its first item."""
    edges = [len(parts) * i // count for i in range(count + 1)]
    return [(start, tuple(parts[start:stop])) for start, stop in pairwise(edges)]


def working_memory(model: Footprint, width: int, height: int, tile: int, workers: int = 1) -> int:
    """Return about how many MiB coding takes beside the picture's own pixels."""
    if not tile:
        return 1 + int(model.window * width * height) // MIB
    window, block = (min(side, width) * min(side, height) for side in (tile + 2 * REACH, BLOCK * tile))
    coding = model.window * (workers * window + BLOCK_SHARE * block)
    return 1 + int(coding + ROWS * model.latent * tile * width) // MIB


def choose_tile(model: Footprint, width: int, height: int, limit: int) -> int:
    """Return the largest tile that ``limit`` MiB allow, 0 where the picture can be coded as a whole.

    Raises:
        WeconveneError: not even the smallest tile does.
    """
    for tile in (0, *reversed(TILE_EDGES[1:])):
        needed = working_memory(model, width, height, tile)
        if needed <= limit:
            return tile
    raise WeconveneError(
        f"A picture of {width} x {height} needs {needed} MiB of working memory in the smallest tiles, "
        f"and {limit} are allowed: raise --max-memory."
    )


def check_memory(model: Footprint, width: int, height: int, tile: int, limit: int) -> None:
    """Refuse to decode what would take more than ``limit`` MiB.

    Raises:
        WeconveneError: it would.
    """
    needed = working_memory(model, width, height, tile)
    if needed > limit:
        raise WeconveneError(
            f"Decoding {width} x {height} pixels, as this file holds them, takes about {needed} MiB of working memory, "
            f"and {limit} are allowed: raise --max-memory."
        )


def worker_count(model: Footprint, width: int, height: int, tile: int, limit: int, threads: int) -> int:
    """Return how many tiles to code at once: one per core that torch's ``threads`` leave, within ``limit`` MiB."""
    if not tile:
        return 1
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    wanted = max(1, cores // threads)
    return max((n for n in range(1, wanted + 1) if working_memory(model, width, height, tile, n) <= limit), default=1)
