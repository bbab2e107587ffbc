"""What a reversible transform is worth without any loss: estimated and real sizes of pictures and of their bands."""

from __future__ import annotations

import io
import math
import zlib
from collections.abc import Sequence

import pandas as pd
import torch
from PIL import Image
from torch import Tensor

from weconvene_core.wavelets import Pyramid, dwt2d

WAVELET = "5/3-integer"


def entropy_bits(values: Tensor) -> float:
    """Return the bits of integers (any shape) under an ideal code for their own histogram, the table not counted."""
    counts = torch.unique(values, return_counts=True)[1].double()
    return float(-(counts * (counts / values.numel()).log2()).sum()) if values.numel() else 0.0


def zlib_bytes(parts: Sequence[Tensor]) -> int:
    """Return the bytes of integer tensors as one zlib stream; 16-bit ones are laid out as low bytes, then high bytes.

    Signs are folded (0, -1, 1, -2, ... -> 0, 1, 2, 3, ...), so that small numbers have an empty high byte.
    """
    folded = [part.flatten().int() for part in parts]
    folded = [torch.where(values < 0, -2 * values - 1, 2 * values) for values in folded]
    planes = [((values >> shift) & 255).to(torch.uint8) for shift in (0, 8) for values in folded]
    return len(zlib.compress(torch.cat(planes).numpy().tobytes(), 9))


def lossless_sizes(rgb: Tensor, levels: int = 3) -> pd.DataFrame:
    """Return what a picture (3, H, W), uint8, takes before and after the integer 5/3 DWT, in bits per sample.

    Rows: the samples themselves and their bands, each under an ideal code per colour (and band) and under zlib; then
    the real files of PNG and of JPEG 2000 in its reversible mode, which adds a colour transform and context modelling.
    """
    bands = list(dwt2d(rgb, WAVELET, levels).bands().values())
    file_bits = {name: 8 * len(_encoded(rgb, name)) for name in ("PNG", "JPEG2000")}
    rows = [
        ("samples", "entropy", sum(entropy_bits(colour) for colour in rgb)),
        ("samples", "zlib", 8 * len(zlib.compress(rgb.numpy().tobytes(), 9))),
        ("5/3 bands", "entropy", sum(entropy_bits(colour) for band in bands for colour in band)),
        ("5/3 bands", "zlib", 8 * zlib_bytes(bands)),
        ("file", "PNG", file_bits["PNG"]),
        ("file", "JPEG 2000, reversible", file_bits["JPEG2000"]),
    ]
    table = pd.DataFrame(rows, columns=["coded", "by", "bits_per_sample"])
    table["bits_per_sample"] /= rgb.numel()
    return table


def _encoded(rgb: Tensor, name: str) -> bytes:
    stream = io.BytesIO()
    image = Image.fromarray(rgb.permute(1, 2, 0).contiguous().numpy())  # (3, H, W) -> (H, W, 3)
    image.save(stream, name, **({"optimize": True} if name == "PNG" else {"irreversible": False, "mct": 1}))
    return stream.getvalue()


def laplace_bits(pyramid: Pyramid) -> Tensor:
    """Return the estimated bits per coefficient of a pyramid at steps of 1, differentiable.

    Each band is taken for a Laplacian of its own width: log2(2 e mean|c|) bits (high rate). Unlike squared error it
    cannot be fooled by lifting: steps keep the determinant at 1, so what leaves one band enters another.
    """
    bands = [band for band in pyramid.bands().values() if band.numel()]
    total = sum(band.numel() for band in bands)
    costs = [band.numel() / total * (2 * math.e * band.abs().mean()).log2() for band in bands]
    return torch.stack(costs).sum()
