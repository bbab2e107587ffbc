"""The trained codec behind the measuring protocol: by its files on disk, or by the streams of a model in memory."""

from __future__ import annotations

import hashlib
import warnings
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from PIL import Image

from lab.paths import ROOT, RUN, read_table, table_path
from lab.rd.curves import POINT_COLUMNS
from lab.rd.metrics import bpp, psnr_rgb
from weconvene_core.atomic_files import write_bytes_atomically
from weconvene_core.codec import api
from weconvene_core.errors import WeconveneError
from weconvene_core.exact.calibrate import stated_digests
from weconvene_core.image_tensors import from_8_bit, pad, to_8_bit
from weconvene_core.lambdas import QUALITY_MAX, QUALITY_MIN
from weconvene_core.model.checkpoint import weights_hash
from weconvene_core.model.weconvene import WeConvene
from weconvene_core.paths import checkpoint

QUALITIES = tuple(map(float, range(8)))
"""The qualities at which evaluations code: those that have rate vectors of their own."""
FILES = RUN / "scratch" / "rd_files"
DECIDING = (*(f"weconvene_core/{room}" for room in ("wavelets", "layers", "entropy", "exact", "model", "codec")),
            "weconvene_core/image_tensors.py", "weconvene_core/lambdas.py", "notebooks/lab/rd/metrics.py")  # fmt: skip
"""Code that decides over the bytes of a file, the decoded picture, or its measured quality."""
LIBRARIES = ("torch", "compressai", "constriction", "pytorch-msssim")
TOLERANCE = 0.005
"""Relative distance from the wanted rate at which :func:`code_at_rate` stops."""


@dataclass(frozen=True)
class FileCodec:
    """A released model behind the protocol ``ImageCodec``, with its files kept for a closer look.

    Attributes
    ----------
    model : name of a released checkpoint.
    folder : where the files go, one subfolder per state; named by a hash of the picture's pixels, and the quality.
    effort : how hard the encoder looks for a better file, 0 to 3.
    """

    model: str = api.DEFAULT_MODEL
    folder: Path = FILES
    effort: int = 0

    def encode(self, image: Image.Image, quality: float) -> bytes:
        """Write an RGB picture to its file and return what is then on disk.

        Raises
        ------
        WeconveneError
            If the model is unknown, the quality outside 0 to 7, or the folder cannot be written.
        """
        path = self._path(image, quality)
        data = api.encode(image, quality, self.model, effort=self.effort)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes_atomically(path, data)
        return path.read_bytes()

    def decode(self, data: bytes) -> Image.Image:
        """Return the picture of a complete file."""
        return api.decode(data)

    def file(self, image: Image.Image, quality: float) -> bytes:
        """Return the file that is already on disk for this picture and quality; encode it where there is none."""
        path = self._path(image, quality)
        return path.read_bytes() if path.is_file() else self.encode(image, quality)

    def state(self) -> str:
        """Return a hash of everything that files and measurements depend on: weights, code, and library versions."""
        state = _state(self.model)
        return hashlib.sha256(f"{state} {self.effort}".encode()).hexdigest() if self.effort else state

    def weights(self) -> str:
        """Return the first digits of the hash of the model's weights, as tables keep it beside what was measured."""
        return weights_hash(checkpoint(self.model)).hex()[:12]

    def _path(self, image: Image.Image, quality: float) -> Path:
        pixels = hashlib.sha256(f"{image.size} {image.mode}".encode() + image.tobytes()).hexdigest()
        return self.folder / self.state()[:12] / f"{pixels[:16]}_q{quality:g}.wcv"


def kept_points(name: str, codec: str, command: str, model: str = api.DEFAULT_MODEL) -> pd.DataFrame:
    """Return the points of a table that a long experiment left, without those of ``codec`` by other weights.

    Parameters
    ----------
    name
        Of a table with ``POINT_COLUMNS`` and ``weights``; without it the result is empty.
    codec
        The rows that hold for the released ``model`` alone; a warning names those that are left out.
    command
        The module that measures them again.
    """
    if not table_path(name).is_file():
        return pd.DataFrame(columns=POINT_COLUMNS)
    points = read_table(name)
    stale = (points.codec == codec) & (points.weights != FileCodec(model).weights())
    if stale.any():
        warnings.warn(
            f"'{codec}' is left out on {', '.join(points[stale].dataset.unique())}: its points are of other weights; "
            f"run python -m {command}.",
            stacklevel=2,
        )
    return points.loc[~stale, POINT_COLUMNS]


def estimated_bytes(image: Image.Image, quality: float, model: str = api.DEFAULT_MODEL) -> float:
    """Return the size that the likelihoods promise for an RGB picture, in bytes: what training minimises."""
    network = api.load_model(model)
    with torch.no_grad():
        likelihoods = network(pad(from_8_bit(np.asarray(image)), network.config.stride), quality)["likelihoods"]
    return sum(-part.double().log2().sum().item() for part in likelihoods.values()) / 8


@dataclass(frozen=True, eq=False)
class Coded:
    """A picture after its trip through bytes: the quality it was coded at, the streams' bits per pixel, PSNR in dB."""

    quality: float
    bpp: float
    psnr_db: float
    picture: NDArray[np.uint8]


def code(model: WeConvene, picture: NDArray[np.uint8], quality: float) -> Coded:
    """Code a picture (H, W, 3) uint8 by a model in memory; ``model.update`` must have been called.

    The rate counts the three streams; a file adds a header of some 30 bytes.
    """
    height, width = picture.shape[:2]
    x = from_8_bit(picture).to(next(model.parameters()).device)
    coded = model.compress(x, quality)
    decoded = to_8_bit(model.decompress(coded["strings"], coded["shape"], quality)["x_hat"])[:height, :width]
    size = sum(len(stream) for (stream,) in coded["strings"])
    return Coded(quality, bpp(size, width, height), psnr_rgb(picture, decoded), decoded)


def code_at_rate(model: WeConvene, picture: NDArray[np.uint8], rate: float, most: int = 8) -> Coded:
    """Code a picture at the quality whose rate comes close to ``rate`` (bits per pixel), found by bisection.

    Raises
    ------
    WeconveneError
        If the model's rates at qualities 0 to 7 do not include ``rate``.
    """
    low, high = QUALITY_MIN, QUALITY_MAX
    ends = [code(model, picture, quality) for quality in (low, high)]
    if not ends[0].bpp <= rate <= ends[1].bpp:
        span = f"{ends[0].bpp:.3f} to {ends[1].bpp:.3f} bpp"
        raise WeconveneError(f"{rate:.3f} bpp lies outside this model's {span} on this picture; choose a rate within.")
    found = ends[0]
    for _ in range(most):
        if abs(found.bpp / rate - 1) < TOLERANCE:
            break
        found = code(model, picture, (low + high) / 2)
        low, high = (found.quality, high) if found.bpp < rate else (low, found.quality)
    return found


@lru_cache(maxsize=4)
def _state(model: str) -> str:
    api.load_model(model)  # an unknown name gets its sentence here
    path = checkpoint(model)
    digest = hashlib.sha256(b"".join([weights_hash(path), *stated_digests(path)]))  # recalibrated: other files
    for part in DECIDING:
        path = ROOT / part
        for source in sorted(path.glob("*.py")) if path.is_dir() else [path]:
            digest.update(source.read_bytes())
    digest.update(" ".join(map(version, LIBRARIES)).encode())
    return digest.hexdigest()
