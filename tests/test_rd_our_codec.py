"""The trained codec behind the measuring protocol: real files, kept by what they depend on."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lab.paths import ROOT
from lab.rd import our_codec
from lab.rd.metrics import psnr_rgb
from lab.rd.our_codec import TOLERANCE, FileCodec, code, code_at_rate, estimated_bytes
from weconvene_core.codec.api import encode
from weconvene_core.codec.pictures import load_rgb
from weconvene_core.datasets.image_sets import image_set
from weconvene_core.errors import WeconveneError
from weconvene_core.model.presets import preset
from weconvene_core.model.weconvene import WeConvene

CANNOT_DECIDE = {
    "weconvene_core/__init__.py": "registers the format",
    "weconvene_core/atomic_files.py": "writes whole files or none",
    "weconvene_core/errors.py": "names failures",
    "weconvene_core/moved.py": "names the new place of old imports",
    "weconvene_core/paths.py": "says where files lie",
    "weconvene_core/progress.py": "shows how far long work is",
    "weconvene_core/version.py": "states the release",
}
"""What the codec imports without its bytes depending on it."""


def photograph(height: int, width: int) -> np.ndarray:
    """A smooth picture with an edge: enough for rates to follow the quality."""
    y, x = np.mgrid[:height, :width] / 64
    waves = np.stack([np.sin(3 * x + y), np.cos(2 * y), np.sin(x * y)], axis=2)
    return (127 + 80 * waves + 40 * (x > 1)[..., None]).clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def model() -> WeConvene:
    torch.manual_seed(0)
    model = WeConvene(preset("tiny")).eval()
    model.bypass_transforms = True
    model.update(force=True)
    return model


@pytest.fixture(scope="module")
def picture() -> Image.Image:
    return load_rgb(image_set("default").paths[1]).crop((90, 40, 282, 168))  # 192x128 of the cat


def test_what_is_measured_is_the_file_on_disk(picture: Image.Image, tmp_path: Path) -> None:
    codec = FileCodec(folder=tmp_path)
    data = codec.encode(picture, 3.0)
    (file,) = (path for path in tmp_path.rglob("*") if path.is_file())
    assert file.read_bytes() == data == encode(picture, 3.0)
    assert codec.decode(data).size == picture.size


def test_a_kept_file_is_read_and_a_missing_one_made(picture: Image.Image, tmp_path: Path) -> None:
    codec = FileCodec(folder=tmp_path)
    made = codec.file(picture, 2.0)
    (file,) = (path for path in tmp_path.rglob("*") if path.is_file())
    file.write_bytes(b"kept")
    assert codec.file(picture, 2.0) == b"kept"
    assert codec.file(picture, 2.5) not in (made, b"kept")  # another quality
    assert codec.file(picture.transpose(Image.Transpose.ROTATE_180), 2.0) != b"kept"  # another picture
    assert len(list(tmp_path.rglob("*.wcv"))) == 3


def test_the_state_follows_the_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for part in our_codec.DECIDING:
        assert (our_codec.ROOT / part).exists()
    before = FileCodec().state()
    (tmp_path / "model.py").write_text("changed = True\n")
    monkeypatch.setattr(our_codec, "ROOT", tmp_path)
    monkeypatch.setattr(our_codec, "DECIDING", ("model.py",))
    our_codec._state.cache_clear()
    try:
        assert FileCodec().state() != before
    finally:
        our_codec._state.cache_clear()


@pytest.mark.slow
def test_everything_that_the_codec_imports_decides() -> None:
    code = (
        "import sys, weconvene_core.codec.api\n"
        "print(*(m.__file__ for n, m in sys.modules.items() if n.split('.')[0] == 'weconvene_core'), sep='\\n')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    imported = {Path(line).relative_to(ROOT) for line in done.stdout.splitlines()}
    deciding = set(map(Path, our_codec.DECIDING))
    assert {str(path) for path in imported if not {path, path.parent} & deciding} <= set(CANNOT_DECIDE)


def test_an_unknown_model_gets_one_clear_sentence() -> None:
    with pytest.raises(WeconveneError, match="no trained model 'grand'"):
        FileCodec("grand").state()


def test_the_estimate_is_near_the_file(picture: Image.Image) -> None:
    file = len(encode(picture, 4.0))
    assert abs(file - estimated_bytes(picture, 4.0)) < 80 + 0.05 * file  # header and last words, then the tables


def test_bytes_in_memory_carry_the_picture(model: WeConvene) -> None:
    picture = photograph(50, 70)
    coarse, fine = code(model, picture, 1.0), code(model, picture, 6.0)
    assert coarse.picture.shape == picture.shape
    assert coarse.bpp < fine.bpp
    assert coarse.psnr_db < fine.psnr_db == psnr_rgb(picture, fine.picture)


def test_a_rate_is_met_or_refused(model: WeConvene) -> None:
    picture = photograph(128, 192)
    ends = [code(model, picture, quality).bpp for quality in (1.0, 6.0)]
    wanted = (ends[0] * ends[1]) ** 0.5
    found = code_at_rate(model, picture, wanted)
    assert found.bpp == pytest.approx(wanted, rel=2 * TOLERANCE)
    assert 1.0 < found.quality < 6.0
    with pytest.raises(WeconveneError, match="lies outside"):
        code_at_rate(model, picture, 2 * ends[1])
