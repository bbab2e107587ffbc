"""Code a picture with the installed package, or decode what other machines coded (``--check``): the workflow's test."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from PIL import Image

import weconvene_core
from weconvene_core.codec.api import latent_hash

LEAST_PSNR = 28.0  # dB at quality 3, which smooths the texture


def picture() -> np.ndarray:
    """Return a picture (150, 210, 3) with slopes, an edge and texture, made of whole numbers: the same everywhere."""
    y, x = np.mgrid[:150, :210]
    channels = [(x * x // 90 + y) % 512, (x + y * y // 70) % 512, (x * y // 60 + 40 * (x > 120)) % 512]
    texture = x * y * 37 % 29
    return np.stack([(255 - abs(c - 256) + texture).clip(0, 255) for c in channels], axis=2).astype(np.uint8)


def psnr(data: bytes) -> float:
    """Return the PSNR (dB) of a file of the picture."""
    error = np.asarray(weconvene_core.decode(data), dtype=float) - picture()
    return float(10 * np.log10(255**2 / np.mean(error**2)))


def write(folder: Path) -> None:
    """Write the picture as a file, and the hash of what must be the same wherever that is decoded."""
    data = weconvene_core.encode(picture(), quality=3)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "picture.wcv").write_bytes(data)
    (folder / "latents.txt").write_text(latent_hash(data), encoding="ascii")
    with Image.open(folder / "picture.wcv") as opened:
        opened.save(folder / "picture.png")
    report(folder, psnr(data))


def check(folder: Path) -> None:
    """Decode every file below a folder, and compare its hash with that of the machine that wrote it."""
    files = sorted(folder.rglob("picture.wcv"))
    if not files:
        sys.exit(f"{folder} holds no picture.wcv")
    for file in files:
        data, expected = file.read_bytes(), file.with_name("latents.txt").read_text(encoding="ascii")
        if (found := latent_hash(data)) != expected:
            sys.exit(f"{file}: the latents decode to {found} here, to {expected} where the file was written")
        report(file.parent, psnr(data))


def report(folder: Path, reached: float) -> None:
    """Print what was reached, and fail below what is expected."""
    print(f"{folder.name}: {reached:.2f} dB with weconvene-core {weconvene_core.__version__} on {sys.platform}")
    if reached < LEAST_PSNR:
        sys.exit(f"{folder.name}: less than {LEAST_PSNR} dB")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--check", action="store_true")
    arguments = parser.parse_args()
    (check if arguments.check else write)(arguments.folder)
