"""Compressed files through Pillow's own calls."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile, features

from lab.paths import ROOT
from weconvene_core import decode, encode
from weconvene_core.codec.api import ALL, preview
from weconvene_core.codec.pictures import load_rgb
from weconvene_core.datasets.image_sets import image_set
from weconvene_core.errors import CorruptFileError, WeconveneError


@pytest.fixture(scope="module")
def photo() -> Image.Image:
    return load_rgb(image_set("default", 1).paths[0]).crop((20, 20, 90, 75))


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
def test_what_is_saved_opens(photo: Image.Image, mode: str, tmp_path: Path) -> None:
    picture = photo.convert(mode)
    picture.info["icc_profile"] = b"a profile"
    picture.save(tmp_path / "a.wcv", quality=4.5)
    assert (tmp_path / "a.wcv").read_bytes() == encode(picture, 4.5)
    with Image.open(tmp_path / "a.wcv") as back:
        assert (back.format, back.size, back.mode, back.info["quality"]) == ("WCV", (70, 55), mode, 4.5)
        assert back.info["icc_profile"] == b"a profile"
        assert back.tobytes() == decode((tmp_path / "a.wcv").read_bytes()).tobytes()
        assert back.resize((7, 5)).size == (7, 5)


def test_streams_in_memory_and_converted_copies(photo: Image.Image) -> None:
    buffer = io.BytesIO()
    photo.save(buffer, "WCV")
    assert buffer.getvalue() == encode(photo, 3.0)
    png = io.BytesIO()
    Image.open(buffer).convert("L").save(png, "PNG")
    assert Image.open(png).size == photo.size
    assert Image.MIME["WCV"] == "image/x-wcv"


def test_what_cannot_be_saved_leaves_no_file(photo: Image.Image, tmp_path: Path) -> None:
    with pytest.raises(WeconveneError, match="outside 0 to 7"):
        photo.save(tmp_path / "a.wcv", quality=95)
    with pytest.raises(WeconveneError, match="CMYK"):
        photo.convert("CMYK").save(tmp_path / "a.wcv")
    assert not list(tmp_path.iterdir())


def test_damaged_and_cut_files(photo: Image.Image, monkeypatch: pytest.MonkeyPatch) -> None:
    data = encode(photo, 5)
    with pytest.raises(CorruptFileError, match="altered"):
        Image.open(io.BytesIO(data[:-40] + bytes(40)))
    cut = Image.open(io.BytesIO(data[:-40]))
    assert cut.size == photo.size  # the header is there
    with pytest.raises(CorruptFileError, match="cut"):
        cut.load()
    for failing in (lambda: Image.open(io.BytesIO(data[:-40] + bytes(40))), cut.load):
        with pytest.raises(OSError, match="cut|altered"):  # what programs that look through folders expect
            failing()
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    shown = Image.open(io.BytesIO(data[:-10]))  # inside the HF stream: some of its slices are there
    assert shown.tobytes() == preview(data[:-10], ALL).tobytes()
    assert error(shown, photo) < error(preview(data[:-10]), photo)


def error(picture: Image.Image, original: Image.Image) -> float:
    return float(np.square(np.asarray(picture, float) - np.asarray(original, float)).mean())


@pytest.mark.slow
def test_importing_the_package_loads_neither_torch_nor_numpy() -> None:
    code = "import sys, weconvene_core; print({'torch', 'numpy', 'compressai'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout == "set()\n"
    assert features.check("webp")  # which keeps the alpha planes
