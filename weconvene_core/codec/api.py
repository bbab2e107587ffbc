"""The codec in three calls: ``load_model``, ``encode`` and ``decode``.

An image of any size and mode becomes one self-contained file (see ``data/FORMAT.md``) and comes back. The streams of
a file are, in order: LF slices, HF slices, z, and the alpha plane where there is one.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from weconvene_core.codec.container import Container, Mode, pack, unpack
from weconvene_core.codec.images import Picture, load, pack_alpha, to_pil, unpack_alpha
from weconvene_core.errors import CorruptFileError, WeconveneError
from weconvene_core.layers.rate_table import check_quality
from weconvene_core.model import STRIDE, WeConvene
from weconvene_core.paths import CHECKPOINTS
from weconvene_core.training.checkpoint import load_model_file, weights_hash

DEFAULT_MODEL = "lite"
LATENT_STREAMS = 3  # y_lf, y_hf, z
HASH_BYTES = 8


def load_model(name: str = DEFAULT_MODEL) -> WeConvene:
    """Return the released model called ``name`` in evaluation mode; it is read once per process.

    Raises
    ------
    WeconveneError
        If there is no such checkpoint, or it is damaged.
    """
    return _loaded(name)[0]


def encode(image: str | Path | Image.Image | np.ndarray | Picture, quality: float, model: str = DEFAULT_MODEL) -> bytes:
    """Compress a picture into the bytes of one file.

    Parameters
    ----------
    image : a path, a Pillow image, an array (H, W[, C]) of uint8 or uint16, or a Picture; any H, W >= 1. Grey is coded
        as RGB and comes back grey, alpha is kept without loss (see :mod:`weconvene_core.codec.images`).
    quality : a real number from 1 (smallest file) to 6 (finest).
    model : name of a released checkpoint.

    Raises
    ------
    WeconveneError
        If the picture cannot be read, the quality is out of range, or the model is unknown.
    """
    network, digest = _loaded(model)
    picture, quality = load(image), round(check_quality(quality), 3)  # the file keeps thousandths
    x = torch.tensor(picture.rgb).permute(2, 0, 1)[None].float() / 255  # (H, W, 3) -> (1, 3, H, W)
    streams = [strings[0] for strings in network.compress(x, quality)["strings"]]
    if picture.alpha is not None:
        streams.append(pack_alpha(picture.alpha))
    return pack(Container(model, digest, picture.width, picture.height, picture.mode, quality, tuple(streams)))


def decode(data: bytes) -> Image.Image:
    """Decompress the bytes of a file into a Pillow image of the original size and mode.

    Raises
    ------
    CorruptFileError
        If the file is foreign, truncated or altered, or was made with other weights.
    WeconveneError
        If the model that it names is not installed.
    """
    container = unpack(data)
    network, digest = _loaded(container.model)
    if container.weights_hash != digest:
        raise CorruptFileError(
            f"The file was made with other weights of model '{container.model}' than those installed here; "
            "decode it with the release that made it."
        )
    _check_streams(container)
    strings = [[stream] for stream in container.streams[:LATENT_STREAMS]]
    shape = (-(-container.height // STRIDE), -(-container.width // STRIDE))
    x_hat = network.decompress(strings, shape, check_quality(container.quality))["x_hat"]
    rgb = to_8_bit(x_hat)[: container.height, : container.width]
    return to_pil(rgb, container.mode, _alpha(container))


def to_8_bit(x: Tensor) -> np.ndarray:
    """Round an image (1, 3, H, W) in 0..1 to 8 bits: (H, W, 3) uint8."""
    return (x[0].clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).cpu().numpy()


def _check_streams(container: Container) -> None:
    expected = LATENT_STREAMS + _has_alpha(container.mode)
    if len(container.streams) != expected:
        raise CorruptFileError(
            f"The file has {len(container.streams)} streams where {expected} belong; get a fresh copy."
        )


def _alpha(container: Container) -> np.ndarray | None:
    if not _has_alpha(container.mode):
        return None
    return unpack_alpha(container.streams[LATENT_STREAMS], container.height, container.width)


def _has_alpha(mode: Mode) -> bool:
    return mode.endswith("A")


@lru_cache(maxsize=4)
def _loaded(name: str) -> tuple[WeConvene, bytes]:
    """Read a checkpoint once; the hash of its weights goes into every file."""
    known = sorted(path.stem for path in CHECKPOINTS.glob("*.safetensors"))
    if name not in known:
        raise WeconveneError(f"There is no trained model '{name}': known here are {', '.join(known) or 'none'}.")
    path = CHECKPOINTS / f"{name}.safetensors"
    return load_model_file(path), weights_hash(path)[:HASH_BYTES]
