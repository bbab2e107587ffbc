"""The trained codec behind the measuring protocol: real files, kept by what they depend on."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from lab.rd import our_codec
from lab.rd.our_codec import FileCodec, estimated_bytes
from lab.rd.pillow_codecs import JPEG, JPEG_2000, Rival
from weconvene_core.codec.api import encode
from weconvene_core.datasets.image_sets import image_set, load_rgb
from weconvene_core.errors import WeconveneError
from weconvene_core.paths import ROOT

CANNOT_DECIDE = {
    "__init__.py": "registers the format and states the version",
    "config_checks.py": "refuses configurations, and changes none",
    "errors.py": "names failures",
    "files.py": "writes whole files or none",
    "paths.py": "says where files lie",
    "presets.py": "sizes for new models: a released one carries its own",
}
"""What the codec imports without its bytes depending on it."""


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


def test_everything_that_the_codec_imports_decides() -> None:
    code = (
        "import sys, weconvene_core.codec.api\n"
        "print(*(m.__file__ for n, m in sys.modules.items() if n.split('.')[0] == 'weconvene_core'), sep='\\n')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    imported = {Path(line).relative_to(our_codec.PACKAGE) for line in done.stdout.splitlines()}
    deciding = set(map(Path, our_codec.DECIDING))
    assert {str(path) for path in imported if not {path, path.parent} & deciding} == set(CANNOT_DECIDE)


def test_an_unknown_model_gets_one_clear_sentence() -> None:
    with pytest.raises(WeconveneError, match="no trained model 'grand'"):
        FileCodec("grand").state()


def test_the_estimate_is_near_the_file(picture: Image.Image) -> None:
    file = len(encode(picture, 4.0))
    assert abs(file - estimated_bytes(picture, 4.0)) < 80 + 0.05 * file  # header and last words, then the tables


@pytest.mark.parametrize("rival", [JPEG, JPEG_2000], ids=lambda rival: rival.name)
def test_a_rival_meets_a_size(rival: Rival, picture: Image.Image) -> None:
    sizes = [len(rival.encode_near(picture, target)) for target in (2000, 4000)]
    assert sizes == [pytest.approx(2000, rel=0.06), pytest.approx(4000, rel=0.06)]
    smallest, largest = (len(rival.encode_near(picture, target)) for target in (1, 10**7))
    assert smallest < 2000
    assert largest > 5 * 4000  # the far ends of the knob, not an error
