"""From pixels to the latents of a tile: by g_a alone, or refined cell by cell (see :mod:`.refining`)."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from weconvene_core.codec.latent_refinement import Refinement
from weconvene_core.codec.tile_grid import HALO, UNIT, Span, cells
from weconvene_core.codec.tile_streams import Latent, footprint, padded
from weconvene_core.errors import WeconveneError
from weconvene_core.image_tensors import from_8_bit, pad
from weconvene_core.model.weconvene import WeConvene

CELLS = (512, 256, 128)  # pixels, the sides of what is refined at a time
GRADIENTS = 12.5  # memory of a pass with its gradients over that of coding (measured for `lite`: 11 to 12)


def refining_cell(model: WeConvene, limit: int) -> int:
    """Return the side of the parts in which latents are refined within ``limit`` MiB; 0 where a model has no parts.

    Raises
    ------
    WeconveneError
        If not even the smallest fits.
    """
    if UNIT % model.config.stride:
        return 0
    needed = {cell: int(GRADIENTS * footprint(model).window * (cell + 2 * HALO) ** 2) >> 20 for cell in CELLS}
    for cell, memory in needed.items():
        if memory <= limit:
            return cell
    raise WeconveneError(
        f"Refining takes {min(needed.values())} MiB of working memory at least, and {limit} are allowed: raise "
        "--max-memory, or use --effort 1."
    )


def analyse(
    model: WeConvene,
    pixels: np.ndarray,
    rows: Span,
    columns: Span,
    quality: Tensor,
    refinement: Refinement | None = None,
) -> Latent:
    """Analyse a tile's window (rows and columns low .. high of a picture) and return the latents of its core.

    With a ``refinement``, whose gradients take much memory, cell by cell of the tile, each in a window of its own.
    """
    if refinement is None:
        window = pixels[rows.low : rows.high, columns.low : columns.high]
        latent = model.analyse(pad(from_8_bit(window), model.config.stride), quality)
        return _core(model, latent, rows, columns)
    bands = []
    for row in cells(rows, pixels.shape[0], refinement.cell):
        parts = []
        for column in cells(columns, pixels.shape[1], refinement.cell):
            x = from_8_bit(pixels[row.low : row.high, column.low : column.high])
            parts.append(_core(model, refinement(x, quality), row, column))
        bands.append(_joined(parts, 3))
    return _joined(bands, 2)


def _joined(parts: list[Latent], axis: int) -> Latent:
    lf, hf = zip(*parts, strict=True)
    return torch.cat(lf, axis), torch.cat(hf, axis)


def _core(model: WeConvene, latent: Latent, rows: Span, columns: Span) -> Latent:
    """Cut the latents of a window down to those of its core."""
    lf, hf = latent
    scale = model.config.coded_stride
    top, left = (rows.start - rows.low) // scale, (columns.start - columns.low) // scale
    height, width = (padded(model, span.stop - span.start) // scale for span in (rows, columns))
    core = (..., slice(top, top + height), slice(left, left + width))
    return lf[core], hf[core]
