"""Single pictures through video encoders and JPEG XL, by the ffmpeg of the optional extra (``weconvene-core[codecs]``).

Colour goes through BT.601 at full range in 10 bits, as BPG and JPEG do; on training photographs BT.709 or 8 bits cost
more, and so do unequal quantisers for colour. Files are bare streams, which saves them the container of an AVIF or HEIF
file (notebook 05 counts its bytes). VVC has 4:2:0 colour only (libvvenc has no other), which its name says; it cannot
have odd sides either, so a picture that has one is coded with its last column or row twice, and one byte says so.
"""

from __future__ import annotations

import io
import re
import shutil
import subprocess
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import version

import numpy as np
from PIL import Image

from weconvene_core.errors import WeconveneError

EXTRA = "pip install 'weconvene-core[codecs]'"
ACCURATE = "flags=bicubic+accurate_rnd+full_chroma_int+full_chroma_inp"
ODD_WIDTH, ODD_HEIGHT = 1, 2
"""Bits of the byte before a 4:2:0 stream whose picture has an odd side. A bare stream begins with a zero byte."""
ADDRESSES = re.compile(r"\[[^\]]* @ 0x[0-9a-f]+\] *")
"""What ffmpeg puts before its messages: the part that speaks, and where it lies in memory."""


@dataclass(frozen=True)
class FfmpegCodec:
    """One encoder of ffmpeg with fixed settings and one quality parameter, as :class:`lab.rd.measure.ClassicalCodec`.

    Attributes
    ----------
    name : what tables and figures call it; anything but 4:4:4 colour is part of it.
    encoder : ffmpeg's name of the encoder.
    pixels : pixel format that is coded; empty where the encoder takes RGB itself.
    streams : ffmpeg's names of the stream's format, for writing and for reading.
    options : all options of the encoder; ``{}`` stands for the quality parameter.
    qualities : values of the quality parameter in the order of rising rates.
    """

    name: str
    encoder: str
    pixels: str
    streams: tuple[str, str]
    options: tuple[str, ...]
    qualities: tuple[float, ...]

    def encode(self, image: Image.Image, quality: float) -> bytes:
        """Return the complete stream of an RGB picture with the quality parameter at ``quality``.

        Raises
        ------
        WeconveneError
            If there is no ffmpeg, or it lacks this encoder or refuses the picture.
        """
        self.program()
        image, mark = _with_even_sides(image) if self.halves_colour else (image, b"")
        size = f"{image.width}x{image.height}"
        options = [option.format(f"{quality:g}") for option in self.options]
        source = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", size, "-i", "-"]
        coded = [*self.pixel_filter("out"), "-c:v", self.encoder, "-threads", "1", *options, "-f", self.streams[0]]
        how = [*source, "-frames:v", "1", "-map_metadata", "-1", "-bitexact", *coded]
        return mark + self.run(how, image.tobytes())

    def decode(self, data: bytes) -> Image.Image:
        """Return the RGB picture of a complete stream.

        Raises
        ------
        WeconveneError
            If there is no ffmpeg, or it cannot read the stream.
        """
        odd = data[0] if data and self.halves_colour and data[0] <= ODD_WIDTH | ODD_HEIGHT else 0
        source = ["-threads", "1", "-f", self.streams[1], "-i", "-"]
        shown = [*self.pixel_filter("in"), "-pix_fmt", "rgb24", "-frames:v", "1", "-c:v", "ppm", "-f", "image2pipe"]
        image = Image.open(io.BytesIO(self.run([*source, *shown], data[1:] if odd else data))).convert("RGB")
        return image.crop((0, 0, image.width - bool(odd & ODD_WIDTH), image.height - bool(odd & ODD_HEIGHT)))

    def state(self) -> str:
        """Return everything that the bytes and their measurement depend on: settings and versions."""
        settings = f"{self.encoder} {self.options} {self.pixel_filter('out')} {self.pixel_filter('in')}"
        return f"{settings} {_version(self.program())}, pytorch-msssim {version('pytorch-msssim')}"

    def program(self) -> str:
        """Return the path of the ffmpeg that has this encoder.

        Raises
        ------
        WeconveneError
            If there is no ffmpeg, or it lacks this encoder.
        """
        program = ffmpeg()
        if self.encoder not in _encoders(program):
            raise WeconveneError(f"This ffmpeg has no encoder '{self.encoder}': install the extra ({EXTRA}).")
        return program

    @property
    def halves_colour(self) -> bool:
        """Whether colour is coded at half the width and height, which leaves no room for odd sides."""
        return self.pixels.startswith("yuv420")

    def pixel_filter(self, side: str) -> list[str]:
        """The way between RGB and the coded colours, matrix and range stated, since a bare stream may not say."""
        if not self.pixels:
            return []
        target = self.pixels if side == "out" else "rgb24"
        return ["-vf", f"scale={side}_color_matrix=bt601:{side}_range=full:{ACCURATE},format={target}"]

    def run(self, arguments: list[str], data: bytes) -> bytes:
        """Give ``data`` to ffmpeg and return what it writes.

        Raises
        ------
        WeconveneError
            If ffmpeg refuses what it is given; the message quotes its reason.
        """
        command = [ffmpeg(), "-hide_banner", "-loglevel", "error", *arguments, "-"]
        done = subprocess.run(command, input=data, capture_output=True, check=False)
        if done.returncode or not done.stdout:
            # the first line is the cause, all others are what follows from it
            why = ADDRESSES.sub("", (done.stderr.decode(errors="replace").splitlines() or ["it wrote nothing"])[0])
            raise WeconveneError(
                f"ffmpeg cannot do {self.name} with what it was given ({why.strip(' .')}): "
                "leave this codec out, or give it another input."
            )
        return done.stdout


def _with_even_sides(image: Image.Image) -> tuple[Image.Image, bytes]:
    """Return the picture with its last column and row twice where a side is odd, and the byte that says which."""
    right, below = image.width % 2, image.height % 2
    if not (right or below):
        return image, b""
    pixels = np.pad(np.asarray(image), ((0, below), (0, right), (0, 0)), "edge")
    return Image.fromarray(pixels), bytes([right * ODD_WIDTH | below * ODD_HEIGHT])


X265 = "qp={}:keyint=1:info=0:log-level=none:pools=none:frame-threads=1"
AV1_SPEED = 2
"""Of libaom, from 8 to 0, the slowest: ``av1_speeds.csv`` says what others cost and bring."""
QPS = (44.0, 40.0, 36.0, 33.0, 30.0, 27.0, 24.0, 21.0)
HEVC = FfmpegCodec(
    "HEVC 4:4:4 (x265)", "libx265", "yuv444p10le", ("hevc", "hevc"),
    ("-preset", "veryslow", "-tune", "psnr", "-x265-params", X265), QPS,
)  # fmt: skip
VVC = FfmpegCodec(
    "VVC 4:2:0 (vvenc)", "libvvenc", "yuv420p10le", ("vvc", "vvc"),
    ("-preset", "medium", "-qpa", "0", "-qp", "{}", "-vvenc-params", "verbosity=0"), QPS,
)  # fmt: skip


def av1(speed: int = AV1_SPEED) -> FfmpegCodec:
    """Return AV1 by libaom, tuned for PSNR; lower speeds compress better and take several times longer."""
    options = ("-still-picture", "1", "-cpu-used", f"{speed}", "-tune", "psnr", "-b:v", "0", "-crf", "{}")
    qualities = (57.0, 51.0, 45.0, 39.0, 33.0, 27.0, 21.0, 15.0)
    return FfmpegCodec(
        f"AV1 4:4:4 (libaom, speed {speed})", "libaom-av1", "yuv444p10le", ("obu", "obu"), options, qualities
    )


AV1 = av1()

JPEG_XL = FfmpegCodec(
    "JPEG XL", "libjxl", "", ("image2pipe", "jpegxl_pipe"), ("-effort", "7", "-distance", "{}"),
    (7.0, 5.0, 3.6, 2.6, 1.8, 1.2, 0.8),
)  # fmt: skip
"""Made for Butteraugli, a measure of visible difference: PSNR undersells it. Distances above 7 are left out, because
libjxl then halves the resolution, which is not its best setting."""

FFMPEG_CODECS: tuple[FfmpegCodec, ...] = (HEVC, VVC, AV1, JPEG_XL)


def ffmpeg() -> str:
    """Return the path of the extra's ffmpeg, else of the one on the path.

    Raises
    ------
    WeconveneError
        If there is none.
    """
    try:
        from imageio_ffmpeg import get_ffmpeg_exe  # optional

        return get_ffmpeg_exe()
    except (ImportError, RuntimeError):
        found = shutil.which("ffmpeg")
    if found is None:
        raise WeconveneError(f"There is no ffmpeg on this machine: install the extra ({EXTRA}).")
    return found


@lru_cache
def _encoders(program: str) -> frozenset[str]:
    listed = subprocess.run([program, "-hide_banner", "-encoders"], capture_output=True, text=True, check=True).stdout
    return frozenset(words[1] for words in map(str.split, listed.splitlines()) if len(words) > 1)


@lru_cache
def _version(program: str) -> str:
    said = subprocess.run([program, "-hide_banner", "-version"], capture_output=True, text=True, check=True).stdout
    return " ".join(said.split()[:3])
