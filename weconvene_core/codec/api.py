"""The codec in a few calls: ``load_model``, ``encode``, ``decode``, ``preview`` and ``decode_progressive``.

An image of any size and mode becomes one self-contained file (see ``data/FORMAT.md``) and comes back. All calls may be
used from several threads at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from weconvene_core.atomic_files import HASH_BYTES
from weconvene_core.codec.container import Container, PartialFile, pack, unpack, unpack_prefix
from weconvene_core.codec.effort import best_orientation, checked, refinement
from weconvene_core.codec.floor import Watch, loss_of, without_transforms
from weconvene_core.codec.latent_refinement import Refinement
from weconvene_core.codec.lossless import pack_alpha, pack_profile, unpack_alpha, unpack_profile
from weconvene_core.codec.orientation import turned, turned_back
from weconvene_core.codec.pictures import Picture, load, to_pil
from weconvene_core.codec.streams import by_block, in_file_order
from weconvene_core.codec.tile_coder import Decoded, decode_tiles, encode_tiles, hash_latents, to_8_bit
from weconvene_core.codec.tile_grid import DEFAULT_MEMORY, check_memory, choose_tile, worker_count
from weconvene_core.codec.tile_streams import ALL, footprint
from weconvene_core.errors import CorruptFileError, WeconveneError
from weconvene_core.exact.calibrate import load_integer_path, stated_digests
from weconvene_core.model.released import description_of, installed, load_checked
from weconvene_core.model.weconvene import QUALITY_DECIMALS, WeConvene
from weconvene_core.paths import CHECKPOINTS

__all__ = [
    "DEFAULT_MODEL", "decode", "decode_progressive", "encode", "latent_hash", "load_model", "preview", "to_8_bit",
]  # fmt: skip

DEFAULT_MODEL = "lite"


@dataclass(frozen=True)
class LoadedModel:
    """A checkpoint as it is used: its network in floating point and, where it is calibrated, in its exact form.

    ``digests`` are the hashes that files name it by: those of the weights, and that of the integer path. ``metric`` is
    what its last training minimised.
    """

    network: WeConvene
    digests: tuple[bytes, ...]
    exact: WeConvene | None = None
    exact_digest: bytes | None = None
    metric: str = "mse"

    def matching(self, container: Container) -> WeConvene | None:
        """Return the network that a file was made with, None if it is of another checkpoint."""
        if container.exact:
            return self.exact if container.model_hash == self.exact_digest else None
        return self.network if container.model_hash in self.digests else None


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
    released = _loaded(name)
    if not exact:
        return released.network
    if released.exact is None:
        raise WeconveneError(
            f"The model '{name}' is not calibrated: run weconvene calibrate {name}, or use exact=False."
        )
    return released.exact


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
    :mod:`weconvene_core.codec.floor`).

    Parameters
    ----------
    image : a path, a Pillow image, an array (H, W[, C]) of uint8 or uint16, or a Picture; any H, W >= 1. Grey is coded
        as RGB and comes back grey, alpha is kept without loss (see :mod:`weconvene_core.codec.pictures`).
    quality : a real number from 0 (smallest file) to 7 (finest).
    model : name of a released checkpoint.
    max_memory : working memory in MiB, beyond the picture's own pixels; larger pictures are coded in tiles, and a
        decoder needs about the same memory.
    tile : side of the tiles in pixels (one of ``grid.TILE_EDGES``; 0: no tiles) instead of what ``max_memory`` asks.
    exact : the entropy model computes in integers, so that the file decodes to the same bits on every machine. None:
        wherever the model is calibrated.
    effort : how hard to look for a file with less squared error for its bits: 0 codes at once, 1 turns the picture, 2
        and 3 search longer and longer (see :mod:`weconvene_core.codec.effort`). Nothing changes for decoders.

    Raises
    ------
    WeconveneError
        If the picture cannot be read, the quality or ``effort`` is out of range, the model is unknown, or the memory
        too small; if the exact path is asked of a model that is not calibrated, or effort of one that was not trained
        for squared error.
    """
    released = _loaded(model)
    exact = released.exact is not None if exact is None else exact
    network, digest = load_model(model, exact=exact), released.exact_digest if exact else released.digests[0]
    level = checked(effort, model, released.metric)
    search = refinement(released.network, level, max_memory)
    picture, quality = load(image), round(network.check_quality(quality), QUALITY_DECIMALS)

    def tile_of(height: int, width: int) -> int:
        return choose_tile(footprint(network), width, height, max_memory) if tile is None else tile

    height, width = picture.rgb.shape[:2]
    icc, whole = picture.icc is not None, tile_of(height, width)
    header = Container(digest or b"", width, height, picture.mode, quality, exact=exact, icc=icc, tile=whole)
    turn = replace(header, orientation=best_orientation(released.network, picture.rgb, quality, level, whole))
    turn = replace(turn, tile=tile_of(*turn.coded_size))
    watch = Watch(network, torch.tensor([header.quality])) if network.config.shortcut else None
    data = _coded(network, turn, picture, max_memory, search, watch)
    if watch is None or not watch.alarmed:
        return data
    plain = _coded(without_transforms(network), replace(header, plain=True), picture, max_memory)
    losses = [_loss(file, picture, header.quality, max_memory) for file in (data, plain)]
    return plain if losses[1] < losses[0] else data


def _loss(data: bytes, picture: Picture, quality: float, max_memory: int) -> float:
    return loss_of(len(data), picture.rgb, _decode(_whole(data), ALL, max_memory).rgb, quality)


def _coded(
    network: WeConvene, header: Container, picture: Picture, max_memory: int,
    search: Refinement | None = None, watch: Watch | None = None,
) -> bytes:  # fmt: skip
    """Return the file of a picture whose header is known."""
    height, width = header.coded_size
    workers = worker_count(footprint(network), width, height, header.tile, max_memory, torch.get_num_threads())
    pixels = turned(picture.rgb, header.orientation)
    found = encode_tiles(network, pixels, header.tile, header.quality, workers, search, watch)
    beside = [] if picture.icc is None else [pack_profile(picture.icc)]
    beside += [] if picture.alpha is None else [pack_alpha(picture.alpha)]
    return pack(replace(header, streams=in_file_order(header, found, beside)))


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
    whole = _whole(data)
    return _picture(whole.container, _decode(whole, ALL, max_memory))


def preview(data: bytes, slices: int = 0, *, max_memory: int = DEFAULT_MEMORY) -> Image.Image:
    """Decode a file, or its beginning, as far as it goes: the LF slices, and at most some HF slices.

    The size is the original's; a coefficient that has not arrived is taken as predicted from those that have. A picture
    cut before its alpha plane is opaque. Complete streams are verified; of a cut one the certain slices are used.

    Raises
    ------
    CutFileError
        If even the hyperprior, which stands first, is not complete; otherwise as :func:`decode`.
    """
    prefix = unpack_prefix(data)
    return _picture(prefix.container, _decode(prefix, slices, max_memory))


def decode_progressive(data: bytes, *, max_memory: int = DEFAULT_MEMORY) -> Iterator[Image.Image]:
    """Yield the picture after the LF slices, then after each HF slice, as far as a file, or its beginning, goes.

    The last picture of a complete file is what :func:`decode` returns. Each is decoded from the start, and takes as
    long as the last.

    Raises
    ------
    CorruptFileError, WeconveneError
        As :func:`preview`.
    """
    prefix = unpack_prefix(data)
    decoded = _decode(prefix, 0, max_memory)
    yield _picture(prefix.container, decoded)
    for slices in range(1, decoded.slices_in_all + 1):
        decoded = _decode(prefix, slices, max_memory)
        if decoded.slices < slices:
            return
        yield _picture(prefix.container, decoded)


def latent_hash(data: bytes) -> str:
    """Return the SHA-256 (hexadecimal) of a file's y_hat: of an exact file the same on every machine.

    Raises
    ------
    CutFileError, CorruptFileError
        As :func:`decode`.
    """
    whole = _whole(data)
    container, network = whole.container, _network_of(whole.container)
    return hash_latents(network, by_block(whole), container.coded_size, container.tile, container.quality)


def _whole(data: bytes) -> PartialFile:
    return PartialFile(unpack(data), b"", len(data), complete=True)


def _decode(prefix: PartialFile, slices: int, max_memory: int) -> Decoded:
    container = prefix.container
    (height, width), tile = container.coded_size, container.tile
    network = _network_of(container)
    quality = network.check_quality(container.quality)
    check_memory(footprint(network), width, height, tile, max_memory)
    workers = worker_count(footprint(network), width, height, tile, max_memory, torch.get_num_threads())
    decoded = decode_tiles(network, by_block(prefix), (height, width), tile, quality, workers, slices)
    return replace(decoded, rgb=turned_back(decoded.rgb, container.orientation))


def _picture(container: Container, decoded: Decoded) -> Image.Image:
    alpha, icc = container.of("alpha"), container.of("icc")
    plane = unpack_alpha(alpha[0], container.height, container.width) if alpha else None
    return to_pil(decoded.rgb, container.mode, plane, unpack_profile(icc[0]) if icc else None)


def _network_of(container: Container) -> WeConvene:
    """Return the installed model whose weights a file was made with, without transforms where that is how."""
    names = installed(CHECKPOINTS)
    stated = [name for name in names if container.model_hash in stated_digests(CHECKPOINTS / f"{name}.safetensors")]
    for name in stated or names:
        network = _loaded(name).matching(container)
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
