"""Rate and distortion of clips through real files: ours, and x264 and x265 where an ffmpeg is installed."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import pandas as pd

from lab.applications.clips import Clip, Frames
from lab.rd.bd_rate import bd_rate
from lab.rd.curves import VALUE_COLUMN, Curve, Metric
from lab.rd.ffmpeg_codecs import FfmpegCodec, ffmpeg
from lab.rd.metrics import bpp, ms_ssim, psnr_rgb
from weconvene_core.errors import WeconveneError

POINT_COLUMNS = ["clip", "frames", "codec", "knob", "bytes", "bpp", "psnr_db", "ms_ssim"]


class ClipCodec(Protocol):
    """What makes a file of frames (T, H, W, 3) uint8 at a knob's setting, and frames of the file."""

    @property
    def name(self) -> str:
        """What tables and figures call it."""
        ...

    def encode(self, frames: Frames, quality: float) -> bytes:
        """Return the bytes of one file."""
        ...

    def decode(self, data: bytes) -> Frames:
        """Return the frames of a file."""
        ...


@dataclass(frozen=True)
class FfmpegClips:
    """An encoder of ffmpeg on clips seen as a whole: one intra frame, B frames, ``veryslow``; the knob is ``crf``.

    The files are bare streams, without container and without the message that names the encoder.
    """

    rival: FfmpegCodec

    @property
    def name(self) -> str:
        """What tables and figures call it."""
        return self.rival.name

    def encode(self, frames: Frames, quality: float) -> bytes:
        """Return the stream of frames of any size at this ``crf``.

        Raises:
            WeconveneError: no ffmpeg, or one that cannot do it.
        """
        rival, size = self.rival, f"{frames.shape[2]}x{frames.shape[1]}"
        source = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", size, "-i", "-", *rival.pixel_filter("out")]
        options = [option.format(f"{quality:g}") for option in rival.options]
        coded = ["-c:v", rival.encoder, "-threads", "1", *options, "-f", rival.streams[0]]
        return rival.run([*source, *coded], frames.tobytes())

    def decode(self, data: bytes) -> Frames:
        """Return the frames of such a stream.

        Raises:
            WeconveneError: as :meth:`encode`.
        """
        source = ["-threads", "1", "-f", self.rival.streams[1], "-i", "-", *self.rival.pixel_filter("in")]
        data, frames = self.rival.run([*source, "-pix_fmt", "rgb24", "-c:v", "ppm", "-f", "image2pipe"], data), []
        while data:  # one PPM picture after the other: P6, width and height, 255, then the pixels
            _, size, _, data = data.split(b"\n", 3)
            width, height = (int(number) for number in size.split())
            frames.append(np.frombuffer(data, np.uint8, 3 * width * height).reshape(height, width, 3))
            data = data[3 * width * height :]
        return np.stack(frames)


HOW = ("-preset", "veryslow", "-tune", "psnr")
X264 = FfmpegCodec(
    "x264 4:4:4", "libx264", "yuv444p10le", ("h264", "h264"),
    (*HOW, "-g", "9999", "-crf", "{}", "-bsf:v", "filter_units=remove_types=6"), (),
)  # fmt: skip
X265 = FfmpegCodec(
    "x265 4:4:4", "libx265", "yuv444p10le", ("hevc", "hevc"),
    (*HOW, "-x265-params", "crf={}:keyint=9999:info=0:log-level=none:pools=none:frame-threads=1"), (),
)  # fmt: skip


def installed_rivals() -> list[FfmpegClips]:
    """Return x264 and x265 where there is an ffmpeg (the optional extra has one), else none."""
    try:
        ffmpeg()
    except WeconveneError:
        return []
    return [FfmpegClips(X264), FfmpegClips(X265)]


def measure(codec: ClipCodec, clip: Clip, knobs: Sequence[float]) -> pd.DataFrame:
    """Write, read and decode a file per knob; return a table with ``POINT_COLUMNS``.

    ``bpp`` is bits of the whole file per pixel of all frames; ``psnr_db`` and ``ms_ssim`` are means over the frames,
    8-bit RGB.
    """
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for knob in knobs:
            path = Path(folder) / "clip"
            path.write_bytes(codec.encode(clip.frames, knob))
            decoded = codec.decode(path.read_bytes())
            count, height, width, _ = clip.frames.shape
            pairs = list(zip(clip.frames, decoded, strict=True))
            psnr, structure = (np.mean([metric(*pair) for pair in pairs]) for metric in (psnr_rgb, ms_ssim))
            size = path.stat().st_size
            rate = bpp(size, width, height * count)
            rows.append([clip.name, count, codec.name, knob, size, rate, psnr, structure])
    return pd.DataFrame(rows, columns=POINT_COLUMNS)


def curves(points: pd.DataFrame, clip: str, metric: Metric = "psnr_rgb") -> dict[str, Curve]:
    """Return the curve of every codec on one clip; MS-SSIM in dB of the mean over its frames."""
    own, column = points[points["clip"] == clip], VALUE_COLUMN[metric]  # "clip" is also a method
    return {name: Curve(name, rows.bpp.to_numpy(), rows[column].to_numpy(), metric).in_db()
            for name, rows in own.groupby("codec", sort=False)}  # fmt: skip


def bd_rates(points: pd.DataFrame, anchor: str) -> pd.DataFrame:
    """Return the BD-rates of every codec against ``anchor`` on every clip.

    Columns clip, frames, codec, bd_rate_pct (PSNR) and ms_ssim_bd_rate_pct; nan where the curves share no quality, one
    of them does not rise, or frames are too small for MS-SSIM.

    Raises:
        WeconveneError: the anchor was not measured.
    """
    if anchor not in set(points.codec):
        raise WeconveneError(f"'{anchor}' was not measured; there are {', '.join(dict.fromkeys(points.codec))}.")
    rows = []
    for (clip, frames), own in points.groupby(["clip", "frames"], sort=False):
        for name in dict.fromkeys(own.codec):
            if name != anchor:
                rates = [_rate(own, clip, anchor, name, metric) for metric in ("psnr_rgb", "ms_ssim")]
                rows.append([clip, frames, name, *rates])
    return pd.DataFrame(rows, columns=["clip", "frames", "codec", "bd_rate_pct", "ms_ssim_bd_rate_pct"])


def _rate(points: pd.DataFrame, clip: str, anchor: str, test: str, metric: Metric) -> float:
    try:
        found = curves(points, clip, metric)
        return bd_rate(found[anchor], found[test]).bd_rate_pct
    except WeconveneError:
        return float("nan")
