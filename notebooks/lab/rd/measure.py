"""Rate and distortion of codecs over an image set by their real files, kept on disk so that none is made twice."""

from __future__ import annotations

import csv
import hashlib
import os
import re
import time
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from multiprocessing import get_all_start_methods, get_context
from multiprocessing.context import BaseContext
from pathlib import Path
from typing import Protocol

import pandas as pd
import psutil
import torch
from PIL import Image
from tqdm import tqdm

from lab.paths import ROOT
from lab.rd.curves import with_means
from lab.rd.metrics import bpp, ms_ssim, psnr_rgb
from weconvene_core.atomic_files import sha256_of
from weconvene_core.codec.pictures import load_rgb
from weconvene_core.datasets.image_sets import ImageSet
from weconvene_core.errors import WeconveneError

CACHE = ROOT / ".cache" / "measurements"
WORKER_MB = 600
"""MiB that one more process takes for itself: 400 to 500 measured while `lite` codes Kodak, libraries not counted."""
CONTAINERS = (("memory.max", "memory.current", "memory.stat"),
              ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "memory/memory.stat"))  # fmt: skip
"""Below /sys/fs/cgroup, for both versions of it: a container's limit in bytes, what it uses, and what of that it may
drop."""


class ImageCodec(Protocol):
    """What a codec must offer to be measured: whole files out, whole pictures back."""

    def encode(self, image: Image.Image, quality: float) -> bytes:
        """Return the complete file of an RGB picture at this value of the codec's own quality parameter."""

    def decode(self, data: bytes) -> Image.Image:
        """Return the RGB picture of a complete file."""


class ClassicalCodec(ImageCodec, Protocol):
    """A codec with a name, and the values of its quality parameter at which it is measured, in rising rates."""

    name: str
    qualities: tuple[float, ...]

    def state(self) -> str:
        """Return everything that the bytes and their measurement depend on: settings and versions."""


Job = tuple[ImageCodec, Path, float]


@dataclass(frozen=True)
class Measurement:
    """One picture through one codec at one quality: bits per pixel, dB, MS-SSIM (0 to 1), seconds."""

    bpp: float
    psnr_db: float
    ms_ssim: float
    encode_s: float
    decode_s: float


def measure_picture(codec: ImageCodec, original: Image.Image, quality: float) -> Measurement:
    """Encode and decode one RGB picture; the rate counts every byte of the file.

    Raises
    ------
    WeconveneError
        If the picture comes back in another size.
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


def measure(
    codec: ImageCodec,
    name: str,
    images: ImageSet,
    qualities: Sequence[float],
    state: str | None = None,
    folder: Path = CACHE,
    processes: int | None = 1,
) -> pd.DataFrame:
    """Measure ``codec`` on all images at all qualities, with a progress bar.

    Parameters
    ----------
    name
        What tables and figures call the codec.
    qualities
        Values of the codec's quality parameter.
    state
        Identifies all that the output depends on; measurements are then kept on disk and resumed. None: not kept.
    folder
        Folder of the kept measurements.
    processes
        Worker processes, each on one thread; 1 for none but this one, None for :func:`workers`.

    Returns
    -------
    pd.DataFrame
        ``POINT_COLUMNS``: one row per image and quality, then one ``mean`` row per quality.

    Raises
    ------
    WeconveneError
        If there is nothing to measure, or a picture cannot be read or comes back in another size.
    """
    cache = MeasurementCache(name, state, folder) if state is not None else None
    hashes = {path: sha256_of(path) for path in images.paths} if cache else {}
    jobs = [(path, float(quality)) for path in images.paths for quality in qualities]
    found = {(path, quality): cache.known.get((hashes[path], quality)) if cache else None for path, quality in jobs}
    todo = [job for job, known in found.items() if known is None]
    results = _measure_all([(codec, path, quality) for path, quality in todo], processes or workers())
    bar = tqdm(results, total=len(todo), desc=f"{name} on {images.label}", mininterval=5.0, disable=not todo)
    for (path, quality), measured in zip(todo, bar, strict=True):
        if cache:
            cache.put(hashes[path], quality, measured)
        found[path, quality] = measured
    about = {"dataset": images.name, "codec": name}
    return with_means([about | {"image": p.name, "quality": q, **asdict(m)} for (p, q), m in found.items()])


def measure_codecs(
    images: ImageSet, codecs: Sequence[ClassicalCodec], processes: int | None = None, folder: Path = CACHE
) -> pd.DataFrame:
    """Measure codecs at all of their qualities as :func:`measure` does, with :func:`workers` processes for None."""
    tables = [measure(c, c.name, images, c.qualities, c.state(), folder, processes) for c in codecs]
    return pd.concat(tables, ignore_index=True) if tables else with_means([])


def workers() -> int:
    """Return how many processes may measure: one per processor as far as memory is free, and one in any case.

    Two or more need a server that starts them, which counts as one.
    """
    return max(1, min(os.cpu_count() or 1, int(free_memory_mb() / WORKER_MB) - 1))


def free_memory_mb(cgroup: Path = Path("/sys/fs/cgroup")) -> float:
    """Return the MiB that processes may still take: of the machine, or of a container with a limit if that is less."""
    free = [psutil.virtual_memory().available]
    for limit, used, stat in CONTAINERS:
        with suppress(OSError, ValueError):  # there is no such file, or the limit is the word "max"
            left = int((cgroup / limit).read_text()) - int((cgroup / used).read_text())
            cached = re.search(r"^(?:total_)?inactive_file (\d+)", (cgroup / stat).read_text(), re.MULTILINE)
            free.append(left + int(cached[1] if cached else 0))
    return max(0, min(free)) / 2**20


def available(codecs: Sequence[ClassicalCodec]) -> tuple[ClassicalCodec, ...]:
    """Return the codecs that can write and read a file on this machine; a warning names the others."""
    found = []
    for codec in codecs:
        try:
            codec.decode(codec.encode(Image.new("RGB", (16, 16)), codec.qualities[0]))
            found.append(codec)
        except (WeconveneError, OSError) as error:
            warnings.warn(f"{codec.name} is left out of the comparison: {error}", stacklevel=2)
    return tuple(found)


def _measure_all(jobs: Sequence[Job], processes: int) -> Iterator[Measurement]:
    """Yield one measurement per job, in order, from as many processes as there is work for, each on one thread."""
    if min(processes, len(jobs)) <= 1:
        yield from map(_measure_job, jobs)
        return
    with ProcessPoolExecutor(processes, _context(), initializer=torch.set_num_threads, initargs=(1,)) as pool:
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


def _measure_job(job: Job) -> Measurement:
    codec, path, quality = job
    return measure_picture(codec, load_rgb(path), quality)


class MeasurementCache:
    """Measurements of one codec in one state, by image content and quality, in one CSV file.

    Every measurement is appended as it comes, so a killed run loses at most the one under way. A last line that was
    cut short lacks its ``end`` and is ignored.
    """

    def __init__(self, codec: str, state: str, folder: Path = CACHE) -> None:
        digest = hashlib.sha256(f"{codec}\n{state}".encode()).hexdigest()[:16]
        self.path = folder / f"{digest}.csv"
        self.known = self._read()

    def put(self, image_sha256: str, quality: float, measurement: Measurement) -> None:
        """Keep one measurement.

        Raises
        ------
        WeconveneError
            If the cache cannot be written.
        """
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
