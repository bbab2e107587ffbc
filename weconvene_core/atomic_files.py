"""Atomic writing of files, and their hashes."""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from weconvene_core.errors import WeconveneError

HASH_BYTES = 8
"""Leading bytes of a SHA-256 by which a compressed file names its weights."""


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file's bytes as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def atomic_file(path: str | Path, replace: bool = True) -> Iterator[IO[bytes]]:
    """Open a file under a temporary name in the same folder; it gets its name at the end of the block.

    If the block fails or the process is killed, an earlier file of that name stays as it was. A new file keeps an
    earlier one's permissions, and a link goes on to name its target. A pipe or a device is written to as it is.
    Without ``replace`` a file that appears meanwhile is kept, and this one is refused.

    Raises
    ------
    WeconveneError
        If the folder is missing or not writable, or the disk is full.
    """
    target = Path(os.path.realpath(path))
    temporary = target.parent / f".{secrets.token_hex(8)}.tmp"
    try:
        if is_stream(Path(path)):  # a file with its name would take its place
            with open(path, "wb") as file:
                yield file
            return
        with temporary.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())  # on the disk before the name: a power cut must not leave an empty file
        with suppress(OSError):  # no earlier file, or permissions that this file system does not have
            shutil.copymode(target, temporary)
        if not replace:
            with suppress(PermissionError, NotImplementedError):  # a file system without hard links
                os.link(temporary, target)  # which never replaces
                return
        os.replace(temporary, target)
    except OSError as error:
        raise WeconveneError(f"{path} cannot be written: {error.strerror or error}.") from error
    finally:
        with suppress(OSError):  # the first failure is the one to report
            temporary.unlink()


def is_stream(path: Path) -> bool:
    """Tell whether a path is there and is neither file nor folder: a pipe, a terminal, ``/dev/null``."""
    return path.exists() and not path.is_file() and not path.is_dir()


def write_bytes_atomically(path: str | Path, data: bytes, replace: bool = True) -> None:
    """Write a file as :func:`atomic_file` does, which says what is raised."""
    with atomic_file(path, replace) as file:
        file.write(data)


def write_text(path: Path, text: str) -> None:
    """Make the folder, and write a text file (UTF-8, line ends as given) as :func:`atomic_file` does."""
    with suppress(OSError):  # what is wrong with the folder shows, with a reason, when the file is written
        path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes_atomically(path, text.encode())
