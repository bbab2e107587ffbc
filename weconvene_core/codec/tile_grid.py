"""Where the tiles of a large picture lie, and how much memory coding takes.

A tile has an interior and a halo of its neighbours' pixels: together the padded tile. It is analysed and synthesised
whole, but only the interior's coefficients are coded and only its pixels are kept, so no filter sees a border. Up to
4 x 4 tiles form a group with one hyperprior and one LL band, which are small. The slices are coded tile by tile, and
outside the tile every residual is assumed zero. That is the price of tiles (``results/tables/tiles.csv``).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise, product
from typing import TYPE_CHECKING, NamedTuple

from weconvene_core.errors import WeconveneError

if TYPE_CHECKING:  # which loads torch
    from weconvene_core.model.config import ModelConfig

UNIT = 64  # interiors begin at multiples of it, so that six halvings keep their phase
HALO = 64  # pixels; with `lite`, 32 leave differences of a quarter of a grey level, 64 of a hundredth
TILE_EDGES = (0, 128, 256, 512, 1024, 2048, 4096)
"""Longest sides of a tile's interior by their code in the file; 0: the picture is one tile."""

DEFAULT_MEMORY = 2048
"""Working memory in MiB, beyond the picture's own pixels, that encoding keeps to unless told otherwise."""

ROWS = 4  # of tiles, whose latents a decoder holds
GROUP_SIDE = 4  # tiles along a side that share their hyperprior and LL band
WIDEST_HALO = 128  # pixels around a tile that its hyper features are made from: more than any other halo
GROUP_SHARE = 0.1  # of a tile's bytes per pixel, for a group's LL band; an allocator keeps what the tiles took


class Footprint(NamedTuple):
    """Bytes per pixel that a model takes: for a padded tile while it is coded, and for a latent."""

    coding: float
    latent: float


@dataclass(frozen=True)
class Span:
    """One tile along one axis, in pixels: what its streams hold, and that with the halo, as far as the picture goes."""

    index: int
    interior: slice
    padded: slice

    @property
    def length(self) -> int:
        """Pixels of the interior."""
        return self.interior.stop - self.interior.start

    @property
    def halo_before(self) -> int:
        """Pixels of the halo above, or to the left."""
        return self.interior.start - self.padded.start


Tile = tuple[Span, Span]
"""Rows and columns of a tile."""


@dataclass(frozen=True)
class TileGroup:
    """Tiles that share a hyperprior and an LL band: the spans of their rows and columns."""

    index: int
    rows: tuple[Span, ...]
    columns: tuple[Span, ...]

    @property
    def tiles(self) -> list[Tile]:
        """The group's tiles, row by row."""
        return list(product(self.rows, self.columns))


def tile_count(length: int, tile: int) -> int:
    """Return into how many tiles an axis is divided (``tile`` 0: into one)."""
    return -(-length // tile) if tile else 1


def spans(length: int, tile: int, part: Span | None = None) -> list[Span]:
    """Divide an axis of ``length`` pixels, or the interior of a ``part`` of it, into tiles of nearly equal size.

    Interiors have at most ``tile`` pixels (0: one tile); halos reach across the borders of ``part``.
    """
    start, stop = (part.interior.start, part.interior.stop) if part else (0, length)
    count, units = tile_count(stop - start, tile), -(-(stop - start) // UNIT)
    edges = [start + UNIT * (units * i // count) for i in range(count)] + [stop]
    interiors = [slice(*pair) for pair in pairwise(edges)]
    return [Span(i, at, slice(max(0, at.start - HALO), min(length, at.stop + HALO))) for i, at in enumerate(interiors)]


def group_count(length: int, tile: int) -> int:
    """Return into how many tile groups an axis is divided."""
    return -(-tile_count(length, tile) // GROUP_SIDE)


def tile_groups(width: int, height: int, tile: int) -> list[TileGroup]:
    """Divide the tiles of a picture into groups of nearly equal size, row by row."""
    sides = []
    for length in (height, width):
        parts, count = spans(length, tile), group_count(length, tile)
        edges = [len(parts) * i // count for i in range(count + 1)]
        sides.append([tuple(parts[start:stop]) for start, stop in pairwise(edges)])
    return [TileGroup(index, rows, columns) for index, (rows, columns) in enumerate(product(*sides))]


def footprint(config: ModelConfig, exact: bool) -> Footprint:
    """Estimate a model's memory from the width of its finest layers, or of its slices' context where they are exact.

    Measured: 150 to 160 bytes a pixel for `lite` in floating point, 270 to 280 in its exact form (280 here), 640 to
    1020 for `paper` and `baseline` (1280 here), 2750 for `paper-2d` (5120 here).
    """
    finest = config.narrow / min(config.patch_a, config.patch_s) ** 2
    context = (config.hyper_features + config.coded_channels) / config.coded_stride**2
    return Footprint(max(160, 40 * finest, 56 * context * exact), 4 * config.coded_channels / config.coded_stride**2)


def working_memory(model: Footprint, width: int, height: int, tile: int) -> int:
    """Return about how many MiB coding takes beside the picture's own pixels."""
    if not tile:
        return 1 + (int(model.coding * width * height) >> 20)
    padded, group = (min(side, width) * min(side, height) for side in (tile + 2 * WIDEST_HALO, GROUP_SIDE * tile))
    coding = model.coding * (padded + GROUP_SHARE * group)
    return 1 + (int(coding + ROWS * model.latent * tile * width) >> 20)


def choose_tile(model: Footprint, width: int, height: int, limit: int) -> int:
    """Return the largest tile that ``limit`` MiB allow (0: the whole picture), or refuse where none fits."""
    for tile in (0, *reversed(TILE_EDGES[1:])):
        needed = working_memory(model, width, height, tile)
        if needed <= limit:
            return tile
    raise WeconveneError(
        f"A picture of {width} x {height} needs {needed} MiB of working memory in the smallest tiles, "
        f"and {limit} are allowed: raise --max-memory."
    )
