"""Files that are never half written."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from weconvene_core.atomic_files import write_bytes_atomically
from weconvene_core.errors import WeconveneError


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    """A limit on the size of files fails in the middle of writing, as a full disk does."""
    resource = pytest.importorskip("resource")
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))
    try:
        with pytest.raises(WeconveneError, match="cannot be written"):
            write_bytes_atomically(path, bytes(50_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_writing_replaces_and_obeys_the_umask(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    write_bytes_atomically(path, b"new")
    assert path.read_bytes() == b"new"
    (tmp_path / "plain").touch()
    assert path.stat().st_mode == (tmp_path / "plain").stat().st_mode


@pytest.mark.parametrize("name", ["missing/a.bin", "file/a.bin", "."])
def test_impossible_targets_give_a_sentence(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(WeconveneError, match="cannot be written"):
        write_bytes_atomically(tmp_path / name, b"x")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_write_permission(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(WeconveneError, match="Permission denied"):
        write_bytes_atomically(tmp_path / "a.bin", b"x")


def test_permissions_and_links_outlive_a_new_content(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"old")
    (tmp_path / "secret").chmod(0o600)
    (tmp_path / "link").symlink_to("secret")
    (tmp_path / "dangling").symlink_to("made")
    write_bytes_atomically(tmp_path / "link", b"new")
    write_bytes_atomically(tmp_path / "dangling", b"made")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "secret").read_bytes() == b"new"
    assert stat.S_IMODE((tmp_path / "secret").stat().st_mode) == 0o600
    assert (tmp_path / "made").read_bytes() == b"made"


@pytest.mark.skipif(not Path("/dev/null").is_char_device(), reason="needs a device")
def test_a_device_stays_a_device(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/dev/null")  # a file renamed to it would take the device's place
    write_bytes_atomically(tmp_path / "link", b"x")
    assert Path("/dev/null").is_char_device()


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs names for open files")
def test_a_pipe_that_has_no_name_of_its_own(tmp_path: Path) -> None:
    """As ``/dev/stdout`` in a pipeline: a link to what is not in any folder."""
    reading, writing = os.pipe()
    write_bytes_atomically(f"/proc/self/fd/{writing}", b"x")
    os.close(writing)
    assert os.read(reading, 9) == b"x"
    os.close(reading)


def test_a_file_that_appears_meanwhile_is_kept_where_asked(tmp_path: Path) -> None:
    write_bytes_atomically(tmp_path / "a.bin", b"first", replace=False)
    with pytest.raises(WeconveneError, match="exists"):
        write_bytes_atomically(tmp_path / "a.bin", b"second", replace=False)
    assert (tmp_path / "a.bin").read_bytes() == b"first"
    assert len(list(tmp_path.iterdir())) == 1
