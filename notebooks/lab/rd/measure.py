"""One picture through one codec by its real file, and measurements kept on disk so that none is made twice."""

from __future__ import annotations

import csv
import hashlib
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, fields
from multiprocessing import get_all_start_methods, get_context
from multiprocessing.context import BaseContext
from pathlib import Path
from typing import Protocol

import torch
from PIL import Image

from lab.rd.metrics import bpp, ms_ssim, psnr_rgb
from weconvene_core.datasets.image_sets import load_rgb
from weconvene_core.errors import WeconveneError
from weconvene_core.paths import ROOT

CACHE = ROOT / ".cache" / "measurements"


class ImageCodec(Protocol):
    """What a codec must offer to be measured: whole files out, whole pictures back."""

    def encode(self, image: Image.Image, quality: float) -> bytes:
        """Return the complete file of an RGB picture at this quality (a codec's own knob)."""

    def decode(self, data: bytes) -> Image.Image:
        """Return the RGB picture of a complete file."""


Job = tuple[ImageCodec, Path, float]


@dataclass(frozen=True)
class Measurement:
    """One picture through one codec at one quality: bits per pixel, dB, MS-SSIM (0 to 1), seconds."""

    bpp: float
    psnr_db: float
    ms_ssim: float
    encode_s: float
    decode_s: float


def measure_image(codec: ImageCodec, path: Path, quality: float) -> Measurement:
    """Encode and decode one picture and return its rate, quality and times; the rate counts every byte of the file.

    Raises:
        WeconveneError: the picture cannot be read, or comes back in another size.
    """
    return measure_picture(codec, load_rgb(path), quality)


def measure_picture(codec: ImageCodec, original: Image.Image, quality: float) -> Measurement:
    """As :func:`measure_image`, of an RGB picture in memory.

    Raises:
        WeconveneError: the picture comes back in another size.
    """
    start = time.perf_counter()
    data = codec.encode(original, quality)
    encoded = time.perf_counter()
    decoded = codec.decode(data).convert("RGB")
    done = time.perf_counter()
    return Measurement(
        bpp=bpp(len(data), original.width, original.height),
        psnr_db=psnr_rgb(original, decoded),
        ms_ssim=ms_ssim(original, decoded),
        encode_s=encoded - start,
        decode_s=done - encoded,
    )


def measure_all(jobs: Sequence[Job], processes: int) -> Iterator[Measurement]:
    """Yield one measurement per job, in order, from as many processes as there is work for, each on one thread."""
    if min(processes, len(jobs)) <= 1:
        yield from map(_measure_job, jobs)
        return
    with ProcessPoolExecutor(processes, _context(), initializer=_prepare_worker) as pool:
        yield from pool.map(_measure_job, jobs, chunksize=4)


def _context() -> BaseContext:
    """Return how workers start: as forks of one server that has imported the libraries once, for all pools of this run.

    A fork of this process itself would inherit torch's thread pool in a state that can hang; the server never has one.
    """
    if "forkserver" not in get_all_start_methods():  # Windows: every worker imports for itself
        return get_context("spawn")
    context = get_context("forkserver")
    context.set_forkserver_preload([__name__, "weconvene_core.codec.api"])
    return context


def _prepare_worker() -> None:
    torch.set_num_threads(1)  # as many processes as processors: more threads would only wait for each other


def _measure_job(job: Job) -> Measurement:
    return measure_image(*job)


class MeasurementCache:
    """Measurements of one codec in one state, by image content and quality, in one CSV file.

    Every measurement is appended and flushed as it comes, so a killed run loses at most the one under way; a last
    line cut short is ignored.
    """

    def __init__(self, codec: str, state: str, folder: Path = CACHE) -> None:
        """Open the cache of ``codec``.

        Args:
            codec: name of the codec.
            state: everything that its output depends on: settings and library versions, or a checkpoint's hash.
            folder: folder of the cache files.
        """
        digest = hashlib.sha256(f"{codec}\n{state}".encode()).hexdigest()[:16]
        self.path = folder / f"{digest}.csv"
        self._known = self._read()

    def get(self, image_sha256: str, quality: float) -> Measurement | None:
        """Return the measurement of this image at this quality, or None when there is none yet."""
        return self._known.get((image_sha256, quality))

    def put(self, image_sha256: str, quality: float, measurement: Measurement) -> None:
        """Keep one measurement.

        Raises:
            WeconveneError: the cache cannot be written.
        """
        self._known[(image_sha256, quality)] = measurement
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a", newline="", encoding="utf-8") as file:
                csv.writer(file).writerow([image_sha256, repr(quality), *asdict(measurement).values(), "end"])
        except OSError as error:
            raise WeconveneError(f"Cannot keep measurements in {self.path} ({error}): check permissions.") from error

    def _read(self) -> dict[tuple[str, float], Measurement]:
        if not self.path.is_file():
            return {}
        width = len(fields(Measurement))
        with self.path.open(newline="", encoding="utf-8") as file:
            rows = [row for row in csv.reader(file) if len(row) == width + 3 and row[-1] == "end"]
        return {(row[0], float(row[1])): Measurement(*map(float, row[2:-1])) for row in rows}
