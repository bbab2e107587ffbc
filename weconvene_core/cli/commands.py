"""What the commands do: one function each, from parsed arguments to an exit code.

torch is imported only after the cheap checks, so that wrong input is answered at once.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from weconvene_core.atomic_files import write_bytes_atomically
from weconvene_core.errors import CorruptFileError, WeconveneError
from weconvene_core.paths import checkpoint, new_checkpoint

PIPE = Path("-")
FAILED, DAMAGED = 1, 3  # exit codes: anything wrong; nothing wrong but compressed files
COMPRESSED = ".wcv"


class Job(NamedTuple):
    """One file to read and one to write; either may be PIPE."""

    source: Path
    target: Path


def encode(arguments: argparse.Namespace) -> int:
    """Compress pictures; everything that may be wrong is found out before torch is loaded."""
    from PIL import Image

    from weconvene_core.codec.container import MAX_PIXELS
    from weconvene_core.codec.pictures import PictureWarning, load

    Image.MAX_IMAGE_PIXELS = MAX_PIXELS // 2  # Pillow warns above it, and refuses above twice as many
    known = Image.registered_extensions()  # some of these formats Pillow only writes
    pictures = [suffix for suffix, name in known.items() if name in Image.OPEN and suffix != COMPRESSED]
    jobs = _jobs(arguments, pictures, COMPRESSED)
    checkpoint(arguments.model)

    def one(job: Job) -> str:
        with warnings.catch_warnings(record=True) as noted:
            warnings.simplefilter("always", PictureWarning)
            picture = load(io.BytesIO(read(job.source)) if job.source == PIPE else job.source)
        for note in noted:
            if note.category is PictureWarning:  # a user can do nothing with Pillow's own
                tqdm.write(f"weconvene: {job.source}: {note.message}", file=sys.stderr)
        from weconvene_core.codec import api

        options = {"max_memory": arguments.max_memory, "effort": arguments.effort}
        data = api.encode(picture, arguments.quality, arguments.model, **options)
        _write(data, job.target)
        bpp = 8 * len(data) / picture.rgb[..., 0].size
        return f"{job.target}: {len(data)} bytes, {bpp:.4f} bits per pixel"

    return _run(jobs, one, arguments)


def decode(arguments: argparse.Namespace) -> int:
    """Turn compressed files into pictures."""
    from weconvene_core.codec.container import unpack, unpack_prefix
    from weconvene_core.codec.pictures import format_of, to_bytes

    piped = Path(f"picture.{arguments.format}")
    jobs = _jobs(arguments, [COMPRESSED], piped.suffix)
    for job in jobs:
        format_of(piped if job.target == PIPE else job.target)

    def one(job: Job) -> str:
        data = read(job.source)
        (unpack_prefix if arguments.preview else unpack)(data)  # before torch is loaded
        from weconvene_core.codec import api

        if arguments.preview:
            image = api.preview(data, api.ALL, max_memory=arguments.max_memory)
        else:
            image = api.decode(data, max_memory=arguments.max_memory)
        _write(to_bytes(image, piped if job.target == PIPE else job.target), job.target)
        return f"{job.target}: {image.width} x {image.height}, {image.mode}"

    return _run(jobs, one, arguments)


def train(arguments: argparse.Namespace) -> int:
    """Train as a configuration says, resuming where an earlier run of it stopped."""
    if not arguments.config.is_file():
        raise WeconveneError(f"There is no training configuration {arguments.config}: give a JSON or TOML file.")
    from weconvene_core.training.trainer import train_from_config

    train_from_config(arguments.config, arguments.minutes, arguments.quiet)
    return 0


def calibrate(arguments: argparse.Namespace) -> int:
    """Calibrate a released model's integer path in its file: its files then decode to the same bits anywhere."""
    path = checkpoint(arguments.name)
    new_checkpoint(arguments.name)  # which refuses a model of an installed package
    from weconvene_core.datasets.image_sets import folder_set, training_set
    from weconvene_core.exact.calibrate import calibrate_checkpoint
    from weconvene_core.training.images import VALIDATION_EVERY, decode

    paths = (folder_set(arguments.images) if arguments.images else training_set()).paths
    every = VALIDATION_EVERY if arguments.images is None and len(paths) >= VALIDATION_EVERY else 1
    before, images = path.stat().st_size, [*decode(paths[::every]).values()]
    digest = calibrate_checkpoint(path, images)
    if not arguments.quiet:
        said = f"calibrated on {len(images)} images, {path.stat().st_size} bytes ({before} before), {digest.hex()}"
        print(f"{path}: {said}")
    return 0


def fetch(arguments: argparse.Namespace) -> int:
    """Download an image set and print the folder that it lies in."""
    from weconvene_core.datasets import registry

    print(registry.fetch(arguments.name))
    return 0


def _jobs(arguments: argparse.Namespace, suffixes: list[str], suffix: str) -> list[Job]:
    """Plan as ``cp`` does: one file to a name, or files and folders into a folder, which is made if missing."""
    sources, output = arguments.inputs, arguments.output
    if len(sources) == 1 and not sources[0].is_dir() and not output.is_dir():
        return [Job(sources[0], output)]
    if PIPE in sources or output == PIPE:
        raise WeconveneError("A pipe takes one picture: give '-' as the only input, or with a single one as output.")
    if output.exists() and not output.is_dir():
        raise WeconveneError(f"{output} is a file: several pictures need a folder.")
    jobs = []
    for source in sources:
        inside = (path for path in sorted(source.rglob("*")) if path.suffix.lower() in suffixes and path.is_file())
        base, paths = (source, inside) if source.is_dir() else (source.parent, [source])
        jobs += [Job(path, output / path.relative_to(base).with_suffix(suffix)) for path in paths]
    if not jobs:
        where = ", ".join(map(str, sources))
        raise WeconveneError(f"There is nothing to do: no file in {where} has a known extension.")
    seen: dict[Path, Path] = {}
    for job in jobs:
        if seen.setdefault(job.target, job.source) != job.source:
            raise WeconveneError(f"{seen[job.target]} and {job.source} would both become {job.target}: rename one.")
    return jobs


def _run(jobs: list[Job], one: Callable[[Job], str], arguments: argparse.Namespace) -> int:
    """Do the jobs; of several, go on after a failure, and say at the end how many there were."""
    if len(jobs) == 1:
        _check_output(jobs[0], arguments.force)
        said = one(jobs[0])
        if not arguments.quiet:
            print(said, file=sys.stderr if jobs[0].target == PIPE else sys.stdout)
        return 0
    codes = []
    for job in tqdm(jobs, unit="file", disable=arguments.quiet or None):  # None: no bar where stderr is no terminal
        try:
            job.target.parent.mkdir(parents=True, exist_ok=True)
            _check_output(job, arguments.force)
            said = one(job)
            if arguments.verbose:
                tqdm.write(said)
        except (WeconveneError, OSError) as error:
            codes.append(failed(job.source, error))
    if not arguments.quiet:
        print(f"{len(jobs) - len(codes)} of {len(jobs)} files done")
    return min(codes, default=0)


def failed(source: Path, error: Exception) -> int:
    """Say what is wrong with one file of several; return its exit code."""
    tqdm.write(f"weconvene: {source}: {error}", file=sys.stderr)
    return DAMAGED if isinstance(error, CorruptFileError) else FAILED


def _check_output(job: Job, force: bool) -> None:
    """Find out before the work, rather than after it, that its result could not be written."""
    source, output = job
    if output == PIPE:
        return
    if output.exists() and not force:
        raise WeconveneError(f"{output} exists already: choose another name, or replace it with --force.")
    if output.exists() and source.exists() and output.samefile(source):
        raise WeconveneError(f"{output} is the input itself: choose another name.")
    if not output.parent.is_dir():
        raise WeconveneError(f"There is no folder {output.parent}: make it first, or choose another.")
    if not os.access(output.parent, os.W_OK):
        raise WeconveneError(f"The folder {output.parent} may not be written to: choose another.")


def read(source: Path) -> bytes:
    """Read a file, or the pipe."""
    return sys.stdin.buffer.read() if source == PIPE else source.read_bytes()


def _write(data: bytes, target: Path) -> None:
    if target == PIPE:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    else:
        write_bytes_atomically(target, data)
