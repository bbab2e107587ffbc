"""Where the image sets come from: ``data/registry.csv`` (address, sha256, licence) and their download."""

from __future__ import annotations

import csv
import os
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from zipfile import BadZipFile, ZipFile

import pooch

from weconvene_core.errors import WeconveneError
from weconvene_core.files import sha256_of
from weconvene_core.paths import DATA

REGISTRY = DATA / "registry.csv"
UNKNOWN_HASH = "recorded-at-first-download"
"""Marker in the sha256 column: nobody here has seen the file, so its hash is kept beside it once downloaded."""


@dataclass(frozen=True)
class Entry:
    """One file of an image set.

    Attributes:
        name: file name.
        set: image set it belongs to.
        url: official address.
        sha256: 64 hexadecimal digits, or None where the registry says ``recorded-at-first-download``.
        licence: terms as stated at the source.
        members: pattern of the images inside an archive; empty for a single image.
    """

    name: str
    set: str
    url: str
    sha256: str | None
    licence: str
    members: str


def load_registry(name: str, registry: Path = REGISTRY) -> list[Entry]:
    """Return the entries of the image set ``name``; an empty list when the registry does not know it.

    Raises:
        WeconveneError: the registry is missing.
    """
    if not registry.is_file():
        raise WeconveneError(f"The registry {registry} is missing: restore data/registry.csv from the repository.")
    with registry.open(newline="", encoding="utf-8") as rows:
        return [_entry(row) for row in csv.DictReader(rows) if row["set"] == name]


def _entry(row: dict[str, str]) -> Entry:
    sha256 = None if row["sha256"] == UNKNOWN_HASH else row["sha256"]
    return Entry(row["name"], row["set"], row["url"], sha256, row["licence"], row["members"])


def cache_folder(name: str) -> Path:
    """Return the folder that downloads of the set ``name`` go to: under ``WECONVENE_CACHE``, else the user's cache."""
    root = os.environ.get("WECONVENE_CACHE", "").strip() or pooch.os_cache("weconvene")
    return Path(root).expanduser() / name


def faults(folder: Path, entries: list[Entry]) -> list[str]:
    """Return what is wrong with the single images of a set in ``folder``: those missing, and those altered by hash."""
    found = []
    for entry in entries:
        path = folder / entry.name
        if not path.is_file():
            found.append(f"{entry.name} is missing")
        elif entry.sha256 is not None and (own := sha256_of(path)) != entry.sha256:
            found.append(f"{entry.name} is altered (sha256 {own[:12]}..., registered {entry.sha256[:12]}...)")
    return found


def fetch(name: str, registry: Path = REGISTRY) -> Path:
    """Download the image set ``name`` into its cache folder, verify it, and return that folder.

    Files already there with the right hash are kept, so an interrupted download resumes file by file. An archive
    whose hash is not registered has it written beside the images, and later downloads must match it.

    Raises:
        WeconveneError: an unknown set, no connection, a file that does not match its hash, or a broken archive.
    """
    entries = load_registry(name, registry)
    if not entries:
        raise WeconveneError(f"No address is known for the image set '{name}': data/registry.csv lists those that are.")
    folder = cache_folder(name)
    for entry in entries:
        path = _retrieve(entry, folder)
        if entry.members:
            _unpack(path, entry)
    return folder


def _retrieve(entry: Entry, folder: Path) -> Path:
    record = folder / f"{entry.name}.sha256"
    known = entry.sha256 or (record.read_text().strip() if record.is_file() else None)
    try:
        path = Path(
            pooch.retrieve(
                entry.url, f"sha256:{known}" if known else None, fname=entry.name, path=folder, progressbar=True
            )
        )
        if known is None:
            record.write_text(sha256_of(path) + "\n")
    except (OSError, ValueError) as error:
        raise WeconveneError(
            f"Could not get {entry.name} of '{entry.set}' from {entry.url} ({error}): check the connection, or put the "
            f"images into a folder '{entry.set}' under the one named by WECONVENE_DATA."
        ) from error
    return path


def _unpack(archive: Path, entry: Entry) -> None:
    """Write the images of an archive flat beside it; directories and hidden files in it are left out."""
    try:
        with ZipFile(archive) as zipped:
            wanted = [m for m in zipped.namelist() if fnmatch(m, entry.members) and not Path(m).name.startswith(".")]
            for member in wanted:
                (archive.parent / Path(member).name).write_bytes(zipped.read(member))
    except BadZipFile as error:
        archive.unlink()
        archive.with_name(f"{entry.name}.sha256").unlink(missing_ok=True)
        raise WeconveneError(f"{entry.url} is not a readable archive ({error}): try again later.") from error
    if not wanted:
        raise WeconveneError(f"{entry.name} holds no image that matches '{entry.members}': its layout has changed.")
