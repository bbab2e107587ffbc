"""The registry of image sets, ``registry.csv`` beside this file (address, SHA-256, licence), and their download."""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from zipfile import BadZipFile, ZipFile

from weconvene_core.atomic_files import sha256_of, write_bytes_atomically, write_text
from weconvene_core.errors import WeconveneError
from weconvene_core.paths import cache_folder

REGISTRY = Path(__file__).with_name("registry.csv")
UNKNOWN_HASH = "recorded-at-first-download"
"""Marker in the column sha256: nobody here has seen the file, so its images are recorded at the first download."""


@dataclass(frozen=True)
class Entry:
    """One file of an image set, an image or an archive of images: a row of the registry."""

    name: str
    set: str
    url: str
    sha256: str | None  # 64 hexadecimal digits, None where the registry does not know them
    members: str  # pattern of the images inside an archive; empty for a single image
    images: int  # how many images the file should hold; 0 if that is not known
    dataset: str  # what published curves call the whole set
    licence: str  # as its source states it

    def record(self, folder: Path) -> Path:
        """Return the CSV file beside an unpacked archive that names its images and their hashes."""
        return folder / f"{self.name}.members.csv"


def registered(registry: Path = REGISTRY) -> list[str]:
    """Return the names of the image sets in the registry."""
    with registry.open(newline="", encoding="utf-8") as file:
        return list(dict.fromkeys(row["set"] for row in csv.DictReader(file)))


def load_registry(name: str, registry: Path = REGISTRY) -> list[Entry]:
    """Return the entries of the image set ``name``; an empty list if the registry does not know it."""
    with registry.open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["set"] == name]
    return [
        Entry(
            row["name"], name, row["url"], None if row["sha256"] == UNKNOWN_HASH else row["sha256"], row["members"],
            images=int(row["images"] or 0) if row["members"] else 1, dataset=row["dataset"] or name,
            licence=row["licence"],
        )
        for row in rows
    ]  # fmt: skip


def known_images(folder: Path, entries: list[Entry]) -> dict[str, str | None]:
    """Return the SHA-256 of every image of a set by file name: from the registry, and from the records of archives.

    Empty if an archive has no record in ``folder``: nobody can tell then which images belong to the set.

    Raises
    ------
    WeconveneError
        If a record is damaged.
    """
    found: dict[str, str | None] = {}
    for entry in entries:
        if entry.members and not entry.record(folder).is_file():
            return {}
        found |= _read_record(entry.record(folder)) if entry.members else {entry.name: entry.sha256}
    return found


def faults(expected: Mapping[str, str | None], found: Mapping[str, str]) -> list[str]:
    """Return what is wrong with files, from their names and hashes: those missing, and those altered."""
    wrong = []
    for name, known in sorted(expected.items()):
        if name not in found:
            wrong.append(f"{name} is missing")
        elif known not in (None, found[name]):
            wrong.append(f"{name} is altered (sha256 {found[name][:12]}..., expected {known[:12]}...)")
    return wrong


def fetch(name: str, registry: Path = REGISTRY) -> Path:
    """Download the image set ``name`` into its cache folder, verify it, and return that folder.

    Files already there with the right hash are kept, so an interrupted download resumes file by file. An archive is
    unpacked beside itself; what is unpacked later must agree with the record of the first time.

    Raises
    ------
    WeconveneError
        If the set is unknown, there is no connection, a file does not match its hash, or an archive is broken or holds
        other images than were recorded.
    """
    entries = load_registry(name, registry)
    if not entries:
        raise WeconveneError(f"No address is known for the image set '{name}': see weconvene data list.")
    import pooch  # only a download needs it

    folder = cache_folder(name)
    for entry in entries:
        try:
            file = pooch.retrieve(entry.url, entry.sha256, fname=entry.name, path=folder, progressbar=True)
        except (OSError, ValueError) as error:
            raise WeconveneError(
                f"Could not get {entry.name} of '{name}' from {entry.url} ({error}): check the connection, or put the "
                f"images into a folder '{name}' under the one named by WECONVENE_DATA."
            ) from error
        if entry.members:
            _unpack(Path(file), entry)
    return folder


def _unpack(archive: Path, entry: Entry) -> None:
    """Write the images of an archive flat beside it, after their record, so that an interruption is noticed."""
    try:
        with ZipFile(archive) as zipped:
            members = _members(zipped, entry)
            hashes = {name: hashlib.sha256(zipped.read(member)).hexdigest() for name, member in members.items()}
            _keep_record(entry.record(archive.parent), entry, hashes)
            for name, member in members.items():
                path = archive.parent / name
                if not path.is_file() or sha256_of(path) != hashes[name]:
                    write_bytes_atomically(path, zipped.read(member))
    except BadZipFile as error:
        archive.unlink()
        raise WeconveneError(f"{entry.url} is not a readable archive ({error}): try again later.") from error


def _members(zipped: ZipFile, entry: Entry) -> dict[str, str]:
    """Return the images of an archive by file name; hidden files in it are left out."""
    members = [m for m in zipped.namelist() if fnmatch(m, entry.members) and not Path(m).name.startswith(".")]
    if not members:
        raise WeconveneError(f"{entry.name} holds no image that matches '{entry.members}': its layout has changed.")
    by_name = {Path(member).name: member for member in members}
    if twice := sorted(set(members) - set(by_name.values())):
        raise WeconveneError(
            f"{entry.name} holds several images of one name ({', '.join(twice)}), where one folder can keep one: put "
            f"those that you mean into a folder '{entry.set}' under the one named by WECONVENE_DATA."
        )
    return by_name


def _keep_record(record: Path, entry: Entry, hashes: dict[str, str]) -> None:
    """Write the names and hashes of an archive's images, or compare them with what was written before."""
    if not record.is_file():
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([("name", "sha256"), *sorted(hashes.items())])
        write_text(record, text.getvalue())
        return
    before = _read_record(record)
    if changed := [*faults(before, hashes), *(f"{name} is new" for name in sorted(hashes.keys() - before.keys()))]:
        raise WeconveneError(
            f"{entry.name} no longer holds what {record} recorded at its first unpacking, so old and new measurements "
            f"would be of different images: {', '.join(changed)}; delete that record to go on with the archive as it "
            "is now."
        )


def _read_record(record: Path) -> dict[str, str]:
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
