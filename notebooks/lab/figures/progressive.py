"""What the beginning of a compressed file shows, as pictures for :func:`lab.figures.pictures.crops_figure`.

In a notebook::

    data = encode(photo, quality=3)
    shown = {"original": np.asarray(photo), **prefix_pictures(data)}
    crops_figure(shown, detail_box(photo.size, (0.5, 0.5)), "One file, more and more of it")
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from weconvene_core.codec.api import ALL, decode_progressive, preview
from weconvene_core.codec.container import unpack

SHARES = (0.1, 0.3, 0.6, 1.0)


def prefix_pictures(data: bytes, shares: Sequence[float] = SHARES) -> dict[str, NDArray[np.uint8]]:
    """Decode as much as is certain of the first ``shares`` (0 to 1) of a file's bytes; headings say how many those are.

    Raises:
        CutFileError: a share ends inside the hyperprior, which is the first few percent.
        CorruptFileError: the data is not a compressed file.
    """
    counts = [round(share * len(data)) for share in shares]
    return {
        f"{100 * count / len(data):.0f} % of the file\n{count:,} bytes": np.asarray(preview(data[:count], ALL))
        for count in counts
    }


def progressive_pictures(data: bytes) -> dict[str, NDArray[np.uint8]]:
    """Decode a complete file after LF and after each HF slice; the first and the last heading count bytes.

    Raises:
        CorruptFileError: the data is not a compressed file, or not all of one.
    """
    low = len(data) - sum(map(len, unpack(data).of("y_hf")))
    pictures = [np.asarray(picture) for picture in decode_progressive(data)]
    last = len(pictures) - 1
    names = [f"{i} of {last} HF slices" for i in range(last + 1)]
    names[0] = f"LF alone\n{low:,} bytes"
    names[-1] = f"{names[-1]}\n{len(data):,} bytes"
    return dict(zip(names, pictures, strict=True))
