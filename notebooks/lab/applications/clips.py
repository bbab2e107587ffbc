"""Clips: frames of a raw video or a folder, a moved photograph where there is none, and pairs to train on."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from lab.applications.study import data_path, warn_fallback
from weconvene_core.codec.pictures import load_rgb
from weconvene_core.datasets.image_sets import folder_set, image_set
from weconvene_core.errors import WeconveneError
from weconvene_core.training.images import cut, draw_crops

Frames = NDArray[np.uint8]
SOURCE = "a folder 'video' under WECONVENE_DATA takes y4m files (8 bits, 4:2:0) and folders of frames"
CAMERA_STEP = 0.75  # pixels that the camera over a photograph moves from frame to frame
COLOURS = (b"420", b"420jpeg", b"420mpeg2", b"420paldv")
KR, KB = 0.2126, 0.0722  # BT.709


@dataclass(frozen=True, eq=False)
class Clip:
    """Frames (T, H, W, 3) uint8 RGB, and the name that figures use."""

    name: str
    frames: Frames


def clips(limit: int) -> list[Clip]:
    """Return the first frames of every clip in ``WECONVENE_DATA/video``, else of a camera moving over a photograph.

    Raises
    ------
    WeconveneError
        If a clip is unreadable, has frames of several sizes, or fewer than two.
    """
    folder = data_path("video")
    if folder is None:
        warn_fallback("There is no folder 'video' of real clips.", SOURCE)
        return [moved_photograph(limit)]
    sources = sorted(path for path in folder.iterdir() if path.is_dir() or path.suffix == ".y4m")
    return [load_clip(path, limit) for path in sources]


def load_clip(path: Path, limit: int) -> Clip:
    """Read at most ``limit`` frames of a y4m file, or of a folder of pictures sorted by name.

    Raises
    ------
    WeconveneError
        If the file is missing, unreadable or cut, or has frames of several sizes or fewer than two.
    """
    if path.is_dir():
        frames = [np.asarray(load_rgb(picture)) for picture in folder_set(path).paths[:limit]]
    else:
        frames = list(_y4m_frames(path, limit))
    sizes = {frame.shape[1::-1] for frame in frames}
    if len(sizes) > 1:
        raise WeconveneError(f"the frames of {path} have {len(sizes)} sizes, {sorted(sizes)}: give one size.")
    if len(frames) < 2:
        raise WeconveneError(f"{path} has {len(frames)} frame(s); a clip needs 2 or more: use the image codec.")
    return Clip(path.stem, np.stack(frames))


def moved_photograph(limit: int, size: tuple[int, int] = (144, 176)) -> Clip:
    """Return a clip of a camera that moves slowly over an embedded photograph; no real video, and named so."""
    photo = torch.from_numpy(np.array(load_rgb(image_set("default").paths[2]))).permute(2, 0, 1)[None].float()
    frames = []
    for step in (CAMERA_STEP * t for t in range(limit)):
        x, y = torch.arange(size[1])[None] + (60 + step), torch.arange(size[0])[:, None] + (40 + step / 2)
        frames.append(_pixels(F.grid_sample(photo, pixel_grid(x, y, photo.shape), "bicubic", align_corners=True)))
    return Clip("camera over a still photograph", np.stack(frames))


def _pixels(picture: Tensor) -> Frames:
    """(1, 3, H, W) in 0..255 -> (H, W, 3) uint8."""
    return picture[0].clamp(0, 255).round().byte().permute(1, 2, 0).numpy()


def pixel_grid(x: Tensor, y: Tensor, shape: Sequence[int]) -> Tensor:
    """Return what ``F.grid_sample`` (``align_corners``) needs to read pictures (B, C, H, W) at pixel coordinates."""
    x, y = torch.broadcast_tensors(x, y)
    grid = torch.stack([2 * x / max(1, shape[-1] - 1) - 1, 2 * y / max(1, shape[-2] - 1) - 1], -1)
    return grid if grid.ndim == 4 else grid[None]


def moving_pairs(images: Sequence[Tensor], count: int, side: int, rng: np.random.Generator) -> Iterator[Tensor]:
    """Yield pairs of frames (2, 3, side, side) in 0..1 made of still photographs (H, W, 3) uint8.

    The camera shifts, turns and zooms a little; a rectangle of another photograph moves on its own; both frames have
    a little noise. So a coder can be trained without having seen any of the clips that it is measured on.
    """
    for _ in range(count):
        back, front = cut(images, draw_crops(images, 2, 2 * side, rng, 0.5), 2 * side).split(1)
        still, moved = ((_window(picture, side, [0.0] * 4), _window(picture, side, _motion(rng)))
                        for picture in (back, front))  # fmt: skip
        mask = torch.zeros(1, 1, side, side)
        top, left, height, width = (int(v) for v in rng.integers(side // 8, side // 2, 4))
        mask[..., top : top + height, left : left + width] = rng.random() < 0.6
        mask = mask, torch.roll(mask, [int(v) for v in rng.integers(-6, 7, 2)], (2, 3))
        pair = torch.cat([a + m * (b - a) for a, b, m in zip(still, moved, mask, strict=True)])
        noise = torch.from_numpy(rng.standard_normal(pair.shape, dtype=np.float32)) * float(rng.uniform(0, 2) / 255)
        yield (pair + noise).clamp(0, 1).flip(0) if rng.random() < 0.5 else (pair + noise).clamp(0, 1)


def _motion(rng: np.random.Generator) -> list[float]:
    """Shift (pixels, x and y), turn (radians) and relative zoom."""
    reach = float(rng.choice([0.5, 2.0, 8.0]))
    return [*rng.uniform(-reach, reach, 2), rng.uniform(-0.01, 0.01), rng.uniform(-0.01, 0.01)]


def _window(picture: Tensor, side: int, motion: Sequence[float]) -> Tensor:
    """Cut the middle of (1, 3, 2 side, 2 side), shifted, turned and zoomed."""
    shift_x, shift_y, turn, zoom = motion
    axis = torch.arange(side) - (side - 1) / 2
    x, y = axis[None, :] * (1 + zoom), axis[:, None] * (1 + zoom)
    middle = side - 0.5
    along = x * math.cos(turn) - y * math.sin(turn) + middle + shift_x
    down = x * math.sin(turn) + y * math.cos(turn) + middle + shift_y
    return F.grid_sample(picture, pixel_grid(along, down, picture.shape), "bicubic", align_corners=True)


def _y4m_frames(path: Path, limit: int) -> Iterator[Frames]:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise WeconveneError(f"{path} cannot be read ({error.strerror}): check the path.") from error
    header, _, data = data.partition(b"\n")
    magic, *words = header.split() or [b""]
    fields = {word[:1]: word[1:] for word in words}
    width, height = (int(fields[side]) if fields.get(side, b"").isdigit() else 0 for side in (b"W", b"H"))
    if magic != b"YUV4MPEG2" or not width * height or fields.get(b"C", COLOURS[0]) not in COLOURS:
        raise WeconveneError(f"{path} is no y4m video of 8 bits in 4:2:0: convert it (-pix_fmt yuv420p).")
    shapes = [(height, width), *2 * [((height + 1) // 2, (width + 1) // 2)]]
    length = sum(math.prod(shape) for shape in shapes)
    for number in range(limit):
        if not data:
            return
        marker, _, data = data.partition(b"\n")
        if not marker.startswith(b"FRAME") or len(data) < length:
            raise WeconveneError(f"{path} is cut or damaged in frame {number}: get a fresh copy.")
        yield _rgb(np.frombuffer(data, np.uint8, length), shapes)
        data = data[length:]


def _rgb(samples: Frames, shapes: Sequence[tuple[int, int]]) -> Frames:
    """Limited-range BT.709 planes -> (H, W, 3) uint8; chroma is interpolated between its samples."""
    ends = np.cumsum([math.prod(shape) for shape in shapes])
    planes = [torch.from_numpy(p.reshape(1, 1, *s).astype(np.float32))
              for p, s in zip(np.split(samples, ends[:-1]), shapes, strict=True)]  # fmt: skip
    luma = (planes[0] - 16) / 219
    blue, red = ((F.interpolate(p, size=shapes[0], mode="bilinear") - 128) / 224 for p in planes[1:])
    r, b = luma + 2 * (1 - KR) * red, luma + 2 * (1 - KB) * blue
    return _pixels(255 * torch.cat([r, (luma - KR * r - KB * b) / (1 - KR - KB), b], 1))
