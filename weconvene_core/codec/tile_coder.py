"""Coding a picture tile by tile; a picture in one piece is the case of one tile."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from itertools import groupby

import numpy as np
import torch
from torch import Tensor

from weconvene_core.codec.container import Container, CutFileError, Kind, PartialFile
from weconvene_core.codec.latent_refinement import Refinement
from weconvene_core.codec.plain_coding import DistortionMonitor
from weconvene_core.codec.tile_grid import HALO, UNIT, Span, Tile, TileGroup, spans
from weconvene_core.codec.tile_streams import ALL, Latent, TileGroupCoder, TruncatedDecodeMode, padded_length
from weconvene_core.entropy import EncodeMode
from weconvene_core.errors import WeconveneError
from weconvene_core.image_tensors import from_8_bit, pad, to_8_bit
from weconvene_core.model.weconvene import WeConvene

Streams = dict[tuple[Kind, int], bytes]
"""Streams by kind and index of the tile group or tile."""


@torch.no_grad()
def encode_tiles(
    model: WeConvene, header: Container, pixels: np.ndarray,
    refinement: Refinement | None = None, monitor: DistortionMonitor | None = None,
) -> Streams:  # fmt: skip
    """Code the pixels (H, W, 3) uint8, turned as the header says, in its tiles.

    Parameters
    ----------
    refinement : what to do to the latents before they are coded.
    monitor : is shown what a decoder will have of each tile.

    Raises
    ------
    WeconveneError
        If the model's stride does not fit into tiles.
    """
    if header.tile and UNIT % model.config.stride:
        raise WeconveneError(f"Model '{model.config.name}' needs blocks of {model.config.stride} pixels: use no tiles.")
    streams: Streams = {}
    for group in header.groups:
        coder, tiles = TileGroupCoder(model, group, torch.tensor([header.quality])), group.tiles
        latents = zip(*(analyse(model, pixels, tile, coder.quality, refinement) for tile in tiles), strict=True)
        lf, hf = (coder.assembled(parts, coder.ratio) for parts in latents)
        coder.z_hat = coder.assembled([coder.quantised_z((lf, hf), tile) for tile in tiles], 1)
        streams["z", group.index] = model.entropy_bottleneck.write(coder.z_hat)
        ll_hat = None
        if header.tile:
            mode = EncodeMode(model.tables)
            ll_hat = coder.code_ll(mode, lf[:, : model.charm.layout.lf[0]])
            streams["y_ll", group.index] = mode.streams().get("y_lf", b"")
        for tile in tiles:
            mode, index = EncodeMode(model.tables), header.tile_index(tile)
            decoded = coder.code_tile(tile, mode, ll_hat, lf, hf) if header.tile else coder.code_whole(mode, lf, hf)
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
    start, scale = span.interior.start - span.padded.start, model.config.coded_stride
    return slice(start // scale, (start + padded_length(model, span.length)) // scale)


def _joined(parts: Sequence[Latent], axis: int) -> Latent:
    """Put latents beside each other, along the height (2) or the width (3)."""
    if len(parts) == 1:
        return parts[0]
    lf, hf = zip(*parts, strict=True)
    return torch.cat(lf, axis), torch.cat(hf, axis)


@torch.no_grad()
def decode_tiles(model: WeConvene, file: PartialFile, slices: int = ALL) -> tuple[np.ndarray, int]:
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
    container, quality, halo = file.container, torch.tensor([file.container.quality]), HALO // model.config.coded_stride
    rows, columns = (spans(side, container.tile) for side in container.coded_size)
    decoded = _decode_rows(model, file, slices)
    above, (here, reached) = None, next(decoded)
    pixels = np.empty((*container.coded_size, 3), np.uint8)  # once the first row was found to be possible
    for row in rows:
        below, further = next(decoded, (None, 0))
        # The row's own latents, and the nearest lines of the rows above and below.
        parts = [] if above is None else [(above[0][:, :, -halo:], above[1][:, :, -halo:])]
        parts += [here] + ([] if below is None else [(below[0][:, :, :halo], below[1][:, :, :halo])])
        band = _joined(parts, 2)
        for column in columns:
            pixels[row.interior, column.interior] = _synthesise(model, band, quality, row, column)
        above, here, reached = here, below, max(reached, further)
    return pixels, reached


def _synthesise(model: WeConvene, band: Latent, quality: Tensor, row: Span, column: Span) -> np.ndarray:
    """Synthesise a padded tile from the latents of its row, and return the pixels of its interior."""
    start, scale = column.padded.start, model.config.coded_stride
    area = slice(start // scale, (start + padded_length(model, column.padded.stop - start)) // scale)
    x_hat = model.synthesise(band[0][..., area], band[1][..., area], quality)
    top, left = (span.interior.start - span.padded.start for span in (row, column))
    return to_8_bit(x_hat[:, :, top : top + row.length, left : left + column.length])


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
    if len(file.container.of("z")) < file.container.counts["z"]:
        raise CutFileError("The file is cut inside its hyperprior: there is no preview yet; get a fresh copy.")
    for _, groups in groupby(file.container.groups, key=lambda group: group.rows[0].index):
        decoders = [TileGroupDecoder(model, file, group, slices) for group in groups]
        for row in decoders[0].coder.group.rows:
            tiles = [(decoder, (row, column)) for decoder in decoders for column in decoder.coder.group.columns]
            latents, reached = zip(*(decoder.decode(tile) for decoder, tile in tiles), strict=True)
            yield _joined(latents, 3), max(reached)


class TileGroupDecoder:
    """Decodes a tile group: z and the LL band at once, then tiles on demand, with at most ``slices`` HF slices."""

    def __init__(self, model: WeConvene, file: PartialFile, group: TileGroup, slices: int) -> None:
        self.file, self.slices, self.ll_hat = file, slices, None
        self.coder = TileGroupCoder(model, group, torch.tensor([file.container.quality]))
        self.coder.read_z(file.stream("z", group.index)[0])
        if file.container.tile:
            mode = TruncatedDecodeMode(model.tables, {"y_lf": file.stream("y_ll", group.index)})
            self.ll_hat = self.coder.code_ll(mode)

    def decode(self, tile: Tile) -> tuple[Latent, int]:
        """Return the latents of a tile, and how many of its HF slices were there."""
        model, container = self.coder.model, self.file.container
        index = container.tile_index(tile)
        streams = {group: self.file.stream(group, index) for group in ("y_lf", "y_hf")}
        mode = TruncatedDecodeMode(model.tables, streams, self.slices, model.config.calls_per_slice)
        latent = self.coder.code_tile(tile, mode, self.ll_hat) if container.tile else self.coder.code_whole(mode)
        return latent, mode.decoded
