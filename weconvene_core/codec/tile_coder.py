"""Coding a picture tile by tile, several at once; a picture in one piece is the case of one tile."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from typing import Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor

from weconvene_core.codec.analysis import analyse
from weconvene_core.codec.floor import Watch
from weconvene_core.codec.latent_refinement import Refinement
from weconvene_core.codec.tile_grid import HALO, UNIT, Span, TileGroup, blocks, spans
from weconvene_core.codec.tile_streams import (
    ALL,
    SLICE_HALO,
    BlockReader,
    Latent,
    TileGroupPlan,
    TileGroupStreams,
    TileStreams,
    padded,
)
from weconvene_core.entropy import EncodeMode, InteriorMode
from weconvene_core.errors import WeconveneError
from weconvene_core.model.weconvene import WeConvene

Item, Made = TypeVar("Item"), TypeVar("Made")


class Map(Protocol):
    """``map`` over one iterable, or an executor's, which works ahead."""

    def __call__(self, function: Callable[[Item], Made], items: Iterable[Item], /) -> Iterable[Made]:
        """Apply ``function`` to all ``items``; the results come in their order."""
        ...


@dataclass(frozen=True, eq=False)
class Decoded:
    """A picture (H, W, 3) uint8, how many HF slices the furthest tile brought to it, and how many the model has."""

    rgb: np.ndarray
    slices: int
    slices_in_all: int


def encode_tiles(
    model: WeConvene, rgb: np.ndarray, tile: int, quality: float, workers: int,
    refinement: Refinement | None = None, watch: Watch | None = None,
) -> list[TileGroupStreams]:  # fmt: skip
    """Code a picture (H, W, 3) uint8 in tiles; ``tile`` is 0 or a side in pixels. Blocks come row by row.

    Args:
        refinement: what to do to the latents before they are coded, one tile after the other.
        watch: is shown what a decoder will have of each tile.

    Raises:
        WeconveneError: the model's blocks do not fit into tiles.
    """
    at = torch.tensor([quality])
    if tile and UNIT % model.config.stride:
        raise WeconveneError(f"Model '{model.config.name}' needs blocks of {model.config.stride} pixels: use no tiles.")
    with _workers(workers) as run:
        parts = blocks(rgb.shape[1], rgb.shape[0], tile)
        return [
            _write_block(TileGroupPlan(model, block, at), rgb, tile == 0, run, refinement, watch) for block in parts
        ]


@torch.no_grad()
def _write_block(
    plan: TileGroupPlan, rgb: np.ndarray, one_piece: bool, run: Map, refinement: Refinement | None, watch: Watch | None
) -> TileGroupStreams:
    model, block = plan.model, plan.block
    watch = watch or (lambda pixels, decoded: None)

    @torch.no_grad()  # which belongs to a thread
    def analysed(place: tuple[int, int]) -> Latent:
        return analyse(model, rgb, block.rows[place[0]], block.columns[place[1]], plan.quality, refinement)

    analysing = run if refinement is None else map  # the memory of one
    lf, hf = (plan.joined(list(part), plan.ratio) for part in zip(*analysing(analysed, block.places), strict=True))
    z_hat = plan.joined(list(run(torch.no_grad()(lambda place: plan.z_of((lf, hf), place)), block.places)), 1)
    z, step = model.entropy_bottleneck.write(z_hat), EncodeMode(model.tables)
    if one_piece:
        watch(rgb, model.code_latents(plan.quality, step, lf, hf, z_hat)[:2])
        return TileGroupStreams(z, None, (_tile_streams(step),))
    coarse = zip(*run(torch.no_grad()(lambda place: plan.coarse(z_hat, place)), block.places), strict=True)
    levels = [plan.joined(list(level), 2**i) for i, level in enumerate(coarse)]
    ll_hat = model.charm.code_ll(levels, step, lf[:, : model.charm.layout.lf[0]])

    @torch.no_grad()
    def written(place: tuple[int, int]) -> TileStreams:
        window, inner = plan.around(place, SLICE_HALO, plan.ratio)
        of_tile = EncodeMode(step.tables)
        known = None if ll_hat is None else ll_hat[..., *window]
        target = lf[..., *window], hf[..., *window]
        decoded = model.charm.code_slices(plan.fine(z_hat, place), known, InteriorMode(of_tile, inner), *target)
        watch(_pixels(rgb, block, place), tuple(part[..., *inner] for part in decoded))
        return _tile_streams(of_tile)

    return TileGroupStreams(z, _tile_streams(step).y_lf, tuple(run(written, block.places)))


def _pixels(rgb: np.ndarray, block: TileGroup, place: tuple[int, int]) -> np.ndarray:
    """Return the pixels of a tile's core."""
    row, column = block.rows[place[0]], block.columns[place[1]]
    return rgb[row.start : row.stop, column.start : column.stop]


def _tile_streams(step: EncodeMode) -> TileStreams:
    streams = step.streams()
    return TileStreams(streams.get("y_lf", b""), streams.get("y_hf", b""))


def decode_tiles(
    model: WeConvene,
    streams: Sequence[TileGroupStreams],
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
    at, columns = torch.tensor([quality]), spans(size[1], tile)
    with _workers(workers) as run:
        found = _read_rows(model, streams, blocks(size[1], size[0], tile), at, run, slices)
        above, (here, reached, in_all) = None, next(found)
        rgb = np.empty((*size, 3), np.uint8)  # once a row was found to be possible
        for row in spans(size[0], tile):
            below, further, _ = next(found, (None, 0, 0))
            reached, scale = max(reached, further), padded(model, row.stop - row.start) // here[0].shape[2]
            band = _band(above, here, below, HALO // scale)
            list(run(_synthesis(model, band, scale, rgb, row, at), columns))
            above, here = here, below
    return Decoded(rgb, reached, in_all)


def _read_rows(
    model: WeConvene,
    streams: Sequence[TileGroupStreams],
    parts: Sequence[TileGroup],
    at: Tensor,
    run: Map,
    slices: int = ALL,
) -> Iterator[tuple[Latent, int, int]]:
    """Yield each row of tiles: its latents, the HF slices of its furthest tile, and those that there are."""
    for _, group in groupby(zip(parts, streams, strict=True), key=lambda pair: pair[0].first_row):
        readers = list(run(lambda pair: BlockReader(model, *pair, at, slices), list(group)))
        for row in range(len(readers[0].plan.block.rows)):
            jobs = [(reader, (row, i)) for reader in readers for i in range(len(reader.plan.block.columns))]
            latents, steps = zip(*run(lambda job: job[0].tile(job[1]), jobs), strict=True)
            lf, hf = (torch.cat(part, 3) for part in zip(*latents, strict=True))
            yield (lf, hf), max(step.decoded for step in steps), steps[0].seen


def hash_latents(
    model: WeConvene, streams: Sequence[TileGroupStreams], size: tuple[int, int], tile: int, quality: float
) -> str:
    """Return the SHA-256 of y_hat, row by row of tiles: what must be the same on every machine.

    Raises:
        CorruptFileError: the streams cannot be those of such a picture.
    """
    digest = hashlib.sha256()
    for latent, _, _ in _read_rows(model, streams, blocks(size[1], size[0], tile), torch.tensor([quality]), map):
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
