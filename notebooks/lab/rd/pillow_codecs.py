"""The classical codecs of Pillow on the same images, with the settings that stand here.

Settings matter more than codecs here: JPEG 2000 without its colour transform (Pillow's default) costs more than twice
the rate of JPEG 2000 with it. Each codec states all of its settings, and a test holds them to known figures.
"""

from __future__ import annotations

import io
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
import PIL
from PIL import Image, features

from lab.rd.measure import CACHE, ClassicalCodec, available, measure_codecs
from weconvene_core.datasets.image_sets import ImageSet
from weconvene_core.errors import WeconveneError

Setting = bool | int | str | tuple[tuple[str, str], ...]
Settings = tuple[tuple[str, Setting], ...]


@dataclass(frozen=True)
class PillowCodec:
    """One codec of Pillow with fixed settings and one quality parameter.

    Attributes
    ----------
    name : what tables and figures call it.
    format, library : Pillow's names of the file format and of the library behind it.
    quality_parameter : the option that trades rate for quality.
    settings : all other options, as (option, value) pairs.
    qualities : values of the quality parameter; seven or more between about 0.1 and 1.2 bpp on Kodak.
    switch : a quality, and the settings that replace those of the same names from there on.
    """

    name: str
    format: str
    library: str
    quality_parameter: str
    settings: Settings
    qualities: tuple[float, ...]
    switch: tuple[float, Settings] | None = None

    def encode(self, image: Image.Image, quality: float) -> bytes:
        """Return the complete file of an RGB picture with the quality parameter at ``quality``.

        Raises
        ------
        WeconveneError
            If this build of Pillow cannot write the format with these settings.
        """
        value = [quality] if self.quality_parameter == "quality_layers" else int(quality)
        settings = dict(self.settings)
        if self.switch and quality >= self.switch[0]:
            settings |= dict(self.switch[1])
        options = {key: dict(v) if isinstance(v, tuple) else v for key, v in settings.items()}
        buffer = io.BytesIO()
        try:
            image.save(buffer, self.format, **{self.quality_parameter: value}, **options)
        except (OSError, ValueError, KeyError) as error:
            raise WeconveneError(
                f"Pillow cannot write {self.name} here ({error}): install Pillow's own wheel."
            ) from error
        return buffer.getvalue()

    def decode(self, data: bytes) -> Image.Image:
        """Return the RGB picture of a complete file."""
        return Image.open(io.BytesIO(data)).convert("RGB")

    def encode_near(self, image: Image.Image, target: int) -> bytes:
        """Return the file of an RGB picture whose size is nearest to ``target`` bytes, by bisection of the quality."""
        layers = self.quality_parameter == "quality_layers"
        qualities = np.geomspace(600.0, 3.0, 500) if layers else np.arange(101.0)
        above = min(bisect_left(qualities, target, key=lambda q: len(self.encode(image, q))), len(qualities) - 1)
        files = [self.encode(image, quality) for quality in qualities[max(above - 1, 0) : above + 1]]
        return min(files, key=lambda data: abs(len(data) - target))

    def state(self) -> str:
        """Return everything that the bytes and their measurement depend on: settings and versions."""
        made_by = f"Pillow {PIL.__version__}, {self.library} {features.version(self.library)}"
        settings = f"{self.settings} {self.switch}" if self.switch else f"{self.settings}"
        return (
            f"{self.format} {self.quality_parameter} {settings} {made_by}, pytorch-msssim {version('pytorch-msssim')}"
        )


# half the colour resolution needs fewer bits at equal PSNR in RGB up to quality 85, on photographs kept out of training
# as on Kodak; beyond, what it loses costs more
JPEG = PillowCodec(
    "JPEG", "JPEG", "jpg", "quality", (("subsampling", "4:2:0"), ("optimize", True)),
    (5, 8, 12, 18, 26, 36, 50, 70, 85, 95), switch=(90, (("subsampling", "4:4:4"),)),
)  # fmt: skip
# the irreversible 9/7 wavelet and the colour transform: both must be asked for
JPEG_2000 = PillowCodec(
    "JPEG 2000", "JPEG2000", "jpg_2000", "quality_layers",
    (("irreversible", True), ("mct", 1), ("quality_mode", "rates")), (240, 150, 96, 64, 42, 28, 20, 12),
)  # fmt: skip
# what Pillow does when nothing is asked for: R, G and B coded as three grey pictures; only ever shown as a trap
JPEG_2000_BY_DEFAULT = replace(
    JPEG_2000,
    name="JPEG 2000, mct=0",
    settings=tuple((key, 0 if key == "mct" else value) for key, value in JPEG_2000.settings),
)
WEBP = PillowCodec("WebP", "WEBP", "webp", "quality", (("method", 6),), (5, 10, 18, 28, 40, 58, 75, 88, 95))


def avif(speed: int = 6, tune: str | None = "psnr") -> PillowCodec:
    """Return AVIF at 4:4:4; lower speeds compress better and take several times longer.

    Tuned for PSNR it stands at +39 % against VTM-9.1 on Kodak, with the encoder's own tuning (None) at +49 %; by
    MS-SSIM it is the other way round (+32 % and +8 %).
    """
    settings: Settings = (("speed", speed), ("subsampling", "4:4:4"), ("codec", "aom"), ("max_threads", 1))
    advanced: Settings = (("advanced", (("tune", tune),)),) if tune else ()
    name = f"AVIF speed {speed}" if tune == "psnr" else f"AVIF speed {speed}, tune {tune or 'default'}"
    return PillowCodec(name, "AVIF", "avif", "quality", settings + advanced, (6, 12, 20, 29, 38, 47, 57, 70))


CLASSICAL_CODECS: tuple[PillowCodec, ...] = (JPEG, WEBP, JPEG_2000, avif())


def measure_available(
    images: ImageSet,
    codecs: Sequence[ClassicalCodec] = CLASSICAL_CODECS,
    processes: int | None = None,
    folder: Path = CACHE,
) -> pd.DataFrame:
    """Measure, as :func:`lab.rd.measure.measure_codecs`, the codecs that work here; a warning names the others."""
    return measure_codecs(images, available(codecs), processes, folder)
