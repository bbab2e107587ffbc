"""Distortion and rate of one decoded picture, measured on 8-bit RGB as a viewer gets it.

PSNR runs over all three channels of the rounded 8-bit picture. MS-SSIM is that of ``pytorch-msssim`` with data range
255. The rate counts the bits of the whole file per pixel of the original.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from PIL import Image
from pytorch_msssim import ms_ssim as _ms_ssim

from weconvene_core.errors import WeconveneError

PEAK = 255.0
MS_SSIM_MIN_SIDE = 161
"""MS-SSIM halves the picture four times and then needs an 11-tap window: every side must exceed 160 pixels."""

Picture = Image.Image | NDArray[np.uint8]


def psnr_rgb(original: Picture, decoded: Picture) -> float:
    """Return the PSNR in dB over all pixels and channels of two 8-bit RGB pictures; identical pictures give ``inf``.

    Raises
    ------
    WeconveneError
        If a picture is not 8-bit RGB, or the sizes differ.
    """
    a, b = _pair(original, decoded)
    mse = float(np.mean(np.square(a.astype(np.int32) - b.astype(np.int32)), dtype=np.float64))
    return float("inf") if mse == 0.0 else float(10.0 * np.log10(PEAK**2 / mse))


def ms_ssim(original: Picture, decoded: Picture) -> float:
    """Return the MS-SSIM (0 to 1) of two 8-bit RGB pictures (Wang et al., 2003).

    It is ``nan`` where a side is below ``MS_SSIM_MIN_SIDE`` pixels: the five-scale index is not defined there.

    Raises
    ------
    WeconveneError
        If a picture is not 8-bit RGB, or the sizes differ.
    """
    a, b = _pair(original, decoded)
    if min(a.shape[:2]) < MS_SSIM_MIN_SIDE:
        return float("nan")
    with torch.no_grad(), _one_thread():
        return float(_ms_ssim(_tensor(a), _tensor(b), data_range=PEAK))


def ms_ssim_db(mean_ms_ssim: ArrayLike) -> NDArray[np.float64]:
    """Return ``-10 log10(1 - m)`` of a **mean** MS-SSIM ``m`` (any shape), in dB.

    The dB of the mean and the mean of dB differ by points of BD-rate. This project always takes the dB of the mean.
    """
    with np.errstate(divide="ignore"):
        return -10.0 * np.log10(1.0 - np.asarray(mean_ms_ssim, dtype=np.float64))


def bpp(file_bytes: int, width: int, height: int) -> float:
    """Return bits per pixel: 8 times the bytes of the whole file over the pixels of the original, unpadded picture.

    Raises
    ------
    WeconveneError
        If a side is below one pixel, or the number of bytes is negative.
    """
    if width < 1 or height < 1 or file_bytes < 0:
        raise WeconveneError(f"No rate for {file_bytes} bytes and {width}x{height} pixels: give a real file and size.")
    return 8.0 * file_bytes / (width * height)


def _pair(original: Picture, decoded: Picture) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    a, b = np.asarray(original), np.asarray(decoded)
    for picture in (a, b):
        if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3:
            raise WeconveneError(
                f"Quality is measured on 8-bit RGB pictures (H, W, 3), not on {picture.dtype} {picture.shape}: "
                "convert to RGB first."
            )
    if a.shape != b.shape:
        raise WeconveneError(f"The pictures differ in size, {a.shape[:2]} and {b.shape[:2]}: compare like with like.")
    return a, b


@contextmanager
def _one_thread() -> Iterator[None]:
    """Run torch on one thread: the convolutions are tiny, and waiting threads cost a hundredfold on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _tensor(picture: NDArray[np.uint8]) -> torch.Tensor:
    # (H, W, 3) uint8 -> (1, 3, H, W) float32, 0..255. torch sees channels last and takes half the time, same bits.
    return torch.from_numpy(picture.astype(np.float32)[None]).permute(0, 3, 1, 2)
