"""Blind removal of Gaussian noise by a residual network (Zhang et al., DnCNN, 2017), beside classical methods.

One network for all strengths: the noise of every training crop has its own. Classical methods are told the strength.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from skimage.metrics import structural_similarity
from skimage.restoration import denoise_wavelet
from torch import Tensor, nn

from lab.applications.study import fit, spread, warn_fallback
from weconvene_core.codec.pictures import load_rgb
from weconvene_core.datasets.image_sets import MissingSetError, image_set, training_set
from weconvene_core.training.config import Stage
from weconvene_core.training.images import cut, draw_crops, load_pool, on_device

SIGMAS, TRAINED, SHIFTS = (15, 25, 50), (5.0, 55.0), 4
"""Strengths of the noise that are measured, and the range that is trained on, in steps of 8-bit pictures."""
LUMA = (0.299, 0.587, 0.114)
TEST_SETS = ("denoising/CBSD68", "denoising/Set12")
SOURCE = "the folders CBSD68 and Set12 of github.com/cszn/FFDNet (testsets) go into 'denoising' under WECONVENE_DATA"

Picture = NDArray[np.float32]
Denoise = Callable[[Picture, int], Picture]
"""A noisy picture (H, W) around 0..1 and the strength of its noise -> the picture without."""
Noisy = tuple[Tensor, Tensor, Tensor]
"""Noisy pictures and clean ones (B, 1, H, W), and the noise's standard deviation (B, 1, 1, 1)."""


@dataclass(frozen=True)
class Photographs:
    """What is trained on, (H, W, 3) uint8 each, and grey test pictures (H, W) in 0..1 by name; ``label`` names them."""

    train: Sequence[Tensor]
    test: Mapping[str, Picture]
    label: str


def photographs(train: int, test: int, crop: int) -> Photographs:
    """Load so many training photographs, and test pictures of CBSD68 and Set12, spread evenly over their folders.

    Without these two sets the embedded photographs are tested; a warning says where to get the sets.
    """
    pool = load_pool(spread(training_set().paths, train))
    try:
        sets = [image_set(name) for name in TEST_SETS]
    except MissingSetError as error:
        warn_fallback(error, SOURCE)
        sets = [image_set("default")]
    pictures = test_pictures([path for each in sets for path in spread(each.paths, -(-test // len(sets)))])
    names = " and ".join(Path(each.label.partition(",")[0]).name for each in sets)
    label = f"{len(pictures)} pictures of {names}"
    return Photographs(on_device(pool.train, crop, torch.device("cpu")), pictures, label)


def test_pictures(paths: Sequence[Path]) -> dict[str, Picture]:
    """Return grey pictures (H, W) in 0..1 by name."""
    return {path.stem: np.asarray(load_rgb(path).convert("L"), dtype=np.float32) / 255 for path in paths}


def train(network: nn.Module, seed: int, images: Sequence[Tensor], stage: Stage, state: Path | None = None) -> None:
    """Train a network (B, 1, H, W) -> (B, 1, H, W) on grey crops with noise of random strength; ``state`` keeps it."""

    def draw(rng: np.random.Generator) -> Noisy:
        colour = cut(images, draw_crops(images, stage.batch, stage.crop, rng), stage.crop)
        clean = torch.einsum("c,bchw->bhw", torch.tensor(LUMA), colour)[:, None]
        strength = torch.empty(stage.batch, 1, 1, 1).uniform_(*TRAINED) / 255
        return clean + strength * torch.randn(clean.shape), clean, strength

    def error(network: nn.Module, batch: Noisy) -> Tensor:
        noisy, clean, strength = batch
        return ((network(noisy) - clean) / strength).square().mean()  # else strong noise alone would be learnt

    fit(network, draw, error, stage, seed, state)


def network_denoiser(network: nn.Module) -> Denoise:
    """Return a trained network as a function of pictures; it is not told the strength."""

    @torch.no_grad()
    def denoise(noisy: Picture, sigma: int) -> Picture:
        return network(torch.from_numpy(noisy)[None, None])[0, 0].numpy()  # (H, W) -> (1, 1, H, W) -> (H, W)

    return denoise


def wavelet_denoiser(noisy: Picture, sigma: int) -> Picture:
    """Threshold wavelet coefficients (BayesShrink, Chang et al., 2000), averaged over shifts against blocking."""
    how = {"sigma": sigma / 255, "method": "BayesShrink", "mode": "soft", "wavelet": "sym8", "rescale_sigma": True}
    shifted = [
        np.roll(denoise_wavelet(np.roll(noisy, shift, (0, 1)), **how), (-shift[0], -shift[1]), (0, 1))
        for shift in product(range(SHIFTS), repeat=2)
    ]
    return np.mean(shifted, 0)


def classical_methods() -> dict[str, Denoise]:
    """Return the classical methods by name, BM3D (Dabov et al., 2007) if it is installed, and the noisy picture."""
    found: dict[str, Denoise] = {"noisy": lambda noisy, _: noisy, "wavelet threshold": wavelet_denoiser}
    with suppress(ImportError):
        from bm3d import bm3d  # its authors' package, an optional extra

        found["BM3D"] = lambda noisy, sigma: bm3d(noisy, sigma / 255)
    return found


def noisy_version(picture: Picture, sigma: int) -> Picture:
    """Add noise of a strength to a picture; its generator depends on strength and size alone, so all see the same."""
    noise = np.random.default_rng([sigma, *picture.shape]).standard_normal(picture.shape)
    return (picture + sigma / 255 * noise).astype(np.float32)


def measure(denoise: Denoise, pictures: Mapping[str, Picture], sigmas: Sequence[int] = SIGMAS) -> pd.DataFrame:
    """Return a table of picture, sigma, psnr_db and ssim (Wang et al., 2004) of results in 0..1, not rounded."""
    rows = []
    for sigma in sigmas:
        for name, clean in pictures.items():
            cleaned = np.clip(denoise(noisy_version(clean, sigma), sigma), 0, 1)
            error = float(np.mean((cleaned - clean) ** 2, dtype=np.float64))
            ssim = structural_similarity(
                clean, cleaned, data_range=1.0, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
            )
            rows.append([name, sigma, -10 * np.log10(error), ssim])
    return pd.DataFrame(rows, columns=["picture", "sigma", "psnr_db", "ssim"])


def summary(table: pd.DataFrame) -> dict[str, float]:
    """Return the means over the pictures of a table of :func:`measure`, as named figures."""
    means = table.groupby("sigma")[["psnr_db", "ssim"]].mean()
    psnr = {f"PSNR at sigma {sigma} (dB)": value for sigma, value in means.psnr_db.items()}
    return psnr | {f"SSIM at sigma {sigma}": value for sigma, value in means.ssim.items()}
