"""Where the image sets come from: ``data/registry.csv`` (address, sha256, licence) and their download."""

from __future__ import annotations

import csv
import hashlib
import io
import os
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from pathlib import Path
from zipfile import BadZipFile, ZipFile

import pooch

from weconvene_core.atomic_files import sha256_of, write_bytes_atomically, write_text
from weconvene_core.errors import WeconveneError
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
        images: how many images the file is or, as an archive, should hold; 0 where that is not known.
        dataset: what published curves call the whole set; empty where that is the set's own name.
    """

    name: str
    set: str
    url: str
    sha256: str | None
    licence: str
    members: str
    images: int
    dataset: str


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
    known = None if row["sha256"] == UNKNOWN_HASH else row["sha256"]
    images = int(row["images"] or 0) if row["members"] else 1
    return Entry(row["name"], row["set"], row["url"], known, row["licence"], row["members"], images, row["dataset"])


def cache_folder(name: str) -> Path:
    """Return the folder that downloads of the set ``name`` go to: under ``WECONVENE_CACHE``, else the user's cache."""
    root = os.environ.get("WECONVENE_CACHE", "").strip() or pooch.os_cache("weconvene")
    return Path(root).expanduser() / name


def known_images(folder: Path, entries: list[Entry]) -> list[Entry]:
    """Return every image of a set that has a hash to be held to, sorted by name.

    That is those registered one by one, and those in the records that unpacking left in ``folder``. An archive without
    a record leaves none: nobody can tell then which images belong to the set.

    Raises:
        WeconveneError: a damaged record.
    """
    found = []
    for entry in entries:
        if not entry.members:
            found.append(entry)
            continue
        record = _record(folder, entry)
        if not record.is_file():
            return []
        members = _read_record(record)
        found += [replace(entry, name=n, sha256=own, members="", images=1) for n, own in members.items()]
    return sorted(found, key=lambda entry: entry.name)


def full_name(entries: list[Entry], images: int) -> str | None:
    """Return what a verified set of ``images`` images is called where it is whole; None when the registry has others.

    Published curves may know the whole set by another name than the registry does (``clic2020_professional``).
    """
    whole = images == sum(entry.images for entry in entries)
    return (entries[0].dataset or entries[0].set) if whole else None


def faults(folder: Path, entries: list[Entry]) -> list[str]:
    """Return what is wrong with the images of a set in ``folder``: those missing, and those altered by hash."""
    found = []
    for entry in entries:
        path = folder / entry.name
        if not path.is_file():
            found.append(f"{entry.name} is missing")
        elif entry.sha256 is not None and (own := sha256_of(path)) != entry.sha256:
            found.append(f"{entry.name} is altered (sha256 {own[:12]}..., expected {entry.sha256[:12]}...)")
    return found


def fetch(name: str, registry: Path = REGISTRY) -> Path:
    """Download the image set ``name`` into its cache folder, verify it, and return that folder.

    Files already there with the right hash are kept, so an interrupted download resumes file by file. An archive
    whose hash is not registered has it written beside the images, and later downloads must match it. So are the names
    and hashes of the images in an archive (``ARCHIVE.members.csv``), by which :func:`known_images` tells them later.

    Raises:
        WeconveneError: an unknown set, no connection, a file that does not match its hash, a broken archive, or one
            that holds other images than were recorded.
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
    """Write the images of an archive flat beside it, and first what they are, so that an interruption is noticed."""
    try:
        with ZipFile(archive) as zipped:
            wanted = _wanted(zipped, entry)
            hashes = {name: hashlib.sha256(zipped.read(member)).hexdigest() for name, member in wanted.items()}
            _keep_record(_record(archive.parent, entry), entry, hashes)
            for name, member in wanted.items():
                path = archive.parent / name
                if not path.is_file() or sha256_of(path) != hashes[name]:
                    write_bytes_atomically(path, zipped.read(member))
    except BadZipFile as error:
        archive.unlink()
        archive.with_name(f"{entry.name}.sha256").unlink(missing_ok=True)
        raise WeconveneError(f"{entry.url} is not a readable archive ({error}): try again later.") from error


def _wanted(zipped: ZipFile, entry: Entry) -> dict[str, str]:
    """Return the images of an archive by file name; directories and hidden files in it are left out."""
    members = [m for m in zipped.namelist() if fnmatch(m, entry.members) and not Path(m).name.startswith(".")]
    if not members:
        raise WeconveneError(f"{entry.name} holds no image that matches '{entry.members}': its layout has changed.")
    wanted = {Path(member).name: member for member in members}
    if len(wanted) < len(members):
        twice = sorted(member for member in members if member not in wanted.values())
        raise WeconveneError(
            f"{entry.name} holds several images of one name ({', '.join(twice)}), where one folder can keep one: put "
            f"those that you mean into a folder '{entry.set}' under the one named by WECONVENE_DATA."
        )
    return wanted


def _record(folder: Path, entry: Entry) -> Path:
    return folder / f"{entry.name}.members.csv"


def _read_record(record: Path) -> dict[str, str]:
    """Return the hashes of an archive's images by file name."""
    try:
        with record.open(newline="", encoding="utf-8") as rows:
            found = {row["name"]: row["sha256"] for row in csv.DictReader(rows)}
        if not found or any(len(bytes.fromhex(known)) != 32 for known in found.values()):
            raise ValueError("no names with hashes")
    except (OSError, KeyError, TypeError, ValueError, csv.Error) as error:
        raise WeconveneError(
            f"The record {record} of an archive's images is damaged ({error}): delete it and fetch the set again."
        ) from error
    return found


def _keep_record(record: Path, entry: Entry, hashes: dict[str, str]) -> None:
    """Write the names and hashes of an archive's images, or compare them with what was written before."""
    if record.is_file():
        if changed := _changes(_read_record(record), hashes):
            raise WeconveneError(
                f"{entry.name} no longer holds what {record} recorded at its first unpacking, so old and new "
                f"measurements would be of different images: {', '.join(changed)}; delete that record to go on with "
                "the archive as it is now."
            )
        return
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([("name", "sha256"), *sorted(hashes.items())])
    write_text(record, text.getvalue())


def _changes(before: dict[str, str], now: dict[str, str]) -> list[str]:
    """Return how an archive's images differ from those recorded, a few words for each."""
    found = []
    for name in sorted({*before, *now}):
        if name not in now:
            found.append(f"{name} is missing")
        elif name not in before:
            found.append(f"{name} is new (sha256 {now[name][:12]}...)")
        elif now[name] != before[name]:
            found.append(f"{name} is altered (sha256 {now[name][:12]}..., recorded {before[name][:12]}...)")
    return found
