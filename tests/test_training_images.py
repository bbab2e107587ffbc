"""Training images from folders, what is wrong with them, and the batches that are cut from them."""

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
from weconvene_core.training.distributed import ProcessGroup
from weconvene_core.training.images import Crop, ImagePool, Sampler, cut, draw_crops, load_images, load_pool, on_device
from weconvene_core.training.trainer import Trainer

CPU = torch.device("cpu")
STAGE = Stage("p", 4, 1e-3, 1e-4, batch=8, crop=32, warmup=1)
WIDE = replace(STAGE, batch=64)
GREEN = np.tile(np.array([1, 201, 3], np.uint8), (40, 60, 1))
NOISE = np.random.default_rng(0).integers(256, size=(64, 64, 3), dtype=np.uint8)
CONFIG = TrainConfig("tiny", (WIDE,), "unused", seed=5)


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


def test_images_smaller_than_the_crop_are_extended_and_counted() -> None:
    small = np.arange(20 * 300 * 3, dtype=np.uint8).reshape(20, 300, 3)
    (extended,) = on_device([small], 64, torch.device("cpu"))
    assert extended.shape == (64, 300, 3)
    assert torch.equal(extended[20:40], extended[:20].flip(0))


def test_squares_keep_their_pixels_in_all_eight_orientations() -> None:
    image = ramp(50, 60)
    square = torch.from_numpy(image[7:39, 11:43]).permute(2, 0, 1)
    turned = [torch.rot90(square, turns, (1, 2)) for turns in range(4)]
    expected = {tuple(s.flatten().tolist()) for t in turned for s in (t, t.flip(2))}
    batch = cut(on_device([image], 32, CPU), [Crop(0, 7, 11, 32, number) for number in range(8)], 32)
    assert batch.is_contiguous(memory_format=torch.channels_last)
    assert {tuple((255 * s).round().int().flatten().tolist()) for s in batch} == expected


def test_low_qualities_are_drawn_more_often_when_asked(tmp_path: Path) -> None:
    pool = ImagePool((ramp(64, 64),), (ramp(64, 64),))
    stage = replace(STAGE, batch=1000)
    config = TrainConfig("tiny", (stage,), str(tmp_path))
    shares = [
        (Sampler(pool, replace(config, quality_exponent=e), CPU).draw(0, stage, ProcessGroup())[1] < 2)
        .float()
        .mean()
        .item()
        for e in (1.0, 1.2)
    ]
    assert shares == pytest.approx([2 / 7, (2 / 7) ** (1 / 1.2)], abs=0.04)
    assert shares[0] < shares[1]


def test_scaled_squares_show_a_larger_piece_without_aliasing() -> None:
    stripes = np.zeros((128, 128, 3), np.uint8)
    stripes[:, ::2] = 200
    batch = cut(on_device([stripes], 64, CPU), [Crop(0, 0, 0, 128, 0)], 64)
    assert (batch[..., 2:-2] * 255 - 100).abs().max() < 15


def test_scale_is_drawn_for_half_of_the_squares_and_fits_the_image() -> None:
    images = on_device([ramp(100, 200)], 64, CPU)
    sides = np.array([c.side for c in draw_crops(images, 2000, 64, np.random.default_rng(0), scale_min=0.5)])
    assert 0.4 < (sides == 64).mean() < 0.6
    assert sides.max() == 100  # the image's height, where 128 were allowed
    crops = draw_crops(images, 200, 64, np.random.default_rng(0))
    assert {c.side for c in crops} == {64}
    assert (min(c.top for c in crops), max(c.top for c in crops)) == (0, 36)


def test_shares_of_a_batch_make_the_whole() -> None:
    config = TrainConfig("tiny", (STAGE,), "unused", scale_min=0.5)
    sampler = Sampler(ImagePool((ramp(90, 70), ramp(40, 200)), ()), config, CPU)
    x, quality = sampler.draw(5, STAGE, ProcessGroup())
    noise = torch.rand(3)
    shares = [sampler.draw(5, STAGE, ProcessGroup(rank, 4)) for rank in range(4)]
    assert torch.equal(torch.cat([share[0] for share in shares]), x)
    assert torch.equal(torch.cat([share[1] for share in shares]), quality)
    assert torch.equal(torch.rand(3), noise)
    assert not torch.equal(sampler.draw(6, STAGE, ProcessGroup())[0], x)


def test_model_of_one_rate_is_trained_at_that_rate() -> None:
    config = TrainConfig("tiny", (STAGE,), "unused", model={"quality": 2.0})
    _, quality = Sampler(ImagePool((ramp(90, 70),), ()), config, CPU).draw(0, STAGE, ProcessGroup())
    assert quality.unique().tolist() == [2.0]


def batch(share: float, step: int = 3, group: ProcessGroup | None = None) -> tuple[torch.Tensor, torch.Tensor]:
    pool = ImagePool((GREEN,), (), synthetic=(NOISE, NOISE[:50]))
    return Sampler(pool, replace(CONFIG, synthetic_share=share), CPU).draw(step, WIDE, group or ProcessGroup())


def of_photographs(x: torch.Tensor) -> torch.Tensor:
    """Which pictures of a batch are crops of the only photograph there is."""
    return (x == torch.from_numpy(GREEN[0, 0]).div(255)[:, None, None]).flatten(1).all(1)


def test_batches_without_synthetic_pictures_are_those_of_before() -> None:
    image = np.random.default_rng(0).integers(256, size=(40, 60, 3), dtype=np.uint8)
    x, quality = Sampler(ImagePool((image,), ()), CONFIG, CPU).draw(3, WIDE, ProcessGroup())
    rng = np.random.default_rng([CONFIG.seed, 3])
    rng.integers(2**62)
    assert torch.equal(x, cut([torch.from_numpy(image)], draw_crops([image], WIDE.batch, WIDE.crop, rng), 32))
    assert np.array_equal(quality, rng.uniform(0, 7, WIDE.batch).astype(np.float32))


def test_a_share_of_the_crops_is_synthetic_and_all_else_stays() -> None:
    (x, quality), noise = batch(0.0), torch.rand(3)
    (mixed, same_quality), same_noise = batch(0.5), torch.rand(3)
    assert torch.equal(quality, same_quality)
    assert torch.equal(noise, same_noise)
    kept = of_photographs(mixed)
    assert torch.equal(mixed[kept], x[kept])
    assert 16 < kept.sum() < 48
    assert of_photographs(batch(0.05)[0]).sum() > 54
    assert mixed.is_contiguous(memory_format=torch.channels_last)
    assert 0 <= mixed.min() < mixed.max() <= 1


def test_synthetic_pictures_are_the_same_again_and_in_any_number_of_processes() -> None:
    mixed, _ = batch(0.5)
    assert torch.equal(batch(0.5)[0], mixed)
    assert torch.equal(torch.cat([batch(0.5, group=ProcessGroup(rank, 4))[0] for rank in range(4)]), mixed)
    other, _ = batch(0.5, step=4)
    both = ~of_photographs(mixed) & ~of_photographs(other)
    assert not (mixed[both] == other[both]).flatten(1).all(1).any()
