"""Rate and distortion of clips through real files: ours, and x264 and x265 where an ffmpeg is installed."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import pandas as pd

from lab.applications.clip_codecs import InterCodec, TemporalCodec
from lab.applications.clips import Clip, Frames
from lab.rd.bd_rate import bd_rate
from lab.rd.curves import VALUE_COLUMN, Curve, Metric
from lab.rd.ffmpeg_codecs import FfmpegCodec, ffmpeg
from lab.rd.metrics import bpp, ms_ssim, psnr_rgb
from weconvene_core.errors import WeconveneError

POINT_COLUMNS = ["clip", "frames", "codec", "quality", "bytes", "bpp", "psnr_db", "ms_ssim"]


@dataclass(frozen=True)
class FfmpegClips:
    """An encoder of ffmpeg on clips as a whole: one intra frame, B frames, ``veryslow``; the quality is ``crf``.

    The files are bare streams.
    """

    codec: FfmpegCodec

    @property
    def name(self) -> str:
        """What tables and figures call it."""
        return self.codec.name

    def encode(self, frames: Frames, quality: float) -> bytes:
        """Return the stream of frames (T, H, W, 3) uint8 at this ``crf``; errors as :meth:`FfmpegCodec.encode`."""
        codec, size = self.codec, f"{frames.shape[2]}x{frames.shape[1]}"
        source = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", size, "-i", "-", *codec.pixel_filter("out")]
        options = [option.format(f"{quality:g}") for option in codec.options]
        coded = ["-c:v", codec.encoder, "-threads", "1", *options, "-f", codec.streams[0]]
        return codec.run([*source, *coded], frames.tobytes())

    def decode(self, data: bytes) -> Frames:
        """Return the frames of such a stream; errors as :meth:`encode`."""
        source = ["-threads", "1", "-f", self.codec.streams[1], "-i", "-", *self.codec.pixel_filter("in")]
        data, frames = self.codec.run([*source, "-pix_fmt", "rgb24", "-c:v", "ppm", "-f", "image2pipe"], data), []
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


def video_codecs() -> list[FfmpegClips]:
    """Return x264 and x265 where there is an ffmpeg (the optional extra has one), else none."""
    try:
        ffmpeg()
    except WeconveneError:
        return []
    return [FfmpegClips(X264), FfmpegClips(X265)]


def measure(codec: InterCodec | TemporalCodec | FfmpegClips, clip: Clip, qualities: Sequence[float]) -> pd.DataFrame:
    """Make a file per quality and decode it; return a table with ``POINT_COLUMNS``, qualities as means over frames."""
    rows = []
    count, height, width, _ = clip.frames.shape
    for quality in qualities:
        data = codec.encode(clip.frames, quality)
        pairs = list(zip(clip.frames, codec.decode(data), strict=True))
        psnr, structure = (np.mean([metric(*pair) for pair in pairs]) for metric in (psnr_rgb, ms_ssim))
        rate = bpp(len(data), width, height * count)
        rows.append([clip.name, count, codec.name, quality, len(data), rate, psnr, structure])
    return pd.DataFrame(rows, columns=POINT_COLUMNS)


def curves(points: pd.DataFrame, clip: str, metric: Metric = "psnr_rgb") -> dict[str, Curve]:
    """Return the curve of every codec on one clip; MS-SSIM in dB of the mean over its frames."""
    own, column = points[points["clip"] == clip], VALUE_COLUMN[metric]  # "clip" is also a method
    return {name: Curve(name, rows.bpp.to_numpy(), rows[column].to_numpy(), metric).in_db()
            for name, rows in own.groupby("codec", sort=False)}  # fmt: skip


def bd_rates(points: pd.DataFrame, anchor: str) -> pd.DataFrame:
    """Return the BD-rates (%) of every codec against ``anchor`` on every clip, by PSNR and by MS-SSIM.

    nan where curves share no quality, one does not rise, or frames are too small for MS-SSIM.

    Raises
    ------
    WeconveneError
        If the anchor was not measured.
    """
    if anchor not in set(points.codec):
        raise WeconveneError(f"'{anchor}' was not measured; there are {', '.join(dict.fromkeys(points.codec))}.")
    rows = []
    for (clip, frames), own in points.groupby(["clip", "frames"], sort=False):
        for name in (each for each in dict.fromkeys(own.codec) if each != anchor):
            row = {"clip": clip, "frames": frames, "codec": name, "bd_rate_pct": np.nan, "ms_ssim_bd_rate_pct": np.nan}
            for metric, column in (("psnr_rgb", "bd_rate_pct"), ("ms_ssim", "ms_ssim_bd_rate_pct")):
                with suppress(WeconveneError):
                    found = curves(own, clip, metric)
                    row[column] = bd_rate(found[anchor], found[name]).bd_rate_pct
            rows.append(row)
    return pd.DataFrame(rows)
