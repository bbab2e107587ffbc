"""Pillow opens and saves compressed files: ``Image.open("x.wcv")``, ``image.save("x.wcv", quality=3)``.

Importing ``weconvene_core`` registers it. Opening reads the header; torch is loaded when pixels are wanted. Like
Pillow's other formats, a cut file gives what is there (its preview) when ``ImageFile.LOAD_TRUNCATED_IMAGES`` is set.
"""

from __future__ import annotations

import io
from typing import IO

from PIL import Image, ImageFile

from weconvene_core.codec.container import MAGIC, unpack_prefix

FORMAT, EXTENSION = "WCV", ".wcv"
DEFAULT_QUALITY = 3.0


class WcvImageFile(ImageFile.ImageFile):
    """A compressed file; ``info`` holds its quality and its colour profile."""

    format, format_description = FORMAT, "3DM-WeConvene compressed picture"

    def _open(self) -> None:
        self._data = self.fp.read()
        container = unpack_prefix(self._data).container
        self._size, self._mode = (container.width, container.height), container.mode
        self.info["quality"] = container.quality
        if container.of("icc"):
            from weconvene_core.codec.pictures import unpack_profile

            self.info["icc_profile"] = unpack_profile(container.of("icc")[0])
        self.tile = [ImageFile._Tile("raw", (0, 0, *self.size), 0, self.mode)]

    def load(self) -> Image.core.PixelAccess | None:
        """Decode, then go on as with any raw picture."""
        if self.tile and self._data:
            from weconvene_core.codec import api

            cut = ImageFile.LOAD_TRUNCATED_IMAGES and not unpack_prefix(self._data).complete
            image = api.preview(self._data, api.ALL) if cut else api.decode(self._data)
            if self._exclusive_fp:
                self.fp.close()
            self.fp, self._data = io.BytesIO(image.convert(self.mode).tobytes()), b""
        return super().load()


def save(image: Image.Image, file: IO[bytes], filename: str | bytes) -> None:
    """Encode with ``quality`` (0 to 7, default 3), ``model`` and ``effort``, as given to ``image.save``."""
    from weconvene_core.codec import api

    options = image.encoderinfo
    quality, model = options.get("quality", DEFAULT_QUALITY), options.get("model", api.DEFAULT_MODEL)
    file.write(api.encode(image, quality, model, effort=options.get("effort", 0)))


def register() -> None:
    """Tell Pillow of the format."""
    Image.register_open(FORMAT, WcvImageFile, lambda prefix: prefix.startswith(MAGIC))
    Image.register_save(FORMAT, save)
    Image.register_extension(FORMAT, EXTENSION)
    Image.register_mime(FORMAT, "image/x-wcv")
