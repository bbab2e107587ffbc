"""Training images from folders: validation pictures by a list, synthetic ones beside; what is wrong is named."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from weconvene_core.datasets.image_sets import folder_set
from weconvene_core.errors import WeconveneError
from weconvene_core.training.config import Stage, TrainConfig
from weconvene_core.training.images import load_images, load_pool
from weconvene_core.training.trainer import Trainer

CPU = torch.device("cpu")
STAGE = Stage("p", 4, 1e-3, 1e-4, batch=8, crop=32, warmup=1)


def ramp(height: int, width: int) -> np.ndarray:
    """Every pixel tells its row and column."""
    y, x = np.mgrid[:height, :width]
    return np.stack([y, x, np.zeros_like(y)], axis=2).astype(np.uint8)


def folders(root: Path, monkeypatch: pytest.MonkeyPatch) -> TrainConfig:
    """Two folders of five small pictures each, a list of two of them, and the configuration that names all."""
    monkeypatch.setenv("WECONVENE_DATA", str(root))
    rng = np.random.default_rng(0)
    for folder in ("one", "two"):
        (root / folder).mkdir()
        for name in "abcde":
            Image.fromarray(rng.integers(256, size=(40, 48, 3), dtype=np.uint8)).save(root / folder / f"{name}.png")
    (root / "kept.csv").write_text("folder,file\ntwo,c.png\none,b.png\nelsewhere,x.png\n")
    stages = (STAGE,)
    return TrainConfig("tiny", stages, str(root / "out"), images=("one", "two"), validation=str(root / "kept.csv"))


def test_a_list_says_what_validates_whatever_the_folders_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = folders(tmp_path, monkeypatch)
    pool = load_images(config)
    assert len(pool.train) == 8
    assert list(pool.validation_sets) == ["two", "one"]
    assert np.array_equal(pool.validation_sets["one"][0], np.array(Image.open(tmp_path / "one" / "b.png")))
    Image.fromarray(ramp(40, 48)).save(tmp_path / "one" / "aa.png")  # another picture moves every 40th, not the list
    more = load_images(config)
    assert len(more.train) == 9
    assert np.array_equal(more.validation[1], pool.validation[1])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("missing", r"kept\.csv cannot be read"),
        ("columns", "needs the columns folder and file"),
        ("gone", r"two/c\.png of the validation list .* is not there"),
        ("twice", r"one/b\.png of the validation list .* is named twice"),
        ("none", "names no picture of one, two"),
        ("both", r"one/b\.png validates, and .*copy\.png is the same picture for training"),
        ("broken", r"one/b\.png cannot be read"),
        ("empty", "holds no images"),
    ],
)
def test_validation_lists_that_do_not_fit_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str, words: str
) -> None:
    config, kept = folders(tmp_path, monkeypatch), tmp_path / "kept.csv"
    if change == "missing":
        kept.unlink()
    elif change == "columns":
        kept.write_text("a,b\n1,2\n")
    elif change == "gone":
        (tmp_path / "two" / "c.png").unlink()
    elif change == "twice":
        kept.write_text(kept.read_text() + "one,b.png\n")
    elif change == "none":
        kept.write_text("folder,file\nelsewhere,x.png\n")
    elif change == "both":
        Image.open(tmp_path / "one" / "b.png").save(tmp_path / "two" / "copy.png")
    elif change == "broken":
        (tmp_path / "one" / "b.png").write_bytes(b"no picture")
    else:
        (tmp_path / "three").mkdir()
        config = replace(config, images=("one", "three"))
    with pytest.raises(WeconveneError, match=words):
        load_images(config)


def test_every_set_validates_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = replace(folders(tmp_path, monkeypatch), validate_every=4, validate_qualities=(0.0, 6.0))
    trainer = Trainer(config, load_images(config))
    trainer.run()
    rows = trainer.log.rows["validation.csv"]
    assert [(row["set"], row["quality"]) for row in rows] == [("two", 0), ("two", 6), ("one", 0), ("one", 6)]
    assert rows[0]["loss"] != rows[2]["loss"]


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photographs")
    for number in range(50):
        Image.fromarray(ramp(40 + number, 64)).save(folder / f"{number:02d}.png")
    (folder / "99.png").write_bytes(b"no picture")
    return folder


def test_unreadable_and_small_images_are_reported(photographs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = TrainConfig("tiny", (replace(STAGE, crop=64),), "unused", images=str(photographs))
    assert len(load_images(config).train) == 48
    said = capsys.readouterr().out
    assert "left out, unreadable: 99.png" in said
    assert "23 of 48 training images are smaller than the crop" in said


def test_unreadable_images_are_named_and_left_out(tmp_path: Path) -> None:
    Image.new("RGB", (40, 40), "red").save(tmp_path / "good.png")
    (tmp_path / "bad.png").write_bytes(b"no picture")
    found = load_pool(folder_set(tmp_path).paths)
    assert found.skipped == ("bad.png",)
    assert len(found.train) == 1
    (tmp_path / "good.png").unlink()
    with pytest.raises(WeconveneError, match=f"none of the 1 training images in {tmp_path} can be read"):
        load_pool(folder_set(tmp_path).paths)


def test_folders_without_images_are_named(tmp_path: Path) -> None:
    with pytest.raises(WeconveneError, match="holds no images"):
        folder_set(tmp_path)
    with pytest.raises(WeconveneError, match="There is no folder"):
        folder_set(tmp_path / "nowhere")


def test_synthetic_pictures_are_loaded_beside_and_their_absence_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = replace(folders(tmp_path, monkeypatch), synthetic_share=0.1)
    with pytest.raises(WeconveneError, match=rf"needs a folder {tmp_path / 'synthetic'}; .*lab.studies.synthetic_pict"):
        load_images(config)
    assert load_images(replace(config, synthetic_share=0.0)).synthetic == ()
    (tmp_path / "two").rename(tmp_path / "synthetic")
    assert len(load_images(replace(config, images="one")).synthetic) == 5
    elsewhere = replace(config, images="one", synthetic_images=str(tmp_path / "one"))
    assert len(load_images(elsewhere).synthetic) == 5
