"""The codec in a few calls: a picture of any size and mode becomes one self-contained file, and comes back.

All calls may be used from several threads at once, and whatever is set in PyTorch (gradients, inference mode, autocast,
default device and type), they give the same. The format: ``docs/format.md``.
"""

from __future__ import annotations

import copy
import os
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path
from typing import IO
from zlib import compress

import numpy as np
import torch
from PIL import Image

from weconvene_core.atomic_files import HASH_BYTES
from weconvene_core.codec import pictures
from weconvene_core.codec.container import Container, PartialFile, pack, unpack, unpack_prefix
from weconvene_core.codec.latent_refinement import Refinement, best_orientation, search_of
from weconvene_core.codec.pictures import Picture, turned, turned_back
from weconvene_core.codec.plain_coding import DistortionMonitor, rate_distortion_loss, without_transforms
from weconvene_core.codec.tile_coder import ALL, decode_tiles, encode_tiles, hash_latents
from weconvene_core.codec.tile_grid import DEFAULT_MEMORY, choose_tile, footprint, working_memory
from weconvene_core.errors import CorruptFileError, WeconveneError
from weconvene_core.exact.calibrate import load_integer_path, stated_digests
from weconvene_core.layers.blocks import batch_of
from weconvene_core.model.checkpoint import LoadedModel, description_of, load_checked
from weconvene_core.model.weconvene import WeConvene
from weconvene_core.paths import checkpoint, checkpoints

DEFAULT_MODEL = "lite"
TYPE_LOCK = threading.Lock()
if at_fork := getattr(os, "register_at_fork", None):  # a fork has none of the threads that PyTorch would wait for
    at_fork(after_in_child=partial(torch.set_num_threads, 1))
Data = bytes | str | Path | IO[bytes]  # a compressed file


def load_model(name: str = DEFAULT_MODEL, *, exact: bool = False) -> WeConvene:
    """Return a released model of the caller's own, to be changed at will; ``exact``: it codes entropy in integers.

    Raises
    ------
    WeconveneError
        If there is no such checkpoint, it is damaged, or it is not calibrated and the exact form is wanted.
    """
    with _settings():
        return copy.deepcopy(_network(name, exact))


def _network(name: str, exact: bool) -> WeConvene:
    """Return the network that this module codes with."""
    loaded = _loaded(name)
    if exact and loaded.exact is None:
        raise WeconveneError(
            f"The model '{name}' is not calibrated: run weconvene calibrate {name}, or use exact=False."
        )
    return loaded.exact if exact and loaded.exact else loaded.network


@contextmanager
def _settings() -> Iterator[None]:
    """Set what coding depends on, in this thread: no gradients, no inference mode, no autocast, tensors on the CPU."""
    with ExitStack() as stack:
        for setting in (torch.inference_mode(False), torch.no_grad(), torch.autocast("cpu", enabled=False)):
            stack.enter_context(setting)
        if torch.get_default_device().type != "cpu":  # which slows every call down
            stack.enter_context(torch.device("cpu"))
        try:
            yield
        except RuntimeError as error:
            if "not enough memory" in str(error) or "allocate memory" in str(error):  # PyTorch has no class for it
                raise MemoryError(str(error).strip().splitlines()[0]) from error
            raise


@_settings()
def encode(
    image: str | Path | bytes | IO[bytes] | Image.Image | np.ndarray | Picture,
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
    image : a path, an open file or its bytes, a Pillow image, an array (H, W[, C]) of uint8 or uint16, or a Picture;
        any H, W >= 1. Grey comes back grey, alpha is kept without loss (see :mod:`weconvene_core.codec.pictures`).
    quality : a real number from 0 (smallest file) to 7 (finest).
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
    _check_integers(max_memory=max_memory, effort=effort, tile=tile or 0)
    loaded = _loaded(model)
    exact = loaded.exact is not None if exact is None else exact
    network, digest = _network(model, exact), loaded.exact_digest if exact else loaded.digests[0]
    orientations, refinement = search_of(effort, loaded, max_memory) if effort else (1, None)
    picture, quality = pictures.load(image), network.check_quality(quality)
    height, width = picture.rgb.shape[:2]
    header = Container(digest, width, height, picture.mode, quality, exact=exact, icc=picture.icc is not None)

    def tiled(orientation: int) -> Container:
        turned_header = replace(header, orientation=orientation)
        height, width = turned_header.coded_size
        memory = footprint(network.config, exact)
        return replace(turned_header, tile=choose_tile(memory, width, height, max_memory) if tile is None else tile)

    header, best = tiled(0), 0
    if orientations > 1:
        best = best_orientation(loaded.network, picture.rgb, header.quality, orientations, header.tile)
    monitor = DistortionMonitor(network, batch_of(header.quality)) if network.config.shortcut else None
    data = _encode(network, tiled(best), picture, refinement, monitor)
    if monitor is None or not monitor.suspicious:
        return data
    # the learned transforms may do harm: both ways are tried, and the better file is kept
    plain, losses = _encode(monitor.plain, replace(header, plain=True), picture), []
    for coder, file in ((network, data), (monitor.plain, plain)):
        decoded, _ = _decode(coder, _complete(file), ALL, max_memory)
        losses.append(rate_distortion_loss(len(file), picture.rgb, decoded, header.quality))
    return plain if losses[1] < losses[0] else data


def _encode(
    network: WeConvene, header: Container, picture: Picture,
    refinement: Refinement | None = None, monitor: DistortionMonitor | None = None,
) -> bytes:  # fmt: skip
    streams = encode_tiles(network, header, turned(picture.rgb, header.orientation), refinement, monitor)
    if picture.icc is not None:
        streams["icc", 0] = compress(picture.icc, level=9)
    if picture.alpha is not None:
        streams["alpha", 0] = pictures.pack_alpha(picture.alpha)
    ordered = (streams[kind, index] for kind, count in header.counts.items() for index in range(count))
    return pack(replace(header, streams=tuple(ordered)))


@_settings()
def decode(data: Data, *, max_memory: int = DEFAULT_MEMORY) -> Image.Image:
    """Decompress a file into an image of the original size and mode, with ``max_memory`` MiB beyond its own pixels.

    ``data`` is the file's bytes, its path, or the open file.

    Raises
    ------
    CutFileError
        If the file's end is missing.
    CorruptFileError
        If the file is foreign or altered, or was made with weights that are not installed.
    WeconveneError
        If it would take more memory.
    """
    return _picture(_complete(data), ALL, max_memory)[0]


@_settings()
def preview(data: Data, slices: int = 0, *, max_memory: int = DEFAULT_MEMORY) -> Image.Image:
    """Decode a file, or its beginning, as far as it goes: the LF slices, and at most some HF slices.

    A residual that has not arrived is assumed zero; a picture cut before its alpha plane is opaque. Errors are those of
    :func:`decode`; CutFileError only if not even the hyperprior, which stands first, is complete.
    """
    _check_integers(slices=slices)
    return _picture(unpack_prefix(_bytes_of(data)), slices, max_memory)[0]


def decode_progressive(data: Data, *, max_memory: int = DEFAULT_MEMORY) -> Iterator[Image.Image]:
    """Yield the :func:`preview` after the LF slices, then after each HF slice, as far as the file goes.

    Each is decoded from the start. The last picture of a complete file is what :func:`decode` returns.
    """
    file = unpack_prefix(_bytes_of(data))
    with _settings():
        steps = 1 + len(_network_of(file.container).config.layout.hf)
    for slices in range(steps):
        with _settings():  # but not while the caller has the picture
            picture, reached = _picture(file, slices, max_memory)
        if reached < slices:
            return
        yield picture


@_settings()
def latent_hash(data: Data) -> str:
    """Return the SHA-256 (hexadecimal) of a file's y_hat, for an exact file the same on every machine."""
    file = _complete(data)
    return hash_latents(_network_of(file.container), file)


def _bytes_of(data: Data) -> bytes:
    try:
        data = Path(data).read_bytes() if isinstance(data, str | os.PathLike) else data
        return bytes(memoryview(data.read() if hasattr(data, "read") else data))
    except (OSError, ValueError) as error:
        raise WeconveneError(f"The compressed file cannot be read: {error}.") from error
    except TypeError as error:
        kind = type(data).__name__
        raise WeconveneError(f"Give a compressed file as its path, bytes, or binary file, not as {kind}.") from error


def _check_integers(**values: object) -> None:
    for name, value in values.items():
        if not isinstance(value, int | np.integer):
            raise WeconveneError(f"{name}={value!r} is no whole number: give one.")


def _complete(data: Data) -> PartialFile:
    data = _bytes_of(data)
    return PartialFile(unpack(data), b"", len(data))


def _decode(network: WeConvene, file: PartialFile, slices: int, max_memory: int) -> tuple[np.ndarray, int]:
    """Return the pixels (H, W, 3) uint8 and how many HF slices the furthest tile has."""
    _check_integers(max_memory=max_memory)
    container = file.container
    network.check_quality(container.quality)
    height, width = container.coded_size
    needed = working_memory(footprint(network.config, container.exact), width, height, container.tile)
    if needed > max_memory:
        raise WeconveneError(
            f"Decoding {width} x {height} pixels, as this file holds them, takes about {needed} MiB of working memory, "
            f"and {max_memory} are allowed: raise --max-memory."
        )
    pixels, reached = decode_tiles(network, file, slices)
    return turned_back(pixels, container.orientation), reached


def _picture(file: PartialFile, slices: int, max_memory: int) -> tuple[Image.Image, int]:
    """Return the picture with at most ``slices`` HF slices, and how many of them were there."""
    container = file.container
    pixels, reached = _decode(_network_of(container), file, slices, max_memory)
    alpha, icc = container.of("alpha"), container.of("icc")
    plane = pictures.unpack_alpha(alpha[0], container.height, container.width) if alpha else None
    return pictures.to_pil(pixels, container.mode, plane, pictures.unpack_profile(icc[0]) if icc else None), reached


def _network_of(container: Container) -> WeConvene:
    """Return the installed model that a file was made with."""
    names = checkpoints()
    stated = [name for name, path in names.items() if container.model_hash in stated_digests(path)]
    for name in stated or names:
        network = _loaded(name).matching(container.model_hash, container.exact)
        if network is not None:
            return without_transforms(network) if container.plain else network
    needed = container.model_hash.hex() + (", exact" if container.exact else "")
    raise CorruptFileError(
        f"The file was made with other weights ({needed}) than those installed here ({', '.join(names) or 'none'}); "
        "decode it with the release that made it."
    )


@contextmanager
def _default_type() -> Iterator[None]:
    """Make what is read float32, whatever PyTorch's default type is; that belongs to the whole process."""
    if (before := torch.get_default_dtype()) == torch.float32:
        yield
        return
    with TYPE_LOCK:
        torch.set_default_dtype(torch.float32)
        try:
            yield
        finally:
            torch.set_default_dtype(before)


@lru_cache(maxsize=4)
@_default_type()
def _loaded(name: str) -> LoadedModel:
    path = checkpoint(name)
    network, digest = load_checked(path)
    exact, exact_digest = load_integer_path(network, digest, path) or (None, b"")
    earlier = [digest for digest in stated_digests(path) if digest != exact_digest[:HASH_BYTES]]
    metric = description_of(path).get("config", {}).get("metric", "mse")
    return LoadedModel(network, (digest[:HASH_BYTES], *earlier), exact, exact_digest[:HASH_BYTES], metric)
