"""What every codec to compare with must do, whoever encodes: shared by the tests of Pillow's and of ffmpeg's."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image

from lab.rd.metrics import bpp, psnr_rgb


def check_quality_rises(codec, picture: Image.Image, qualities: Sequence[float]) -> None:
    """Rate and PSNR rise strictly over the given qualities, within what pictures are shown at."""
    files = [codec.encode(picture, quality) for quality in qualities]
    rates = [bpp(len(data), *picture.size) for data in files]
    quality = [psnr_rgb(picture, codec.decode(data)) for data in files]
    assert len(codec.qualities) >= 7
    assert (np.diff(rates) > 0).all()
    assert (np.diff(quality) > 0).all()
    assert 20.0 < quality[0] < quality[-1] < 50.0
