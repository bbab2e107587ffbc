"""The codec in a few calls: ``load_model``, ``encode``, ``decode``, ``preview`` and ``decode_progressive``.

An image of any size and mode becomes one self-contained file (see ``data/FORMAT.md``) and comes back. All calls may be
used from several threads at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from weconvene_core.atomic_files import HASH_BYTES
from weconvene_core.codec import pictures
from weconvene_core.codec.container import Container, PartialFile, pack, unpack, unpack_prefix
from weconvene_core.codec.latent_refinement import Refinement, best_orientation, checked_effort, refining_cell
from weconvene_core.codec.pictures import Picture, turned, turned_back
from weconvene_core.codec.plain_coding import DistortionMonitor, rate_distortion_loss, without_transforms
from weconvene_core.codec.tile_coder import decode_tiles, encode_tiles, hash_latents
from weconvene_core.codec.tile_grid import DEFAULT_MEMORY, choose_tile, working_memory
from weconvene_core.codec.tile_streams import ALL, footprint
from weconvene_core.errors import CorruptFileError, WeconveneError
from weconvene_core.exact.calibrate import load_integer_path, stated_digests
from weconvene_core.model.checkpoint import LoadedModel, description_of, installed, load_checked
from weconvene_core.model.weconvene import WeConvene
from weconvene_core.paths import CHECKPOINTS

__all__ = ["DEFAULT_MODEL", "decode", "decode_progressive", "encode", "latent_hash", "load_model", "preview"]

DEFAULT_MODEL = "lite"


def load_model(name: str = DEFAULT_MODEL, *, exact: bool = False) -> WeConvene:
    """Return the released model called ``name`` in evaluation mode; it is read once per process.

    Parameters
    ----------
    exact : return the form whose entropy model computes in integers, as files are coded, instead of floating point.

    Raises
    ------
    WeconveneError
        If there is no such checkpoint, it is damaged, or it is not calibrated and the exact form is wanted.
    """
    loaded = _loaded(name)
    if not exact:
        return loaded.network
    if loaded.exact is None:
        raise WeconveneError(
            f"The model '{name}' is not calibrated: run weconvene calibrate {name}, or use exact=False."
        )
    return loaded.exact


def encode(
    image: str | Path | Image.Image | np.ndarray | Picture,
    quality: float,
    model: str = DEFAULT_MODEL,
    *,
    max_memory: int = DEFAULT_MEMORY,
    tile: int | None = None,
    exact: bool | None = None,
    effort: int = 0,
) -> bytes:
    """Compress a picture into the bytes of one file.

    A picture that the learned transforms would harm, such as fine dithering, is coded without them (see
    :mod:`weconvene_core.codec.plain_coding`).

    Parameters
    ----------
    image : a path, a Pillow image, an array (H, W[, C]) of uint8 or uint16, or a Picture; any H, W >= 1. Grey is coded
        as RGB and comes back grey, alpha is kept without loss (see :mod:`weconvene_core.codec.pictures`).
    quality : a real number from 0 (smallest file) to 7 (finest).
    model : name of a released checkpoint.
    max_memory : working memory in MiB, beyond the picture's own pixels; larger pictures are coded in tiles, and a
        decoder needs about the same memory.
    tile : side of the tiles in pixels (one of ``TILE_EDGES``; 0: no tiles) instead of what ``max_memory`` asks.
    exact : the entropy model computes in integers, so that the file decodes to the same bits on every machine. None:
        wherever the model is calibrated.
    effort : how hard to look for a file with less squared error for its bits: 0 codes at once, 1 turns the picture, 2
        and 3 search longer (see :mod:`weconvene_core.codec.latent_refinement`). Nothing changes for decoders.

    Raises
    ------
    WeconveneError
        If the picture cannot be read, the quality or ``effort`` is out of range, the model is unknown, or the memory
        too small; if the exact path is asked of a model that is not calibrated, or effort of one that was not trained
        for squared error.
    """
    loaded = _loaded(model)
    exact = loaded.exact is not None if exact is None else exact
    network, digest = load_model(model, exact=exact), loaded.exact_digest if exact else loaded.digests[0]
    orientations, refinement = 1, None
    if effort:
        orientations, passes = checked_effort(effort, model, loaded.metric)
        if passes:
            refinement = Refinement(loaded.network, passes, refining_cell(loaded.network, max_memory))
    picture, quality = pictures.load(image), network.check_quality(quality)
    height, width = picture.rgb.shape[:2]
    header = Container(digest, width, height, picture.mode, quality, exact=exact, icc=picture.icc is not None)

    def tiled(header: Container) -> Container:
        height, width = header.coded_size
        chosen = choose_tile(footprint(network), width, height, max_memory) if tile is None else tile
        return replace(header, tile=chosen)

    header = tiled(header)
    best = 0
    if orientations > 1:
        best = best_orientation(loaded.network, picture.rgb, header.quality, orientations, header.tile)
    monitor = DistortionMonitor(network, torch.tensor([header.quality])) if network.config.shortcut else None
    data = _encode(network, tiled(replace(header, orientation=best)), picture, refinement, monitor)
    if monitor is None or not monitor.suspicious:
        return data
    plain = _encode(without_transforms(network), replace(header, plain=True), picture)
    losses = [
        rate_distortion_loss(len(file), picture.rgb, _decode(_complete(file), ALL, max_memory)[0], header.quality)
        for file in (data, plain)
    ]
    return plain if losses[1] < losses[0] else data


def _encode(
    network: WeConvene, header: Container, picture: Picture,
    refinement: Refinement | None = None, monitor: DistortionMonitor | None = None,
) -> bytes:  # fmt: skip
    """Return the file of a picture whose header is known."""
    streams = encode_tiles(network, header, turned(picture.rgb, header.orientation), refinement, monitor)
    if picture.icc is not None:
        streams["icc", 0] = pictures.pack_profile(picture.icc)
    if picture.alpha is not None:
        streams["alpha", 0] = pictures.pack_alpha(picture.alpha)
    ordered = (streams[kind, index] for kind, count in header.counts.items() for index in range(count))
    return pack(replace(header, streams=tuple(ordered)))


def decode(data: bytes, *, max_memory: int = DEFAULT_MEMORY) -> Image.Image:
    """Decompress the bytes of a file into a Pillow image of the original size and mode.

    Parameters
    ----------
    max_memory : working memory in MiB, beyond the picture's own pixels.

    Raises
    ------
    CutFileError
        If the file's end is missing.
    CorruptFileError
        If the file is foreign or altered, or was made with weights that are not installed.
    WeconveneError
        If it would take more memory.
    """
    file = _complete(data)
    return _picture(file.container, _decode(file, ALL, max_memory)[0])


def preview(data: bytes, slices: int = 0, *, max_memory: int = DEFAULT_MEMORY) -> Image.Image:
    """Decode a file, or its beginning, as far as it goes: the LF slices, and at most some HF slices.

    The size is the original's; a coefficient that has not arrived is taken as predicted from those that have. A picture
    cut before its alpha plane is opaque. Complete streams are verified; of a cut one the certain slices are used.

    Raises
    ------
    CutFileError
        If even the hyperprior, which stands first, is not complete; otherwise as :func:`decode`.
    """
    file = unpack_prefix(data)
    return _picture(file.container, _decode(file, slices, max_memory)[0])


def decode_progressive(data: bytes, *, max_memory: int = DEFAULT_MEMORY) -> Iterator[Image.Image]:
    """Yield the picture after the LF slices, then after each HF slice, as far as a file, or its beginning, goes.

    The last picture of a complete file is what :func:`decode` returns. Each is decoded from the start, and takes as
    long as the last. Errors are those of :func:`preview`.
    """
    file = unpack_prefix(data)
    for slices in range(1 + len(_network_of(file.container).config.layout.hf)):
        pixels, reached = _decode(file, slices, max_memory)
        if reached < slices:
            return
        yield _picture(file.container, pixels)


def latent_hash(data: bytes) -> str:
    """Return the SHA-256 (hexadecimal) of a file's y_hat: of an exact file the same on every machine.

    Errors are those of :func:`decode`.
    """
    file = _complete(data)
    return hash_latents(_network_of(file.container), file)


def _complete(data: bytes) -> PartialFile:
    return PartialFile(unpack(data), b"", len(data))


def _decode(file: PartialFile, slices: int, max_memory: int) -> tuple[np.ndarray, int]:
    """Return the pixels (H, W, 3) uint8 and how many HF slices the furthest tile has."""
    container, network = file.container, _network_of(file.container)
    network.check_quality(container.quality)
    height, width = container.coded_size
    needed = working_memory(footprint(network), width, height, container.tile)
    if needed > max_memory:
        raise WeconveneError(
            f"Decoding {width} x {height} pixels, as this file holds them, takes about {needed} MiB of working memory, "
            f"and {max_memory} are allowed: raise --max-memory."
        )
    pixels, reached = decode_tiles(network, file, slices)
    return turned_back(pixels, container.orientation), reached


def _picture(container: Container, pixels: np.ndarray) -> Image.Image:
    alpha, icc = container.of("alpha"), container.of("icc")
    plane = pictures.unpack_alpha(alpha[0], container.height, container.width) if alpha else None
    return pictures.to_pil(pixels, container.mode, plane, pictures.unpack_profile(icc[0]) if icc else None)


def _network_of(container: Container) -> WeConvene:
    """Return the installed model whose weights a file was made with, without transforms where that is how."""
    names = installed(CHECKPOINTS)
    stated = [name for name in names if container.model_hash in stated_digests(CHECKPOINTS / f"{name}.safetensors")]
    for name in stated or names:
        network = _loaded(name).matching(container.model_hash, container.exact)
        if network is not None:
            return without_transforms(network) if container.plain else network
    needed = container.model_hash.hex() + (", exact" if container.exact else "")
    raise CorruptFileError(
        f"The file was made with other weights ({needed}) than those installed here ({', '.join(names) or 'none'}); "
        "decode it with the release that made it."
    )


@lru_cache(maxsize=4)
def _loaded(name: str) -> LoadedModel:
    """Read a checkpoint once."""
    known = installed(CHECKPOINTS)
    if name not in known:
        raise WeconveneError(f"There is no trained model '{name}': known here are {', '.join(known) or 'none'}.")
    path = CHECKPOINTS / f"{name}.safetensors"
    network, digest = load_checked(path)
    exact, exact_digest = load_integer_path(network, digest, path) or (None, b"")
    earlier = [digest for digest in stated_digests(path) if digest != exact_digest[:HASH_BYTES]]
    metric = description_of(path).get("config", {}).get("metric", "mse")
    return LoadedModel(network, (digest[:HASH_BYTES], *earlier), exact, exact_digest[:HASH_BYTES], metric)
