"""What the commands do: one function each, from parsed arguments to an exit code.

torch is imported only after the cheap checks, so that wrong input is answered at once.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from weconvene_core.atomic_files import is_stream, write_bytes_atomically
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

    from weconvene_core.codec.container import MAX_PIXELS, unpack
    from weconvene_core.codec.pictures import FOLDER_FORMATS, PictureWarning, load

    Image.MAX_IMAGE_PIXELS = MAX_PIXELS // 2  # Pillow warns above it, and refuses above twice as many
    known = Image.registered_extensions()  # some of these formats Pillow only writes
    pictures = [suffix for suffix, name in known.items() if name in FOLDER_FORMATS & Image.OPEN.keys()]
    jobs = _jobs(arguments, pictures, COMPRESSED)
    if jobs[0].target.suffix.lower() in known.keys() - {COMPRESSED} and not is_stream(jobs[0].target):
        raise WeconveneError(f"{jobs[0].target} is named as a picture: give a name that ends in .wcv, or a folder.")
    checkpoint(arguments.model)
    uncertain: list[Path] = []  # files of a model that is not calibrated

    def one(job: Job) -> str:
        with warnings.catch_warnings(record=True) as noted:
            warnings.simplefilter("always", PictureWarning)
            picture = load(io.BytesIO(read(job.source)) if job.source == PIPE else job.source)
        for note in noted:
            if note.category is PictureWarning:  # a user can do nothing with Pillow's own
                complain(f"{job.source}: {note.message}")
        from weconvene_core.codec import api

        options = {"max_memory": arguments.max_memory, "effort": arguments.effort}
        data = api.encode(picture, arguments.quality, arguments.model, **options)
        _write(data, job.target, arguments.force)
        uncertain.extend([] if unpack(data).exact else [job.target])
        bpp = 8 * len(data) / picture.rgb[..., 0].size
        return f"{job.target}: {len(data)} bytes, {bpp:.4f} bits per pixel"

    code = _run(jobs, one, arguments)
    if uncertain:
        known = f"The model '{arguments.model}' is not calibrated, so its files decode surely on this machine only"
        complain(f"{known}: run weconvene calibrate {arguments.model}, then encode again.")
    return code


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
        _write(to_bytes(image, piped if job.target == PIPE else job.target), job.target, arguments.force)
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
    from PIL import Image

    sources, output = arguments.inputs, Path(arguments.output)
    if not any(source == PIPE or source.exists() for source in sources):
        raise WeconveneError(f"{', '.join(map(str, sources))}: there is no such file or folder.")
    into_folder = output.is_dir() or arguments.output.endswith(("/", os.sep))
    if len(sources) == 1 and not sources[0].is_dir() and not into_folder:
        return [Job(sources[0], output)]
    if PIPE in sources or output == PIPE:
        raise WeconveneError("A pipe takes one picture: give '-' as the only input, or with a single one as output.")
    if output.exists() and not output.is_dir():
        raise WeconveneError(f"{output} is a file: several pictures need a folder.")
    if not into_folder and output.suffix.lower() in {COMPRESSED, *Image.registered_extensions()}:
        raise WeconveneError(f"{output} is named as a file, and several pictures need a folder: end its name with a /.")
    jobs = []
    for source in sources:
        known = (path for path in inside(source) if path.suffix.lower() in suffixes or path.is_dir())
        base, paths = (source, known) if source.is_dir() else (source.parent, [source])
        jobs += [Job(path, (output / path.relative_to(base)).with_suffix(suffix)) for path in paths]
    if not jobs:
        where = ", ".join(map(str, sources))
        raise WeconveneError(f"There is nothing to do: no file in {where} has a known extension.")
    seen: dict[Path, Path] = {}
    for job in jobs:
        if seen.setdefault(job.target, job.source) != job.source:
            raise WeconveneError(f"{seen[job.target]} and {job.source} would both become {job.target}: rename one.")
    return jobs


def inside(folder: Path, above: tuple[Path, ...] = ()) -> Iterator[Path]:
    """Yield the files of a folder and of those in it, linked ones too, but as a shell's ``*`` none that is hidden.

    A folder that cannot be listed is yielded itself.
    """
    real = folder.resolve()
    try:
        found = [] if real in above else sorted(folder.iterdir())  # links may lead in circles
    except OSError:
        found = []
        yield folder
    for path in found:
        if path.is_dir() and path.name[0] != ".":
            yield from inside(path, (*above, real))
        elif path.is_file() and path.name[0] != ".":
            yield path


def _run(jobs: list[Job], one: Callable[[Job], str], arguments: argparse.Namespace) -> int:
    """Do the jobs; of several, go on after a failure, and say at the end how many there were."""
    output = Path(arguments.output)
    if jobs[0].target != output:  # into a folder
        folder = output if len(jobs) > 1 else jobs[0].target.parent
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise WeconveneError(f"The folder {folder} cannot be made ({error.strerror}): choose another.") from error
    if len(jobs) == 1:
        _check_output(jobs[0], arguments.force)
        said = _in_one_line(one(jobs[0]))
        if not arguments.quiet:
            print(said, file=sys.stderr if jobs[0].target == PIPE else sys.stdout)
        return 0
    codes = []
    for job in tqdm(jobs, unit="file", disable=arguments.quiet or None):  # None: no bar where stderr is no terminal
        try:
            if not job.source.exists():
                raise WeconveneError("there is no such file or folder.")
            job.target.parent.mkdir(parents=True, exist_ok=True)
            _check_output(job, arguments.force)
            said = _in_one_line(one(job))
            if arguments.verbose:
                tqdm.write(said)
        except (WeconveneError, OSError, MemoryError) as error:
            codes.append(failed(job.source, error))
    if not arguments.quiet:
        print(f"{len(jobs) - len(codes)} of {len(jobs)} files done")
    return min(codes, default=0)


def failed(source: Path, error: Exception) -> int:
    """Say what is wrong with one file of several; return its exit code."""
    complain(f"{source}: {error}")
    return DAMAGED if isinstance(error, CorruptFileError) else FAILED


def _check_output(job: Job, force: bool) -> None:
    """Find out before the work, rather than after it, that its result could not be written."""
    source, output = job
    if source.is_dir():
        raise WeconveneError(f"The folder {source} cannot be listed: see its permissions.")
    if output == PIPE or is_stream(output):
        return
    if output.exists() and not force:
        raise WeconveneError(f"{output} exists already: choose another name, or replace it with --force.")
    if output.exists() and source.exists() and output.samefile(source):
        raise WeconveneError(f"{output} is the input itself: choose another name.")
    folder = output.resolve().parent
    if not folder.is_dir():
        raise WeconveneError(f"There is no folder {folder}: make it first, or choose another.")
    if not os.access(folder, os.W_OK):
        raise WeconveneError(f"The folder {folder} may not be written to: choose another.")


def read(source: Path) -> bytes:
    """Read a file, or the pipe."""
    if source == PIPE and sys.stdin is None:  # as services are started
        raise WeconveneError("Standard input is closed: give a file, or something to read.")
    return sys.stdin.buffer.read() if source == PIPE else source.read_bytes()


def _write(data: bytes, target: Path, force: bool) -> None:
    if target == PIPE:
        if sys.stdout is None:
            raise WeconveneError("Standard output is closed: give a file, or something that reads.")
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    else:
        write_bytes_atomically(target, data, replace=force)


def complain(sentence: str) -> None:
    """Write to stderr, above a progress bar."""
    if sys.stderr is not None:
        tqdm.write(f"weconvene: {_in_one_line(sentence)}", file=sys.stderr)


def _in_one_line(text: str) -> str:
    """Escape control characters, which names of files may hold."""
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)
