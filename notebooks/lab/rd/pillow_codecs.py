"""The classical codecs, encoded live by Pillow on the same images at their best honest settings.

Settings matter more than codecs here: JPEG 2000 without its colour transform (Pillow's default) costs more than twice
the rate of JPEG 2000 with it. Each rival states all of its settings, and a test holds them to known figures.
"""

from __future__ import annotations

import io
import os
import warnings
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Protocol

import numpy as np
import pandas as pd
import PIL
from PIL import Image, features
from tqdm import tqdm

from lab.rd.measure import CACHE, ImageCodec, MeasurementCache, measure_all
from lab.rd.points import point_row, with_means
from weconvene_core.atomic_files import sha256_of
from weconvene_core.datasets.image_sets import ImageSet
from weconvene_core.errors import WeconveneError

Setting = bool | int | str | tuple[tuple[str, str], ...]


class LiveCodec(ImageCodec, Protocol):
    """A codec with a name, the knob values at which it is measured, and a description of all that its bytes rest on."""

    @property
    def name(self) -> str:
        """What tables and figures call it."""

    @property
    def knobs(self) -> tuple[float, ...]:
        """Knob values in the order of rising rates."""

    def state(self) -> str:
        """Return everything that the bytes and their measurement depend on."""


@dataclass(frozen=True)
class Rival:
    """One codec of Pillow with fixed settings and one quality knob.

    Attributes:
        name: what tables and figures call it.
        format: Pillow's name of the file format.
        library: Pillow's name of the library behind it, whose version decides the bytes.
        knob: the option that trades rate for quality.
        settings: all other options, as (option, value) pairs.
        knobs: knob values; seven or more of them between about 0.1 and 1.2 bpp on Kodak, the rest up to 2 or 4 bpp.
        switch: a value of the knob, and settings that take the place of those of the same names from there on.
    """

    name: str
    format: str
    library: str
    knob: str
    settings: tuple[tuple[str, Setting], ...]
    knobs: tuple[float, ...]
    switch: tuple[float, tuple[tuple[str, Setting], ...]] | None = None

    def encode(self, image: Image.Image, quality: float) -> bytes:
        """Return the complete file of an RGB picture with the knob at ``quality``.

        Raises:
            WeconveneError: this build of Pillow cannot write the format with these settings.
        """
        value = [quality] if self.knob == "quality_layers" else int(quality)
        settings = dict(self.settings)
        if self.switch and quality >= self.switch[0]:
            settings |= dict(self.switch[1])
        options = {key: dict(v) if isinstance(v, tuple) else v for key, v in settings.items()}
        buffer = io.BytesIO()
        try:
            image.save(buffer, self.format, **{self.knob: value}, **options)
        except (OSError, ValueError, KeyError) as error:
            raise WeconveneError(
                f"Pillow cannot write {self.name} here ({error}): install Pillow's own wheel."
            ) from error
        return buffer.getvalue()

    def decode(self, data: bytes) -> Image.Image:
        """Return the RGB picture of a complete file."""
        return Image.open(io.BytesIO(data)).convert("RGB")

    def encode_near(self, image: Image.Image, target: int) -> bytes:
        """Return the file of an RGB picture whose size is nearest to ``target`` bytes, found by bisection of the knob.

        Raises:
            WeconveneError: as :meth:`encode`.
        """
        knobs = np.geomspace(600.0, 3.0, 500) if self.knob == "quality_layers" else np.arange(101.0)
        above = min(bisect_left(knobs, target, key=lambda knob: len(self.encode(image, knob))), len(knobs) - 1)
        files = [self.encode(image, knob) for knob in knobs[max(above - 1, 0) : above + 1]]
        return min(files, key=lambda data: abs(len(data) - target))

    def state(self) -> str:
        """Return everything that the bytes and their measurement depend on: settings and versions."""
        made_by = f"Pillow {PIL.__version__}, {self.library} {features.version(self.library)}"
        settings = f"{self.settings} {self.switch}" if self.switch else f"{self.settings}"
        return f"{self.format} {self.knob} {settings} {made_by}, pytorch-msssim {version('pytorch-msssim')}"


# half the colour resolution needs fewer bits at equal PSNR in RGB up to quality 85, on photographs kept out of training
# as on Kodak; beyond, what it loses costs more
JPEG = Rival(
    "JPEG",
    "JPEG",
    "jpg",
    "quality",
    (("subsampling", "4:2:0"), ("optimize", True)),
    (5, 8, 12, 18, 26, 36, 50, 70, 85, 95),
    switch=(90, (("subsampling", "4:4:4"),)),
)
# the irreversible 9/7 wavelet and the colour transform: both must be asked for
JPEG_2000 = Rival(
    "JPEG 2000",
    "JPEG2000",
    "jpg_2000",
    "quality_layers",
    (("irreversible", True), ("mct", 1), ("quality_mode", "rates")),
    (240, 150, 96, 64, 42, 28, 20, 12),
)
# what Pillow does when nothing is asked for: R, G and B coded as three grey pictures; only ever shown as a trap
JPEG_2000_BY_DEFAULT = replace(
    JPEG_2000,
    name="JPEG 2000, mct=0",
    settings=tuple((key, 0 if key == "mct" else value) for key, value in JPEG_2000.settings),
)
WEBP = Rival("WebP", "WEBP", "webp", "quality", (("method", 6),), (5, 10, 18, 28, 40, 58, 75, 88, 95))


def avif(speed: int = 6, tune: str | None = "psnr") -> Rival:
    """Return AVIF at 4:4:4; lower speeds compress better and take several times longer.

    Tuned for PSNR it stands at +39 % against VTM-9.1 on Kodak, with the encoder's own tuning (None) at +49 %; by
    MS-SSIM it is the other way round (+32 % and +8 %).
    """
    settings: tuple[tuple[str, Setting], ...] = (
        ("speed", speed),
        ("subsampling", "4:4:4"),
        ("codec", "aom"),
        ("max_threads", 1),
    )
    advanced: tuple[tuple[str, Setting], ...] = (("advanced", (("tune", tune),)),) if tune else ()
    name = f"AVIF speed {speed}" if tune == "psnr" else f"AVIF speed {speed}, tune {tune or 'default'}"
    return Rival(name, "AVIF", "avif", "quality", settings + advanced, (6, 12, 20, 29, 38, 47, 57, 70))


RIVALS: tuple[Rival, ...] = (JPEG, WEBP, JPEG_2000, avif())


def available(rivals: Sequence[LiveCodec] = RIVALS) -> tuple[LiveCodec, ...]:
    """Return the rivals that can be written and read back on this machine; a warning names the others."""
    found = []
    for rival in rivals:
        try:
            rival.decode(rival.encode(Image.new("RGB", (16, 16)), rival.knobs[0]))
            found.append(rival)
        except (WeconveneError, OSError) as error:
            warnings.warn(f"{rival.name} is left out of the comparison: {error}", stacklevel=2)
    return tuple(found)


def measure_rivals(
    images: ImageSet, rivals: Sequence[LiveCodec] = RIVALS, processes: int | None = None, folder: Path = CACHE
) -> pd.DataFrame:
    """Measure the rivals on all images at all of their knobs, with a progress bar; known measurements are reused.

    Args:
        images: the images.
        rivals: the codecs; those that cannot be written on this machine are left out with a warning.
        processes: worker processes; None for one per processor, 1 for none but this one.
        folder: folder of the kept measurements.

    Returns:
        A table with the columns of :func:`lab.rd.measure_set.measure`.

    Raises:
        WeconveneError: no rival can be written here, or an unreadable picture (named).
    """
    return measure_live(images, available(rivals), processes, folder)


def measure_live(
    images: ImageSet, rivals: Sequence[LiveCodec], processes: int | None = None, folder: Path = CACHE
) -> pd.DataFrame:
    """Measure as :func:`measure_rivals` does, but refuse where a codec cannot be written here, by its own reason.

    Raises:
        WeconveneError: no rivals, one that cannot be written here or refuses a picture, or an unreadable picture.
    """
    caches = {rival.name: MeasurementCache(rival.name, rival.state(), folder) for rival in rivals}
    hashes = {path: sha256_of(path) for path in images.paths}
    jobs = [(rival, path, float(knob)) for rival in rivals for path in images.paths for knob in rival.knobs]
    found = {(r, p, k): caches[r.name].get(hashes[p], k) for r, p, k in jobs}
    todo = [job for job in jobs if found[job] is None]
    results = measure_all(todo, processes or os.cpu_count() or 1)
    bar = tqdm(results, total=len(todo), desc=f"Live codecs on {images.label}", mininterval=5.0, disable=not todo)
    for job, measured in zip(todo, bar, strict=True):
        rival, path, knob = job
        caches[rival.name].put(hashes[path], knob, measured)
        found[job] = measured
    return with_means([point_row(images, p, r.name, k, m) for (r, p, k), m in found.items() if m is not None])
