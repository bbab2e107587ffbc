"""Where the tiles of a large picture lie, and how much memory coding takes.

A tile has an interior and a halo of its neighbours' pixels; both together are the padded tile. The encoder analyses the
padded tile and codes the coefficients of the interior. The decoder takes the coefficients of the halo from the
neighbours, synthesises the padded tile and keeps the pixels of the interior. So each coefficient is coded once, and no
filter sees a border between tiles.

Up to 4 x 4 tiles form a tile group. A group has one hyperprior and one LL band, because these are small. The slices are
coded tile by tile: their networks see the group's hyperprior and LL band in the halo too, but outside the tile every
residual is assumed zero. That is the price of tiles (``results/tables/tiles.csv``). Tile groups share only the
transforms' halo.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise, product

from weconvene_core.errors import WeconveneError

UNIT = 64  # interiors begin at multiples of it, so that six halvings keep their phase
HALO = 64  # pixels; with `lite`, 32 leave differences of a quarter of a grey level, 64 of a hundredth
TILE_EDGES = (0, 128, 256, 512, 1024, 2048, 4096)
"""Longest sides of a tile's interior by their code in the file; 0: the picture is one tile."""

MIB = 1 << 20
DEFAULT_MEMORY = 2048
"""Working memory in MiB, beyond the picture's own pixels, that encoding keeps to unless told otherwise."""

ROWS = 4  # of tiles, whose latents a decoder holds
GROUP_SIDE = 4  # tiles along a side that share their hyperprior and LL band
WIDEST_HALO = 128  # pixels around a tile that its hyper features are made from: more than any other halo
GROUP_SHARE = 0.1  # of a tile's bytes per pixel, for a group's LL band; an allocator keeps what the tiles took


@dataclass(frozen=True)
class Footprint:
    """Bytes per pixel that a model takes: for a padded tile while it is coded, and for a latent."""

    coding: float
    latent: float


@dataclass(frozen=True)
class Span:
    """One tile along one axis, in pixels.

    Attributes
    ----------
    index : number of the tile on its axis.
    interior : the pixels that the tile's streams hold.
    padded : the interior and its halo, as far as the picture goes.
    """

    index: int
    interior: slice
    padded: slice

    @property
    def length(self) -> int:
        """Pixels of the interior."""
        return self.interior.stop - self.interior.start


Tile = tuple[Span, Span]
"""Rows and columns of a tile."""


@dataclass(frozen=True)
class TileGroup:
    """Tiles that share a hyperprior and an LL band: the spans of their rows and columns; groups count row by row."""

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


def working_memory(model: Footprint, width: int, height: int, tile: int) -> int:
    """Return about how many MiB coding takes beside the picture's own pixels."""
    if not tile:
        return 1 + int(model.coding * width * height) // MIB
    padded, group = (min(side, width) * min(side, height) for side in (tile + 2 * WIDEST_HALO, GROUP_SIDE * tile))
    coding = model.coding * (padded + GROUP_SHARE * group)
    return 1 + int(coding + ROWS * model.latent * tile * width) // MIB


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
